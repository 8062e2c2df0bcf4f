//! Every command that README and guide show in an `sh` block is run as it stands there, in order, in a fresh folder; what a
//! `text` block right below shows is what was printed.

use std::fs;
use std::path::Path;
use std::process::Command;

use modelkeep_testkit::hub::{Options, Server};

use crate::sealed::{Sealed, safetensors};

/// What a document has a reader do, or see.
enum Part {
    /// A command, with the number of its first line.
    Command(usize, String),
    /// What the command before it printed, or some lines of that: a `text` block right below, by the numbers of its lines.
    Shown(std::ops::Range<usize>),
}

/// The commands of a document, and what it shows of their output.
fn parts(text: &str) -> Vec<Part> {
    let mut found: Vec<Part> = Vec::new();
    let (mut language, mut open, mut above) = (None::<&str>, false, "");
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, language) {
            (Some(_), Some(_)) => (language, open) = (None, false),
            (Some(opened), None) => {
                language = Some(opened);
                if opened == "text" && above == "sh" {
                    found.push(Part::Shown(number + 1..number + 1));
                }
                // What is below it is shown of a block of commands, with nothing between.
                above = if opened == "text" && above == "sh" { "shown" } else { opened };
            }
            (None, None) if !line.trim().is_empty() => above = "",
            (None, Some("text")) if above == "shown" => {
                if let Some(Part::Shown(lines)) = found.last_mut() {
                    lines.end = number + 1;
                }
            }
            (None, Some("sh")) if !line.trim().is_empty() => {
                match found.last_mut() {
                    Some(Part::Command(_, command)) if open => command.extend(["\n", line]),
                    _ => found.push(Part::Command(number + 1, line.to_owned())),
                }
                // A loop or a quoted text goes on over several lines.
                open = matches!(found.last(), Some(Part::Command(_, command)) if !is_complete(command));
            }
            _ => {}
        }
    }
    found
}

/// A line without what is another one in every run and on every machine: figures, sizes, digests, times, how wide a column is.
fn words(line: &str) -> String {
    // What a machine has is not the same on another.
    if let Some(row @ ("disk" | "free" | "versions")) = line.split_whitespace().next() {
        return row.to_owned();
    }
    let word = |word: &str| {
        let plain = word.trim_matches(|c: char| "(),:#`".contains(c));
        let is_size = ["B", "kB", "MB", "GB", "TB"].contains(&plain);
        let is_figure = plain.starts_with(|c: char| c.is_ascii_digit());
        let is_digest = plain.len() >= 7 && plain.chars().all(|c| c.is_ascii_hexdigit());
        if is_size || is_figure || is_digest { String::new() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn is_complete(command: &str) -> bool {
    Command::new("sh").args(["-n", "-c", command]).output().is_ok_and(|output| output.status.success())
}

/// What the documents fetch, and train on.
const BASE: &str = "sentence-transformers/all-MiniLM-L6-v2";

fn hub_with(sealed: &Sealed, repo: &str) -> Server {
    let root = sealed.root.join("hub");
    let folder = root.join(repo);
    fs::create_dir_all(folder.join("onnx")).unwrap();
    fs::write(folder.join("config.json"), br#"{"model_type": "bert"}"#).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&[("embed", &[8, 4], 1)])).unwrap();
    fs::write(folder.join("onnx/model.onnx"), [0; 100]).unwrap();
    Server::start(Options { root, ..Options::default() }).unwrap()
}

fn run(document: &Path) {
    let sealed = Sealed::new();
    // The reader's own training output, which documents call so.
    sealed.adapter("output", 1, &[("eval_loss", 0.098)]);
    // Trained on the Hub's model that documents fetch.
    let config = format!(r#"{{"base_model_name_or_path": "{BASE}", "peft_type": "LORA", "r": 8}}"#);
    sealed.write("output/adapter_config.json", config.as_bytes());
    let hub = hub_with(&sealed, BASE);
    let text = fs::read_to_string(document).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_modelkeep")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let all = parts(&text);
    assert!(!all.is_empty(), "{} shows no command", document.display());
    let lines: Vec<&str> = text.lines().collect();
    let (mut printed, mut shown) = (String::new(), Vec::new());
    for part in all {
        let (number, line) = match part {
            Part::Command(number, line) => (number, line),
            Part::Shown(range) => {
                let mut real = printed.lines();
                for line in &lines[range.clone()] {
                    let there = rewrite() || real.any(|real| words(real) == words(line));
                    assert!(there, "{}: `{line}` is not what is printed:\n{printed}", document.display());
                }
                shown.push((range, printed.clone()));
                continue;
            }
        };
        // How to build and test this very program is run by those who build and test it.
        if line.trim_start().starts_with("cargo ") {
            continue;
        }
        if line.starts_with("modelkeep push ./output banking-v3") {
            sealed.adapter("output", 2, &[("eval_loss", 0.09)]);
        }
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &line]).current_dir(sealed.work()).env_clear();
        shell.env("PATH", &path).env("HOME", sealed.root.join("home")).env("USER", "ana").env("HOSTNAME", "desk");
        shell.env("HF_ENDPOINT", hub.url());
        let output = shell.output().unwrap();
        printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}:{number}: {line}\n{printed}{}",
            document.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        // A reader's machine, not the test's.
        printed = printed.replace(&*sealed.work().to_string_lossy(), "/home/ana/banking");
        printed = printed.replace(&*sealed.root.join("home").to_string_lossy(), "/home/ana");
        printed = printed.replace(&*sealed.root.to_string_lossy(), "/home/ana");
        printed = printed.replace(&*program.to_string_lossy(), "/usr/local/bin");
    }
    if rewrite() {
        let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        for (range, printed) in shown.into_iter().rev() {
            lines.splice(range, printed.lines().map(|line| line.trim_end().to_owned()));
        }
        fs::write(document, lines.join("\n") + "\n").unwrap();
    }
}

/// With `MODELKEEP_WRITE_GUIDE=1` what the documents show is written again, whole, from what is printed.
fn rewrite() -> bool {
    std::env::var_os("MODELKEEP_WRITE_GUIDE").is_some()
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
