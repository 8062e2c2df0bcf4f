//! `cargo xtask check`: everything that is decided by reading the sources.

use std::process::ExitCode;

use crate::steps::Steps;
use crate::tidy;
use crate::workspace::{Workspace, output, run};

pub fn check(workspace: &Workspace) -> ExitCode {
    let mut steps = Steps::default();
    steps.run("fmt", &[], || run(&mut workspace.cargo("fmt --all --check")));
    steps.run("tidy", &[], || tidy::tidy(workspace));
    steps.run("clippy", &[], || run(&mut workspace.cargo("clippy --workspace --all-targets --locked -- -D warnings")));
    steps.run("doc", &[], || {
        run(workspace.cargo("doc --no-deps --workspace --locked").env("RUSTDOCFLAGS", "-D warnings"))
    });
    // Optional, for it takes longer to build than everything above takes to run.
    if output(&mut workspace.cargo("deny --version")).is_ok() {
        steps.run("deny", &[], || run(&mut workspace.cargo("deny --locked check")));
    } else {
        steps.leave_out("deny", "cargo-deny is not installed: cargo install --locked cargo-deny");
    }
    steps.finish()
}
