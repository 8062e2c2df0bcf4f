//! `cargo xtask bench`: the release binary against its peers. The measuring itself is `bench/run.py`.

use crate::Result;
use crate::workspace::{PYTHON, Workspace, run};

pub fn bench(workspace: &Workspace, names: &[&str]) -> Result<()> {
    workspace.build_release()?;
    run(workspace.command(PYTHON).arg("bench/run.py").args(names).env("MODELKEEP_BIN", workspace.release_binary()))
}
