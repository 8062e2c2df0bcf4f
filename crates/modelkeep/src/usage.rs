//! Reading the command line, and saying what is wrong with it the way every other error is said.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};
use modelkeep_core::{Error, Kind};

use crate::cli::Cli;
use crate::{output, style};

/// The parsed command line, or the exit code after help, version or an error was printed.
pub fn parse(args: &[OsString]) -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse_from(args) {
        Ok(cli) => {
            style::choose(cli.globals.color);
            return Ok(cli);
        }
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is no failure.
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !asks_for_json(args) => {
            let _ = error.print();
            Err(ExitCode::from(Kind::Usage.exit_code()))
        }
        _ => {
            output::error(&explained(&error, args), asks_for_json(args));
            Err(ExitCode::from(Kind::Usage.exit_code()))
        }
    }
}

/// The command line could not be parsed, so the flag is looked for as it was typed.
fn asks_for_json(args: &[OsString]) -> bool {
    args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

fn explained(error: &clap::Error, args: &[OsString]) -> Error {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::usage("a command is missing").hint(help_of(args));
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // Up to the tip and the usage line; lists of arguments come on lines of their own.
    let message: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    Error::usage(message.join(" ")).hint(suggestion(error).unwrap_or_else(|| help_of(args)))
}

/// The nearest thing that would have been right.
fn suggestion(error: &clap::Error) -> Option<String> {
    let first = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    };
    if let Some(command) = first(ContextKind::SuggestedSubcommand) {
        return Some(format!("modelkeep {command}"));
    }
    if let Some(argument) = first(ContextKind::SuggestedArg) {
        return Some(format!("is `{argument}` meant?"));
    }
    first(ContextKind::SuggestedValue).map(|value| format!("is `{value}` meant?"))
}

/// The command that shows how the one that was typed is used.
fn help_of(args: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut path = vec!["modelkeep".to_owned()];
    for arg in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(found) = command.find_subcommand(arg) {
            path.push(found.get_name().to_owned());
            command = found.clone();
        }
    }
    path.push("--help".to_owned());
    path.join(" ")
}
