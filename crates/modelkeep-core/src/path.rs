//! Paths that cannot escape: on a remote ([`RemotePath`]) and inside a revision ([`ContentPath`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// A path below a remote's root: parts joined by `/`, none of them empty, `.` or `..`. Empty is the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RemotePath(String);

/// The path of a file inside a revision: relative, and possible on every system modelkeep runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct ContentPath(String);

/// Why text is not a path we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {why}", path.escape_debug())]
pub struct ParsePathError {
    /// The path as it was given.
    pub path: String,
    /// What is wrong with it, as the end of a sentence.
    pub why: &'static str,
}

impl RemotePath {
    /// The remote's own root.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// As text, `/` between parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }

    /// Everything but the last part; the root's parent is the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned()))
    }

    /// This path with one more part.
    ///
    /// # Panics
    /// When `name` is no single part (empty, `.`, `..`, or with `/` or NUL): names come from types or listings,
    /// which are checked where they enter.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        assert!(part_fault(name).is_none() && !name.contains('/'), "not a single path part: {name:?}");
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// The place of a revision's file below this folder.
    #[must_use]
    pub fn join_content(&self, path: &ContentPath) -> Self {
        if self.0.is_empty() { Self(path.0.clone()) } else { Self(format!("{}/{}", self.0, path.0)) }
    }

    /// The rest of this path below `folder`, if it lies there.
    pub fn below<'a>(&'a self, folder: &Self) -> Option<&'a str> {
        if folder.0.is_empty() {
            return Some(&self.0);
        }
        self.0.strip_prefix(&folder.0)?.strip_prefix('/')
    }

    /// Its parts, from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl ContentPath {
    /// As text, `/` between parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or("")
    }

    /// The folders above it, outermost first: `a/b/c` gives `a`, `a/b`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

fn part_fault(part: &str) -> Option<&'static str> {
    match part {
        "" => Some("has an empty part"),
        "." | ".." => Some("holds `.` or `..`"),
        _ if part.contains('\0') => Some("holds a NUL"),
        _ => None,
    }
}

fn content_part_fault(part: &str) -> Option<&'static str> {
    let stem = part.split('.').next().unwrap_or(part).trim_end();
    if let Some(why) = part_fault(part) {
        Some(why)
    } else if part.chars().any(char::is_control) {
        Some("holds a control character")
    } else if part.contains(['<', '>', ':', '"', '|', '?', '*', '\\']) {
        Some("holds one of < > : \" | ? * \\, which Windows cannot store")
    } else if part.ends_with(['.', ' ']) {
        Some("ends in a dot or a space, which Windows cannot store")
    } else if is_windows_device(stem) {
        Some("is a device name on Windows")
    } else if part.len() > 255 {
        Some("is longer than 255 bytes")
    } else {
        None
    }
}

/// Whether a file called so (without extension) is a device on Windows.
/// Source: <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>.
pub fn is_windows_device(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
        || (stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.as_bytes()[3].is_ascii_digit())
}

impl FromStr for RemotePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        match text.split('/').find_map(part_fault) {
            Some(why) => Err(ParsePathError { path: text.to_owned(), why }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl FromStr for ContentPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        match text.split('/').find_map(content_part_fault) {
            Some(why) => Err(ParsePathError { path: text.to_owned(), why }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

macro_rules! path_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(path: $name) -> Self {
                path.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParsePathError;

            fn try_from(text: String) -> Result<Self, ParsePathError> {
                text.parse()
            }
        }
    };
}
path_text!(RemotePath);
path_text!(ContentPath);

/// Pairs of paths that are one file, or a file and a folder, on a store that folds case or Unicode form.
///
/// Returns each collision once, as (earlier, later) in the order given.
pub fn collisions<'a>(paths: impl IntoIterator<Item = &'a ContentPath>) -> Vec<(String, String)> {
    let mut seen: HashMap<Cow<'a, str>, (&'a str, bool)> = HashMap::new();
    let mut found = Vec::new();
    let mut check = |text: &'a str, is_file: bool| match seen.entry(folded(text)) {
        Entry::Vacant(slot) => {
            slot.insert((text, is_file));
        }
        Entry::Occupied(slot) => {
            let (earlier, was_file) = *slot.get();
            if earlier != text || is_file || was_file {
                found.push((earlier.to_owned(), text.to_owned()));
            }
        }
    };
    let mut folder_before = "";
    for path in paths {
        let folder = path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != folder_before {
            path.ancestors().for_each(|folder| check(folder, false));
            folder_before = folder;
        }
        check(path.as_str(), true);
    }
    found.dedup();
    found
}

/// A path as a store sees it that folds case and Unicode form.
fn folded(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(text.nfc().flat_map(char::to_lowercase).collect());
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_paths_that_some_system_cannot_hold_are_refused() {
        for good in ["a", "-rf", "a b/c", "🦙.bin", ".gitattributes", "checkpoint-500/x", &"n".repeat(255)] {
            assert!(good.parse::<ContentPath>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a//b",
            "a\nb",
            "a\0b",
            "c:a",
            "a\\b",
            "x.",
            "x ",
            "nul",
            "COM1.txt",
            &"n".repeat(256),
        ] {
            assert!(bad.parse::<ContentPath>().is_err(), "{bad:?}");
        }
        assert!("C:/x".parse::<ContentPath>().is_err());
    }

    #[test]
    fn remote_paths_stay_inside() {
        for bad in ["/a", "a/..", "..", "a//b", "./a"] {
            assert!(bad.parse::<RemotePath>().is_err(), "{bad}");
        }
        let path: RemotePath = "models/finetuned/x".parse().unwrap();
        assert_eq!(path.parent().as_str(), "models/finetuned");
        assert_eq!(path.below(&"models".parse().unwrap()), Some("finetuned/x"));
        assert_eq!(path.below(&"mod".parse().unwrap()), None);
        assert_eq!(RemotePath::root().join("a").as_str(), "a");
    }

    #[test]
    fn collisions_by_case_form_and_kind() {
        let paths = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<ContentPath>>();
        assert!(collisions(&paths(&["a/x", "a/y", "b"])).is_empty());
        assert_eq!(collisions(&paths(&["Readme", "README"])), [("Readme".into(), "README".into())]);
        assert_eq!(collisions(&paths(&["caf\u{e9}", "cafe\u{301}"])).len(), 1);
        assert_eq!(collisions(&paths(&["a", "A/b"])).len(), 1);
        assert_eq!(collisions(&paths(&["dir/x", "Dir/y"])).len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_path_that_parses_prints_back_and_never_escapes(text in "[a-c./\\\\ ]{0,12}") {
            if let Ok(path) = text.parse::<ContentPath>() {
                proptest::prop_assert_eq!(path.as_str(), &text);
                proptest::prop_assert!(!path.as_str().starts_with('/'));
                proptest::prop_assert!(path.as_str().split('/').all(|part| part != ".." && !part.is_empty()));
            }
        }
    }
}
