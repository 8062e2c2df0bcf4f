//! `postStartCommand` of a development container: ours beside what is there, comments and all.
//!
//! Its forms: a text, a list, or an object of several that are run side by side
//! (<https://containers.dev/implementors/json_reference/#lifecycle-scripts>).

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::{ARGUMENTS, Job};
use crate::error::{Error, Result};
use crate::placement::quote;

/// Where it may be in a repository, the usual place first.
pub const FILES: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];
/// The folder that may hold several, each in a folder of its own.
pub const FOLDER: &str = ".devcontainer";

const COMMAND: &str = "postStartCommand";
/// Our command's name among several.
const OURS: &str = "modelkeep";
/// The name that a command gets that stood there alone.
const THEIRS: &str = "project";

/// A file where there is none: the image that Codespaces takes without one, and the feature that brings modelkeep.
const NEW: &str = r#"{
    "image": "mcr.microsoft.com/devcontainers/universal:2",
    "features": {
        "ghcr.io/modelkeep/features/modelkeep:0": {}
    }
}
"#;

/// What a container runs when it starts. It never keeps one from starting, and needs no program at the same path.
pub fn command(job: &Job) -> String {
    let cd = if job.below.is_empty() { String::new() } else { format!("cd {} && ", quote(&job.below)) };
    format!("{cd}command -v modelkeep >/dev/null && modelkeep {ARGUMENTS} || true")
}

/// What stands there.
enum There {
    /// No command.
    Nothing,
    /// One that asks for upkeep already: ours, or one that somebody wrote.
    Scheduled,
    /// One that is somebody's own.
    Alone,
    /// Several, none of them ours.
    Several,
}

/// The file with ours in it; `None`: it is there already.
pub fn put(text: Option<&str>, job: &Job) -> Result<Option<String>> {
    let command = command(job);
    let text = text.filter(|text| !text.trim().is_empty()).unwrap_or(NEW);
    let root = parse(text)?;
    let object = root.object_value().ok_or_else(|| wrong("it holds no settings"))?;
    match there(text)? {
        There::Scheduled => Ok(None),
        There::Nothing => {
            // One that is null says nothing.
            if let Some(null) = object.get(COMMAND) {
                null.remove();
            }
            let ours = CstInputValue::Object(vec![(OURS.to_owned(), CstInputValue::String(command))]);
            object.append(COMMAND, ours);
            Ok(Some(root.to_string()))
        }
        There::Several => {
            if let Some(several) = object.object_value(COMMAND) {
                several.append(OURS, CstInputValue::String(command));
            }
            Ok(Some(root.to_string()))
        }
        There::Alone => {
            let (begin, end) = value_of(text)?;
            let line = &text[text[..begin].rfind('\n').map_or(0, |at| at + 1)..begin];
            let indent: String = line.chars().take_while(|c| [' ', '\t'].contains(c)).collect();
            let inner = format!("{indent}{}", root.single_indent_text().unwrap_or_else(|| "    ".to_owned()));
            let command = serde_json::to_string(&command).map_err(|error| Error::internal("a text").because(error))?;
            Ok(Some(format!(
                "{}{{\n{inner}\"{THEIRS}\": {},\n{inner}\"{OURS}\": {command}\n{indent}}}{}",
                &text[..begin],
                &text[begin..end],
                &text[end..]
            )))
        }
    }
}

/// The file without ours; `None`: it is not there. The text is empty when nothing but what we wrote was in the file.
pub fn take(text: &str) -> Result<Option<String>> {
    let root = parse(text)?;
    let Some(object) = root.object_value() else { return Ok(None) };
    let Some(several) = object.object_value(COMMAND) else { return Ok(None) };
    let Some(ours) = several.get(OURS) else { return Ok(None) };
    let others = several.properties().len() - 1;
    if others == 1
        && let Some(theirs) = several.get(THEIRS).and_then(|property| property.value())
    {
        // It stood there alone before.
        let (begin, end) = value_of(text)?;
        return Ok(Some(format!("{}{theirs}{}", &text[..begin], &text[end..])));
    }
    if others > 0 {
        ours.remove();
    } else if let Some(command) = object.get(COMMAND) {
        command.remove();
    }
    let after = root.to_string();
    Ok(Some(if after == NEW { String::new() } else { after }))
}

/// Whether a container asks for upkeep when it starts, by our command or one that somebody wrote.
pub fn is_scheduled(text: &str) -> Result<bool> {
    Ok(matches!(there(text)?, There::Scheduled))
}

