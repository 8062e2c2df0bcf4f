//! Rules about one file's name and text.
//! The words looked for are written in two halves where they would otherwise be found here.

use super::Finding;

/// Words that may not stand in some files.
struct Ban {
    applies: fn(&str) -> bool,
    /// Whether a comment may use the words.
    comments_may: bool,
    words: &'static [&'static str],
    fix: &'static str,
}

const BANS: &[Ban] = &[
    Ban { applies: in_core, comments_may: true, words: IMPURE, fix: CORE_IS_PURE },
    Ban {
        applies: is_code,
        comments_may: false,
        words: &[
            concat!("to", "do!("),
            concat!("unimpl", "emented!("),
            concat!("db", "g!("),
            concat!("FIX", "ME"),
            concat!("XX", "X"),
        ],
        fix: "finish it, or leave it out and write down what is missing",
    },
    Ban {
        applies: |path| extension(path) == "rs",
        comments_may: true,
        words: &[concat!("#[", "ignore")],
        fix: "make the test run everywhere, or remove it",
    },
    Ban {
        applies: in_tests,
        comments_may: true,
        words: &["sleep("],
        fix: "wait for the thing itself, or use a clock the test owns",
    },
    Ban {
        applies: |_| true,
        comments_may: false,
        words: &[
            concat!("/wo", "rk/"),
            concat!("/t", "mp/"),
            concat!("index.", "crates"),
            concat!("static.", "crates"),
            concat!("pypi", ".org"),
            concat!("python", "hosted.org"),
            concat!("registry.", "npmjs"),
        ],
        fix: "name the package, not where one machine keeps or fetches it; in a test use a temporary directory",
    },
];

/// What makes a function depend on more than its arguments.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "async fn",
    "tokio",
    "rand",
    "getrandom",
    "println!",
];

const CORE_IS_PURE: &str =
    "core decides from its arguments: read, ask the time or print in modelkeep-ops and pass the value in";

/// Lines after which a file is to be split.
const LONGEST: usize = 800;

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "managers"];

/// Every rule that one text file breaks.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let rust = extension(path) == "rs";
    let mut findings = Vec::new();
    let mut found = |line, what, fix| findings.push(Finding { path: path.to_owned(), line, what, fix });

    let lines = text.lines().count();
    if (rust || extension(path) == "py") && lines > LONGEST {
        found(LONGEST + 1, format!("{lines} lines"), "split it by meaning");
    }
    if rust && in_source(path) && !text.starts_with("//!") {
        found(1, "no module documentation".into(), "begin with `//!`: what the module knows and what it may not know");
    }
    if rust {
        for (line, name) in empty_names(path, text) {
            found(line, format!("a module called `{name}`"), "name it by what it does");
        }
    }
    if in_core(path) {
        for (line, word) in impure_imports(text) {
            found(line, format!("`std::{word}`"), CORE_IS_PURE);
        }
    }
    for ban in BANS.iter().filter(|ban| (ban.applies)(path)) {
        for (index, line) in text.lines().enumerate() {
            let line = if ban.comments_may { without_comment(path, line) } else { line };
            for word in ban.words.iter().filter(|word| has_word(line, word)) {
                found(index + 1, format!("`{word}`"), ban.fix);
            }
        }
    }
    findings
}

fn in_core(path: &str) -> bool {
    path.starts_with("crates/modelkeep-core/src/")
}

fn in_source(path: &str) -> bool {
    in_crate(path, "src")
}

fn in_tests(path: &str) -> bool {
    in_crate(path, "tests") || path.starts_with("python/tests/")
}

/// Whether a path is `crates/<any>/<directory>/…`.
fn in_crate(path: &str, directory: &str) -> bool {
    let parts: Vec<&str> = path.splitn(4, '/').collect();
    matches!(parts[..], ["crates", _, third, _] if third == directory)
}

fn is_code(path: &str) -> bool {
    ["rs", "py", "js", "css", "html", "sh", "toml", "yml", "yaml"].contains(&extension(path)) || path == ".ci/run"
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The module a file is, the directories it is in, and the modules it declares.
fn empty_names(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    let from_path = path.trim_end_matches(".rs").split('/').collect::<Vec<_>>();
    let mut named = Vec::new();
    for name in EMPTY_NAMES {
        if from_path.contains(name) {
            named.push((1, *name));
        }
        let declared = format!("mod {name}");
        let at = |line: &str| has_word(without_comment(path, line), &declared);
        named.extend(text.lines().enumerate().filter(|(_, line)| at(line)).map(|(index, _)| (index + 1, *name)));
    }
    named
}

/// Modules of `std` that core may not use, imported in a group: `use std::{fmt, fs}`.
fn impure_imports(text: &str) -> Vec<(usize, &'static str)> {
    let mut imports = Vec::new();
    for (start, _) in text.match_indices("std::{") {
        let first_line = text[..start].matches('\n').count() + 1;
        let group = text[start..].split(';').next().unwrap_or_default();
        for (index, line) in group.lines().enumerate() {
            let modules = IMPURE.iter().filter_map(|word| word.strip_prefix("std::"));
            imports.extend(modules.filter(|module| has_word(line, module)).map(|module| (first_line + index, module)));
        }
    }
    imports
}

/// A line up to its comment. A `//` inside a string hides the rest of its line too, which is not worth a lexer.
fn without_comment<'a>(path: &str, line: &'a str) -> &'a str {
    let mark = if extension(path) == "py" { "#" } else { "//" };
    line.split_once(mark).map_or(line, |(code, _)| code)
}

