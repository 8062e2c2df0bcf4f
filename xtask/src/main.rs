//! The project's own commands, run as `cargo xtask <command>`.
//! Knows: which tools check, test and measure the workspace. Does not know: how the product works.

mod bench;
mod check;
mod steps;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

/// A failed command explains itself in one sentence; nothing here reacts to the kind of failure.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: cargo xtask <command>

  check          formatting, lints, documentation, licences, and the rules of `tidy`
  tidy           the house rules a machine can check
  test [--full]  every test that needs Rust and pip; --full adds the long ones
  bench [NAME]   the benchmarks, or the one named";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<ExitCode> {
    match args {
        ["check"] => Ok(check::check(&Workspace::find()?)),
        ["tidy"] => tidy::tidy(&Workspace::find()?).map(|()| ExitCode::SUCCESS),
        ["test"] => Ok(test::test(&Workspace::find()?, false)),
        ["test", "--full"] => Ok(test::test(&Workspace::find()?, true)),
        ["bench", names @ ..] => bench::bench(&Workspace::find()?, names).map(|()| ExitCode::SUCCESS),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