fn there(text: &str) -> Result<There> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).map_err(unreadable)?;
    let Some(Value::Object(object)) = &parsed.value else { return Ok(There::Nothing) };
    let Some(command) = object.get(COMMAND).map(|property| &property.value) else { return Ok(There::Nothing) };
    let range = command.range();
    Ok(match command {
        Value::NullKeyword(_) => There::Nothing,
        _ if text[range.start..range.end].contains("modelkeep maintain") => There::Scheduled,
        Value::Object(_) => There::Several,
        _ => There::Alone,
    })
}

/// Where the value of `postStartCommand` begins and ends.
fn value_of(text: &str) -> Result<(usize, usize)> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).map_err(unreadable)?;
    let Some(Value::Object(object)) = &parsed.value else { return Err(wrong("it holds no settings")) };
    let property = object.get(COMMAND).ok_or_else(|| wrong("it has no command"))?;
    let range = property.value.range();
    Ok((range.start, range.end))
}

fn parse(text: &str) -> Result<CstRootNode> {
    CstRootNode::parse(text, &ParseOptions::default()).map_err(unreadable)
}

fn unreadable(error: jsonc_parser::errors::ParseError) -> Error {
    wrong(&error.to_string()).because(error)
}

fn wrong(why: &str) -> Error {
    Error::usage(format!("it cannot be read as JSON with comments: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::job;

    const THEIRS_COMMENTED: &str = r#"// How we work
{
  "name": "banking", // the team's
  /* the image */
  "image": "python:3.12",
  "postStartCommand": "pip install -e .", // fast
}
"#;

    fn round(before: &str) -> String {
        let with = put(Some(before), &job()).unwrap().unwrap();
        assert_eq!(put(Some(&with), &job()).unwrap(), None, "once is enough:\n{with}");
        for line in before.lines().filter(|line| line.contains("//") || line.contains("/*")) {
            let comment = line[line.find("//").or(line.find("/*")).unwrap()..].trim_end_matches("\"]}");
            assert!(with.contains(comment), "{comment}\n{with}");
        }
        assert_eq!(take(&with).unwrap().unwrap(), before, "\n{with}");
        assert_eq!(take(before).unwrap(), None);
        with
    }

    #[test]
    fn ours_goes_in_beside_theirs_and_comes_out_whole() {
        let with = round(THEIRS_COMMENTED);
        assert!(
            with.contains("  \"postStartCommand\": {\n    \"project\": \"pip install -e .\",\n    \"modelkeep\": ")
        );
        assert!(with.contains("\n  }, // fast\n"));
        round(r#"{"postStartCommand": ["sh", "-c", "a // no comment"]}"#);
        round("{\n\t\"postStartCommand\": {\n\t\t// the server\n\t\t\"server\": \"serve &\"\n\t}\n}\n");
        round("{\n  // Nothing yet\n  \"name\": \"a\" // the name\n}\n");
        // What stood in one line is in several then.
        let with = put(Some("{\"name\": \"a\"}"), &job()).unwrap().unwrap();
        assert_eq!(take(&with).unwrap().unwrap(), "{\n  \"name\": \"a\"\n}");
        round("{\r\n  \"name\": \"a\",\r\n  \"image\": \"b\"\r\n}\r\n");
    }

    #[test]
    fn what_nobody_wrote_comes_and_goes_whole() {
        let new = put(None, &job()).unwrap().unwrap();
        assert!(new.contains("universal") && new.contains("modelkeep maintain due --yes || true"));
        assert_eq!(take(&new).unwrap(), Some(String::new()));
        assert_eq!(put(Some("\n"), &job()).unwrap().unwrap(), new);
        let null = put(Some("{\n  \"postStartCommand\": null\n}\n"), &job()).unwrap().unwrap();
        assert!(null.contains("\"modelkeep\"") && !null.contains(": null"), "{null}");
    }

    #[test]
    fn a_command_of_theirs_that_asks_for_upkeep_is_enough() {
        let theirs = "{\"postStartCommand\": \"modelkeep maintain due --yes; x\"}";
        assert_eq!(put(Some(theirs), &job()).unwrap(), None);
        assert_eq!(take(theirs).unwrap(), None);
        assert!(put(Some("{ \"name\": "), &job()).is_err() && put(Some("[]"), &job()).is_err());
        let below = Job { below: "a b".to_owned(), ..job() };
        assert!(command(&below).starts_with("cd 'a b' && command -v"));
    }
}