/// Whole words only: `rand` is not in `operand`, and an absolute path is not the tail of a longer path.
fn has_word(line: &str, word: &str) -> bool {
    let identifier = |letter: char| letter.is_alphanumeric() || letter == '_';
    let goes_on_before = |before: char| match word.chars().next() {
        Some('/') => identifier(before) || ".-~}>)*".contains(before),
        first => first.is_some_and(identifier) && identifier(before),
    };
    let goes_on_after = |after: char| word.chars().next_back().is_some_and(identifier) && identifier(after);
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(goes_on_before)
            && !line[at + word.len()..].chars().next().is_some_and(goes_on_after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and subject of each finding.
    fn broken(path: &str, text: &str) -> Vec<(usize, String)> {
        check(path, text).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    const NONE: [(usize, String); 0] = [];
    const CORE: &str = "crates/modelkeep-core/src/plan/push.rs";

    #[test]
    fn core_is_pure_outside_comments() {
        assert_eq!(broken(CORE, "//! std::fs is not for us\nlet operand = 1; // tokio\n"), NONE);
        assert_eq!(broken(CORE, "//! x\nuse std::fs::File;\n"), [(2, "`std::fs`".into())]);
        assert_eq!(broken(CORE, "//! x\nasync fn go() {}\n"), [(2, "`async fn`".into())]);
        assert_eq!(broken("crates/modelkeep-ops/src/push.rs", "//! x\nuse std::fs::File;\n"), NONE);
    }

    #[test]
    fn core_is_pure_in_grouped_imports() {
        let text = "//! x\nuse std::{\n    collections::{BTreeMap, BTreeSet},\n    env,\n};\nlet fs = 1;\n";
        assert_eq!(broken(CORE, text), [(4, "`std::env`".into())]);
    }

    #[test]
    fn sources_say_what_they_are_for() {
        assert_eq!(broken("crates/modelkeep/src/main.rs", "fn main() {}\n"), [(1, "no module documentation".into())]);
        assert_eq!(broken("crates/modelkeep/tests/it/main.rs", "mod push;\n"), NONE);
    }

    #[test]
    fn long_files_are_split() {
        let lines = |count: usize| "x = 1\n".repeat(count);
        assert_eq!(broken("python/modelkeep/drive.py", &lines(LONGEST)), NONE);
        assert_eq!(broken("python/modelkeep/drive.py", &lines(LONGEST + 1)), [(801, "801 lines".into())]);
        assert_eq!(broken("docs/guide/drive.md", &lines(LONGEST + 1)), NONE);
    }

    #[test]
    fn modules_have_a_subject() {
        assert_eq!(broken("crates/a/tests/it/utils.rs", ""), [(1, "a module called `utils`".into())]);
        assert_eq!(
            broken("crates/a/tests/it/main.rs", "mod push;\nmod common;\n"),
            [(2, "a module called `common`".into())]
        );
        assert_eq!(broken("crates/a/tests/it/main.rs", "mod common_names;\n"), NONE);
    }

    #[test]
    fn stubs_are_refused_in_code() {
        for word in BANS[1].words {
            assert_eq!(broken("bench/run.py", &format!("# {word}\n")), [(1, format!("`{word}`"))]);
        }
        assert_eq!(broken("bench/run.sh", concat!("mktemp nameXX", "XXXX\n")), NONE);
        assert_eq!(
            broken("xtask/src/a.rs", &format!("{}]\n", BANS[2].words[0])),
            [(1, format!("`{}`", BANS[2].words[0]))]
        );
    }

    #[test]
    fn tests_do_not_sleep() {
        for path in ["crates/a/tests/it/push.rs", "python/tests/test_push.py"] {
            assert_eq!(broken(path, "time.sleep(1)\n"), [(1, "`sleep(`".into())]);
        }
        assert_eq!(broken("crates/a/tests/it/push.rs", "no_sleep(); // sleep(1)\n"), NONE);
    }

    #[test]
    fn one_machines_paths_stay_there() {
        let path = BANS[4].words[0];
        assert_eq!(broken("README.md", &format!("cd {path}main\n")), [(1, format!("`{path}`"))]);
        assert_eq!(broken("README.md", &format!("see docs{path}main\n")), NONE);
    }
}
