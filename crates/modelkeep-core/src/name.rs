//! Names people give: model ids, families, labels, and how a revision is asked for.
//!
//! Parsed once, carried as types. A name that parses is safe as a folder name on every store and system.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::digest::RevisionId;
use crate::error::{Error, Result};

const MAX_LEN: usize = 96;

/// A model's name and its folder's name, such as `banking-v2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct ModelId(String);

/// A name for one revision of a model, such as `prod` or `checkpoint-500`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct Label(String);

/// The computed label: the newest pushed revision.
pub const LATEST: &str = "latest";

impl ModelId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id without its trailing `-v<number>[.<number>…]`.
    pub fn family(&self) -> &str {
        self.split_version().0
    }

    /// The numbers of the trailing version; empty when there is none (which sorts lowest).
    pub fn version(&self) -> Vec<u64> {
        self.split_version().1
    }

    fn split_version(&self) -> (&str, Vec<u64>) {
        if let Some((family, version)) = self.0.rsplit_once("-v")
            && !family.is_empty()
            && let Some(numbers) = version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()
        {
            return (family, numbers);
        }
        (&self.0, Vec::new())
    }

    /// Order within a family: by numeric version parts, then by text.
    pub fn cmp_version(&self, other: &Self) -> Ordering {
        self.version().cmp(&other.version()).then_with(|| self.0.cmp(&other.0))
    }

    /// The id that a person would take after this one: `banking-v2` → `banking-v3`.
    #[must_use]
    pub fn next(&self) -> Self {
        let (family, mut version) = self.split_version();
        match version.last_mut() {
            Some(last) => *last = last.saturating_add(1),
            None => version.push(2),
        }
        let numbers: Vec<String> = version.iter().map(u64::to_string).collect();
        let version = format!("-v{}", numbers.join("."));
        // A family as long as an id may be, or one that ends in a sign, leaves room for it.
        let room = family.len().min(MAX_LEN.saturating_sub(version.len()));
        let family = family[..room].trim_end_matches(['-', '_', '.']);
        Self(format!("{family}{version}"))
    }
}

impl std::borrow::Borrow<str> for ModelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with one part of a name, if anything.
fn fault(part: &str) -> Option<&'static str> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let stem = part.split('.').next().unwrap_or(part);
    if part.is_empty() {
        Some("it is empty")
    } else if part.len() > MAX_LEN {
        Some("it is longer than 96 characters")
    } else if !part.bytes().all(good) {
        Some("only a-z, 0-9, `.`, `_` and `-` are allowed")
    } else if !part.as_bytes()[0].is_ascii_alphanumeric() {
        Some("it must begin with a letter or a digit")
    } else if part.contains("--") || part.contains("..") {
        Some("it holds `--` or `..`")
    } else if [".", ".git", ".pointer.json", "-latest"].iter().any(|end| part.ends_with(end)) {
        Some("it ends in `.`, `.git`, `.pointer.json` or `-latest`, which are reserved")
    } else if crate::path::is_windows_device(stem) {
        Some("it is a device name on Windows")
    } else {
        None
    }
}

/// The nearest good id to what somebody typed: `Banking V2` → `banking-v2`.
pub fn nearest_id(text: &str) -> Option<ModelId> {
    let mut id = String::new();
    let letters = text.nfkd().filter(|c| !unicode_normalization::char::is_combining_mark(*c));
    for c in letters.flat_map(char::to_lowercase) {
        let c = if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
        let doubled = matches!((id.chars().last(), c), (Some('-'), '-') | (Some('.'), '.'));
        if !doubled && id.len() < MAX_LEN {
            id.push(c);
        }
    }
    let mut id = id.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    for end in [".git", ".pointer.json", "-latest"] {
        id = id.strip_suffix(end).unwrap_or(id);
    }
    [id.to_owned(), format!("model-{id}")].into_iter().find(|id| id_fault(id).is_none()).map(ModelId)
}

fn id_fault(text: &str) -> Option<&'static str> {
    match text {
        LATEST | "current" => Some("it is a reserved word"),
        _ => fault(text),
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(why) = id_fault(text) else { return Ok(Self(text.to_owned())) };
        let error = Error::usage(format!("`{text}` cannot be a model id: {why}"));
        Err(match nearest_id(text) {
            Some(id) => error.hint(format!("use `{id}`")),
            None => error,
        })
    }
}

impl FromStr for Label {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let why = if text == LATEST {
            Some("`latest` is computed (the newest push)")
        } else if text == "main" {
            Some("it is a reserved word")
        } else if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            Some("a number names a push")
        } else if hex {
            Some("seven or more hex digits name a revision")
        } else if text.len() > MAX_LEN {
            Some("it is longer than 96 characters")
        } else {
            text.split('/').find_map(fault)
        };
        match why {
            None => Ok(Self(text.to_owned())),
            Some(why) => Err(Error::usage(format!("`{text}` cannot be a label: {why}"))),
        }
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
    };
}
text_type!(ModelId);
text_type!(Label);

