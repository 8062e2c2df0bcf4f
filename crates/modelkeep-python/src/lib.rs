//! The operations of modelkeep as the Python module `modelkeep._modelkeep`: a request in as JSON, the report out.
//!
//! Holds no decisions about models; its one rule is which store a notebook means (`store.rs`). The typed face that
//! people use is `python/modelkeep`; it calls `Session.call` and nothing else.

mod failure;
mod operations;
mod running;
mod store;

use std::path::PathBuf;

use modelkeep_ops::{Env, Options};
use pyo3::prelude::*;

use crate::operations::{Asked, Call};
use crate::running::Callbacks;

/// Where operations are done: a workspace and a store, or whatever the current directory and environment say.
#[pyclass(frozen, module = "modelkeep._modelkeep")]
struct Session {
    options: Options,
    notebook: bool,
    credentials: Option<Py<PyAny>>,
}

#[pymethods]
impl Session {
    /// What is given here is made absolute now; what is not is looked up at each call, as the command line does.
    #[new]
    #[pyo3(signature = (workspace=None, remote=None, *, notebook=false, credentials=None, offline=false))]
    fn new(
        py: Python<'_>,
        workspace: Option<PathBuf>,
        remote: Option<String>,
        notebook: bool,
        credentials: Option<Py<PyAny>>,
        offline: bool,
    ) -> PyResult<Self> {
        let env = Env::from_process();
        let workspace = workspace.map(|path| env.cwd.join(path));
        let options = Options { workspace, remote, offline, ..Options::default() };
        let options = store::settle(&env, options).map_err(|error| failure::exception(py, error.into()))?;
        Ok(Self { options, notebook, credentials })
    }

    /// Does one operation. `request` and the answer are JSON; `progress(kind, text, bytes)` is called while it runs.
    #[pyo3(signature = (operation, request, progress=None))]
    fn call(
        &self,
        py: Python<'_>,
        operation: String,
        request: String,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        // Read while Python is held: `os.environ` may not change under it.
        let env = Env::from_process();
        let (options, notebook) = (self.options.clone(), self.notebook);
        let credentials = self.credentials.as_ref().map(|callable| callable.bind(py));
        let callbacks = Callbacks { progress, credentials };
        let outcome = running::run(py, &callbacks, move |observer, stop, credentials| async move {
            let options = Options { credentials, ..options };
            let asked = Asked { operation: &operation, request: &request };
            Call { env, options, observer, stop, notebook }.run(asked).await
        })?;
        outcome.map_err(|failure| failure::exception(py, failure))
    }
}

#[pymodule]
fn _modelkeep(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Session>()
}
