//! Every command that README and guide show in an `sh` block is run as it stands there, in order, in a fresh folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sealed::Sealed;

/// The runnable commands of a document, each with the number of its first line.
fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut runnable, mut open) = (false, false);
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            runnable = language == "sh" && !runnable;
            open = false;
        } else if runnable && !line.trim().is_empty() {
            match found.last_mut().filter(|_| open) {
                Some((_, command)) => *command += &format!("\n{line}"),
                None => found.push((number + 1, line.to_owned())),
            }
            // A loop or a quoted text goes on over several lines.
            open = found.last().is_some_and(|(_, command)| !is_complete(command));
        }
    }
    found
}

fn is_complete(command: &str) -> bool {
    Command::new("sh").args(["-n", "-c", command]).output().is_ok_and(|output| output.status.success())
}

fn run(document: &Path) {
    let sealed = Sealed::new();
    // The reader's own training output, which documents call so.
    sealed.adapter("output", 1, &[("eval_loss", 0.098)]);
    let text = fs::read_to_string(document).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_modelkeep")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let all = commands(&text);
    assert!(!all.is_empty(), "{} shows no command", document.display());
    for (number, line) in all {
        // How to build and test this very program is run by those who build and test it.
        if line.trim_start().starts_with("cargo ") {
            continue;
        }
        if line.starts_with("modelkeep push ./output banking-v3") {
            sealed.adapter("output", 2, &[("eval_loss", 0.09)]);
        }
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &line]).current_dir(sealed.work()).env_clear();
        shell.env("PATH", &path).env("HOME", sealed.root.join("home")).env("USER", "ana");
        let output = shell.output().unwrap();
        assert!(
            output.status.success(),
            "{}:{number}: {line}\n{}{}",
            document.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[cfg(unix)]
#[test]
fn the_readme_does_what_it_says() {
    run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md"));
}

#[cfg(unix)]
#[test]
fn the_guide_does_what_it_says() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide");
    for page in fs::read_dir(guide).unwrap().map(|entry| entry.unwrap().path()) {
        run(&page);
    }
}
