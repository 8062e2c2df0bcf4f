//! `cargo xtask tidy`: the house rules a machine can check, each with a message that says how to fix it.

mod arrows;
mod rules;

use std::fmt;
use std::fs;

use crate::Result;
use crate::workspace::Workspace;

/// One broken rule.
#[derive(Debug, PartialEq)]
struct Finding {
    /// From the root of the workspace, with `/`.
    path: String,
    line: usize,
    what: String,
    fix: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, fix } = self;
        write!(f, "{path}:{line}: {what}; {fix}")
    }
}

/// Print every broken rule; an error if there is one.
pub fn tidy(workspace: &Workspace) -> Result<()> {
    let mut findings = arrows::check(workspace)?;
    let files = workspace.files()?;
    for path in &files {
        let bytes = fs::read(workspace.root.join(path)).map_err(|error| format!("{path}: {error}"))?;
        // What is not text (images, fixtures) has no lines to hold to a rule.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            findings.extend(rules::check(path, text));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", files.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} to fix").into()),
    }
}
