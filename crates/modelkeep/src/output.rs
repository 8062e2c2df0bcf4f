//! What goes where: results on standard output, everything else on standard error; one JSON document with `--json`.

use std::io::{self, ErrorKind, Write};

use modelkeep_core::{Error, Result};
use serde::Serialize;

use crate::style::{BAD, CARE, FAINT, STRONG, paint};

/// Prints a result; a closed pipe (`| head`) is nobody's mistake.
pub fn print(text: &str) -> Result<()> {
    let stdout = std::io::stdout();
    // In one piece: a line at a time, a thousand models are a thousand writes.
    let written = match anstream::AutoStream::choice(&stdout) {
        anstream::ColorChoice::Never => {
            let plain = anstream::adapter::strip_str(text).to_string();
            stdout.lock().write_all(plain.as_bytes())
        }
        _ => anstream::stdout().write_all(text.as_bytes()),
    };
    match written.and_then(|()| stdout.lock().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::local("writing to standard output").because(error))
        }
        _ => Ok(()),
    }
}

/// Prints a report as one JSON document.
pub fn json(report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(report).map_err(|error| Error::internal("a report is no JSON").because(error))?;
    print(&(text + "\n"))
}

/// Says why it failed and what to type next.
pub fn error(error: &Error, as_json: bool) {
    let message = error.full_message();
    let message = message.trim_end();
    say(&format!("{} {message}", paint(BAD, "error:")));
    if let Some(hint) = error.hint_text() {
        say(&format!("{} {hint}", paint(STRONG, "hint:")));
    }
    if as_json {
        error_json(error.kind().as_str(), message, error.hint_text());
    }
}

/// An error as the one JSON document.
pub fn error_json(kind: &str, message: &str, hint: Option<&str>) {
    let body = serde_json::json!({"error": {"kind": kind, "message": message, "hint": hint}});
    // There is nothing left to say it with if this fails too.
    let _ = print(&format!("{body}\n"));
}

/// A sentence that may be overlooked.
pub fn note(text: &str) {
    say(&format!("{} {text}", paint(FAINT, "note:")));
}

/// A sentence that should not be.
pub fn warning(text: &str) {
    say(&format!("{} {text}", paint(CARE, "warning:")));
}

/// One line on standard error.
pub fn say(line: &str) {
    // Standard error may be closed; the exit code still tells.
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Text on standard error, as it is.
pub fn say_raw(text: &str) -> io::Result<()> {
    let mut stderr = anstream::stderr();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}