/// Which revision of a model is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest pushed revision.
    Latest,
    /// The revision a label points to.
    Label(Label),
    /// The push of that number; seven digits or more may also begin a revision id.
    Number(u64, String),
    /// The revision whose id begins so (7 to 40 hex digits).
    Prefix(String),
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == LATEST {
            return Ok(Self::Latest);
        }
        if let Ok(number) = text.parse::<u64>() {
            return Ok(Self::Number(number, text.to_owned()));
        }
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (7..=40).contains(&text.len()) {
            return Ok(Self::Prefix(text.to_owned()));
        }
        text.parse().map(Self::Label).map_err(|_| {
            Error::usage(format!("`{text}` is no label, number or revision id"))
                .hint("write MODEL@LABEL, MODEL@3 or MODEL@ with 7 or more digits of the revision id")
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Label(label) => label.fmt(f),
            Self::Number(_, text) | Self::Prefix(text) => f.write_str(text),
        }
    }
}

/// `MODEL@REV`: a model and which of its revisions. The model's name is resolved later, since it may be an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The id or alias as typed.
    pub model: String,
    /// Which revision; `latest` when there was no `@`.
    pub selector: Selector,
}

impl FromStr for ModelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (model, selector) = match text.split_once('@') {
            Some((model, selector)) => (model, selector.parse()?),
            None => (text, Selector::Latest),
        };
        // An alias is at least a good file name; an empty or path-like one is a slip.
        if model.is_empty() || model.contains(['/', '\\']) {
            return Err(Error::usage(format!("`{text}` names no model")).hint("modelkeep list"));
        }
        Ok(Self { model: model.to_owned(), selector })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.model, self.selector)
    }
}

impl Selector {
    /// Whether a revision id can be what this prefix means.
    pub fn matches_prefix(&self, revision: &RevisionId) -> bool {
        match self {
            Self::Prefix(text) => revision.to_string().starts_with(text.as_str()),
            Self::Number(_, text) => text.len() >= 7 && revision.to_string().starts_with(text.as_str()),
            Self::Latest | Self::Label(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_taken_is_written_back_as_it_was(text in prop_oneof![".{0,40}", "[a-z0-9._-]{1,100}"]) {
            if let Ok(id) = text.parse::<ModelId>() {
                prop_assert_eq!(id.to_string(), text.clone());
                prop_assert!(id.next().to_string().parse::<ModelId>().is_ok());
            }
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.to_string(), text.clone());
            }
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string(), text);
            }
        }

        #[test]
        fn a_reference_is_read_as_it_is_written(text in "[a-z][a-z0-9-]{0,20}(@[a-z0-9.]{1,20})?") {
            if let Ok(reference) = text.parse::<ModelRef>() {
                prop_assert_eq!(reference.to_string().parse::<ModelRef>().unwrap(), reference);
            }
        }

        #[test]
        fn the_nearest_id_is_one(text in ".{0,120}") {
            if let Some(near) = nearest_id(&text) {
                prop_assert!(near.to_string().parse::<ModelId>().is_ok(), "{near}");
            }
        }
    }

    #[test]
    fn ids_that_are_refused_name_the_nearest_good_one() {
        for (text, nearest) in [
            ("Banking V2", Some("banking-v2")),
            ("banking--v2", Some("banking-v2")),
            ("modèle", Some("modele")),
            ("banking-latest", Some("banking")),
            ("nul", Some("model-nul")),
            ("-x", Some("x")),
            ("current", Some("model-current")),
        ] {
            let error = text.parse::<ModelId>().unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Usage);
            if let Some(nearest) = nearest {
                assert_eq!(error.hint_text(), Some(format!("use `{nearest}`").as_str()), "{text}");
            }
        }
        for text in ["banking-v2", "a", "llama2-7b", "x.y_z-1", &"a".repeat(96)] {
            assert!(text.parse::<ModelId>().is_ok(), "{text}");
        }
        for text in ["", "a..b", "a.", "con.txt", "x.git", "latest", &"a".repeat(97), "a/b", "é", "model-é"] {
            assert!(text.parse::<ModelId>().is_err(), "{text}");
        }
    }

    #[test]
    fn families_and_versions_compare_by_number() {
        let id = |text: &str| text.parse::<ModelId>().unwrap();
        assert_eq!((id("banking-v2").family(), id("banking-v2").version()), ("banking", vec![2]));
        assert_eq!(id("banking").version(), Vec::<u64>::new());
        assert_eq!(id("banking-vx").family(), "banking-vx");
        assert!(id("banking-v10").cmp_version(&id("banking-v9")).is_gt());
        assert!(id("banking").cmp_version(&id("banking-v1")).is_lt());
        assert!(id("b-v1.2").cmp_version(&id("b-v1.10")).is_lt());
        assert_eq!(id("banking-v2").next().as_str(), "banking-v3");
        assert_eq!(id("banking").next().as_str(), "banking-v2");
    }

    #[test]
    fn labels_and_selectors() {
        for text in ["prod", "exp/lr-3", "v1.0", "checkpoint-500", "abcdef", "bad1dea"] {
            assert_eq!(text.parse::<Label>().is_ok(), text != "bad1dea", "{text}");
        }
        for text in ["", "main", "latest", "12", "abcdef0123", "Prod", "a//b", "/a", "a b"] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
        assert_eq!("latest".parse::<Selector>().unwrap(), Selector::Latest);
        assert_eq!("3".parse::<Selector>().unwrap(), Selector::Number(3, "3".into()));
        assert!(matches!("abcdef0".parse::<Selector>().unwrap(), Selector::Prefix(_)));
        let parsed: ModelRef = "banking-v2@prod".parse().unwrap();
        assert_eq!(parsed.to_string(), "banking-v2@prod");
        assert!("a/b".parse::<ModelRef>().is_err());
    }
}
