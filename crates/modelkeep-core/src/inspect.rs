//! What can be learnt from the files of a training run: its adapter, metrics, date, tensors and type.
//!
//! Every reader takes bytes or names and returns data; none opens a file, asks for the time, or decides what a push
//! does with what it learns. The files come from other people's programs (PEFT, transformers, hand-written scripts),
//! so each reader says which file it doubts and why, and none may panic or recurse without a bound on what it is given.

pub mod adapter;
pub mod checkpoint;
pub mod content;
pub mod date;
mod json;
pub mod kind;
pub mod metrics;
pub mod tensors;
pub mod trainer;

/// Largest JSON document a reader accepts, in bytes (64 MiB). A caller may skip a bigger file without reading it.
///
/// A `trainer_state.json` of 100,000 logged steps is about 15 MiB.
pub const JSON_LIMIT: u64 = 64 * 1024 * 1024;

/// A file that could not be understood: which one, and why.
///
/// The readers know no paths; they name the file by what it usually is called (`adapter_config.json`), and a caller
/// that knows better says so with [`InspectError::in_file`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct InspectError {
    /// The file in doubt, or the flag (`--metric`).
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl InspectError {
    pub(crate) fn new(file: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), problem }
    }

    /// The same error, about the file at `path`.
    #[must_use]
    pub fn in_file(self, path: &str) -> Self {
        Self { file: path.to_owned(), ..self }
    }
}

/// Why a file could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text breaks off in the middle of a value.
    #[error("the JSON ends too early")]
    EndsEarly,
    /// The text is not JSON, or is nested more than 128 levels deep; `line` counts from 1.
    #[error("line {line} is not JSON")]
    NotJson {
        /// Line of the first fault.
        line: usize,
    },
    /// The document is more than a reader accepts.
    #[error("it has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Size of the document in bytes.
        bytes: u64,
        /// The most a reader accepts, in bytes.
        limit: u64,
    },
    /// The document is JSON, but not an object (`{…}`).
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A field holds something of another type.
    #[error("`{field}` should be {expected}")]
    Field {
        /// Name of the field.
        field: String,
        /// What it should be, in words.
        expected: &'static str,
    },
    /// A metric on the command line that is not `NAME=NUMBER`.
    #[error("`{given}` is not NAME=NUMBER, such as accuracy=0.938")]
    Flag {
        /// What was typed.
        given: String,
    },
    /// The header of a safetensors file claims an impossible length.
    #[error("the safetensors header claims {bytes} bytes; it must have 2 to {limit}")]
    HeaderLength {
        /// The length claimed, in bytes.
        bytes: u64,
        /// The most the format allows, in bytes.
        limit: u64,
    },
    /// The header of a safetensors file is malformed.
    #[error("the safetensors header is damaged: {why}")]
    Header {
        /// What is wrong, in words.
        why: String,
    },
    /// One tensor of a safetensors file is described wrongly.
    #[error("tensor `{name}` {why}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong, in words that follow the name.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_the_fault() {
        let error = InspectError::new("adapter_config.json", Problem::NotJson { line: 3 });
        assert_eq!(error.to_string(), "adapter_config.json: line 3 is not JSON");
        assert_eq!(error.in_file("out/adapter_config.json").to_string(), "out/adapter_config.json: line 3 is not JSON");
    }
}
