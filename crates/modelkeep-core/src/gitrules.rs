//! What git should not be given: models, large files, notebooks full of outputs, a repository that grew too big.
//!
//! Judges one file at a time from what is known of it. Never reads git.

use globset::GlobSet;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Result;
use crate::inspect::content::Content;
use crate::placement::{globs, quote};
use crate::size::ByteSize;

/// How much git may be given.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A file this large or larger does not belong in git.
    pub max_file: ByteSize,
    /// A notebook's outputs up to here are let through.
    pub notebook_outputs: ByteSize,
    /// All that the repository may hold.
    pub repository: ByteSize,
    /// What is let through whatever it is.
    allowed: GlobSet,
}

impl Limits {
    /// These limits, letting through what fits one of the patterns.
    pub fn new(max_file: ByteSize, notebook_outputs: ByteSize, repository: ByteSize, allow: &[String]) -> Result<Self> {
        Ok(Self { max_file, notebook_outputs, repository, allowed: globs(allow)? })
    }

    /// Whether a path is let through whatever it is.
    pub fn allows(&self, path: &str) -> bool {
        self.allowed.is_match(path)
    }
}

/// What is known of a file that git has, or is about to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Where it is in the repository.
    pub path: String,
    /// All of it, in bytes.
    pub size: u64,
    /// What it is.
    pub content: Content,
    /// Bytes of a notebook's outputs, where they were counted.
    pub outputs: u64,
}

/// Why something does not belong in git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Where it is in the repository; `.` is the repository itself.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Why it does not belong there.
    pub reason: String,
    /// What to type.
    pub hint: String,
    /// The commit that brought it, where commits were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Judges one file; `None`: git may have it.
pub fn judge(limits: &Limits, blob: &Blob) -> Option<Finding> {
    if matches!(blob.content, Content::LfsPointer | Content::Pointer | Content::Empty) || limits.allows(&blob.path) {
        return None;
    }
    let leave = format!("git rm --cached -- {}", quote(&blob.path));
    let (reason, hint) = if blob.content.is_model() {
        let words = blob.content.words();
        (
            format!("it is {words}; models are stored, git keeps a pin"),
            format!("{leave} && modelkeep place {}", quote(&blob.path)),
        )
    } else if blob.content == Content::Notebook && blob.outputs > limits.notebook_outputs.0 {
        let (outputs, most) = (ByteSize(blob.outputs), limits.notebook_outputs);
        (
            format!("a notebook with {outputs} of outputs; git takes up to {most}"),
            format!("jupyter nbconvert --clear-output --inplace {}", quote(&blob.path)),
        )
    } else if blob.size >= limits.max_file.0 {
        let words = blob.content.words();
        (
            format!("it is {words} of {}; git takes files below {}", ByteSize(blob.size), limits.max_file),
            format!("{leave} && modelkeep place {}", quote(&blob.path)),
        )
    } else {
        return None;
    };
    Some(Finding { path: blob.path.clone(), size_bytes: blob.size, reason, hint, commit: None })
}

/// Judges the repository: the bytes that its history takes, and those of the files it checks out.
pub fn judge_whole(limits: &Limits, history: u64, files: u64) -> Option<Finding> {
    let most = limits.repository;
    let (size_bytes, what) = if history > most.0 {
        (history, "the history takes")
    } else if files > most.0 {
        (files, "the files in it take")
    } else {
        return None;
    };
    Some(Finding {
        path: ".".to_owned(),
        size_bytes,
        reason: format!("{what} {}; a repository stays below {most}", ByteSize(size_bytes)),
        hint: "modelkeep guard history".to_owned(),
        commit: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn limits(allow: &[&str]) -> Limits {
        let allow: Vec<String> = allow.iter().map(|text| (*text).to_owned()).collect();
        Limits::new(ByteSize(10_000_000), ByteSize(100_000), ByteSize(100_000_000), &allow).unwrap()
    }

    fn blob(path: &str, size: u64, content: Content, outputs: u64) -> Blob {
        Blob { path: path.to_owned(), size, content, outputs }
    }

    #[test]
    fn what_git_may_have() {
        let limits = limits(&["tests/fixtures/", "*.gguf"]);
        let cases = [
            (blob("a.py", 900, Content::Text, 0), false),
            (blob("notes.txt", 90, Content::Safetensors, 0), true),
            (blob("tests/fixtures/tiny.bin", 90, Content::Torch, 0), false),
            (blob("deep/x.gguf", 90, Content::Gguf, 0), false),
            (blob("m.safetensors", 130, Content::LfsPointer, 0), false),
            (blob("data.csv", 9_999_999, Content::Csv, 0), false),
            (blob("data.csv", 10_000_000, Content::Csv, 0), true),
            (blob("a.ipynb", 200_000, Content::Notebook, 100_000), false),
            (blob("a.ipynb", 200_000, Content::Notebook, 100_001), true),
        ];
        for (blob, found) in cases {
            assert_eq!(judge(&limits, &blob).is_some(), found, "{blob:?}");
        }
        let odd = judge(&limits, &blob("it's a model", 9, Content::Torch, 0)).unwrap();
        assert_eq!(odd.hint, r"git rm --cached -- 'it'\''s a model' && modelkeep place 'it'\''s a model'");
        assert!(judge_whole(&limits, 100_000_000, 1).is_none());
        assert!(judge_whole(&limits, 100_000_001, 1).unwrap().reason.contains("history"));
        assert!(judge_whole(&limits, 1, 100_000_001).unwrap().reason.contains("files"));
    }

    proptest! {
        /// What is allowed is never found, and a larger file is never let through where a smaller one is found.
        #[test]
        fn more_is_never_less(size in 1_u64..1 << 40, more in 0_u64..1 << 40, model: bool) {
            let content = if model { Content::Onnx } else { Content::Binary };
            let (open, shut) = (limits(&["a"]), limits(&[]));
            prop_assert!(judge(&open, &blob("a", size, content, 0)).is_none());
            let small = judge(&shut, &blob("a", size, content, 0)).is_some();
            let large = judge(&shut, &blob("a", size.saturating_add(more), content, 0)).is_some();
            prop_assert!(!small || large);
            prop_assert!(!model || small);
        }
    }
}
