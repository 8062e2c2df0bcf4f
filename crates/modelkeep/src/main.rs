//! The `modelkeep` program: reads the command line, runs one command, turns an error into an exit code.
//!
//! Knows terminals. Holds no decisions: what a command means is in `modelkeep-ops`.

mod ask;
mod cli;
mod commands;
mod interrupt;
mod output;
mod progress;
mod session;
mod style;
mod table;
mod usage;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use modelkeep_core::{Error, Result};

use crate::session::Session;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match usage::parse(&args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    // Nothing below is needed to answer --version or --help.
    let session = Session::new(cli.globals);
    interrupt::ended(session, run(session, cli.command))
}

fn run(session: &'static Session, command: cli::Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::local("the program cannot start its threads").because(error))?;
    // A server ends when it is asked to; it has no work that could be gone on with.
    if !matches!(command, cli::Command::Serve(_)) {
        runtime.spawn(interrupt::watch(session));
    }
    let result = runtime.block_on(commands::run(session, command));
    // A read or a write that hangs in the kernel must not keep a program that has nothing more to say.
    runtime.shutdown_background();
    result
}
