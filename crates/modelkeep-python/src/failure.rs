//! An error of modelkeep as a Python exception. Which class a kind becomes is a table in `modelkeep/errors.py`.

use modelkeep_core::{Error, Kind};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

/// An error, and what only a caller in Python is told with it.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    next_model: Option<String>,
}

impl Failure {
    /// The model was not written because it is deployed; `next_model` is the id to take instead.
    pub fn deployed(error: Error, next_model: String) -> Self {
        Self { error, next_model: Some(next_model) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, next_model: None }
    }
}

/// The exception to raise.
pub fn exception(py: Python<'_>, failure: Failure) -> PyErr {
    if failure.error.kind() == Kind::Interrupted {
        return PyKeyboardInterrupt::new_err(failure.error.full_message());
    }
    let raised = py.import("modelkeep.errors").and_then(|errors| {
        let kind = failure.error.kind().as_str();
        let arguments = (kind, failure.error.full_message(), failure.error.hint_text(), failure.next_model);
        errors.call_method1("of_kind", arguments)
    });
    // An import that fails is an exception too, and tells more than ours would.
    raised.map_or_else(|error| error, PyErr::from_value)
}
