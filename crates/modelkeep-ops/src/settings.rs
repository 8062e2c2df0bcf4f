//! Settings: every source resolved once into plain values that say where they came from.
//!
//! flag > environment (`MODELKEEP_…`) > `modelkeep.toml` > `~/.config/modelkeep/config.toml` > default.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::retention::{MIN_GRACE_DAYS, Retention};
use modelkeep_core::size::ByteSize;
use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Env;
use crate::workspace::Workspace;

/// A configured remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteSetting {
    /// Where it is.
    pub url: String,
    /// The tree's own id, recorded when it was first seen, so that another tree in its place is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// On Drive: the account whose access the store is used with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// On Drive: the folder's id, since a name there may be that of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// The user's own settings file.
    User(PathBuf),
    /// The workspace's settings file.
    Workspace(PathBuf),
    /// An environment variable.
    Environment(String),
}

/// One setting as text, with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// As it would be typed.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// When the local disk is full: make room by itself, ask, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evict {
    /// Evict what is proven to be had again, and report it.
    Auto,
    /// Ask first.
    Ask,
    /// Fail instead.
    Never,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The workspace's name.
    pub name: String,
    /// The remote that commands use.
    pub remote: Option<String>,
    /// First part of Hub-style names (`namespace/model`).
    pub namespace: String,
    /// HF cache and `models/` together.
    pub budget_models: ByteSize,
    /// Everything that `status` lists.
    pub budget_total: ByteSize,
    /// What to do when the disk is full.
    pub evict: Evict,
    /// Which pushes may go.
    pub retention: Retention,
    /// Whether unchanged content may be a hard link on a folder remote (shares bytes: an edit in place changes both).
    pub hard_links: bool,
    /// Configured remotes.
    pub remotes: BTreeMap<String, RemoteSetting>,
    /// Keys in the settings files that this version does not know, with their file.
    pub unknown: Vec<(String, PathBuf)>,
    values: BTreeMap<&'static str, Value>,
}

/// A setting that exists: its key, its default, what it is for.
pub struct Known {
    /// As in `config set`.
    pub key: &'static str,
    /// As text; empty when there is none.
    pub default: &'static str,
    /// One sentence.
    pub about: &'static str,
}

/// Every setting there is.
pub const KNOWN: [Known; 11] = [
    Known { key: "name", default: "", about: "the workspace's name (default: its folder's)" },
    Known { key: "remote", default: "default", about: "the remote that commands use" },
    Known { key: "namespace", default: "", about: "first part of Hub-style names (default: the name as a slug)" },
    Known { key: "budget.models", default: "2GB", about: "HF cache and models/ together" },
    Known { key: "budget.total", default: "15GB", about: "everything that `status` lists" },
    Known { key: "evict", default: "auto", about: "make room on a full disk: auto, ask or never" },
    Known { key: "retention.keep_last", default: "", about: "newest pushes of each model that stay (default: all)" },
    Known { key: "retention.keep_best", default: "", about: "metric by which the best push stays too" },
    Known { key: "retention.higher_is_better", default: "", about: "true or false, for keep_best" },
    Known {
        key: "retention.grace_days",
        default: "30",
        about: "days that removed content stays in our trash, 7 or more",
    },
    Known { key: "folder.hard_links", default: "false", about: "share unchanged files between pushes by hard links" },
];

impl Settings {
    /// Reads every source.
    pub fn resolve(env: &Env, workspace: Option<&Workspace>) -> Result<Self> {
        Self::resolve_if(env, workspace, None)
    }

    /// As [`Settings::resolve`] would, if `file` held `text`.
    pub(crate) fn resolve_if(env: &Env, workspace: Option<&Workspace>, changed: Option<(&Path, &str)>) -> Result<Self> {
        let mut values: BTreeMap<&'static str, Value> = KNOWN
            .iter()
            .map(|known| (known.key, Value { text: known.default.to_owned(), origin: Origin::Default }))
            .collect();
        let mut remotes = BTreeMap::new();
        let mut unknown = Vec::new();
        let user = env.config_dir().map(|dir| Origin::User(dir.join("config.toml")));
        let workspace_file = workspace.map(|workspace| Origin::Workspace(workspace.settings_file()));
        for origin in [user, workspace_file].into_iter().flatten() {
            let (Origin::User(file) | Origin::Workspace(file)) = &origin else { continue };
            let text = match changed {
                Some((changed, text)) if changed == file => text.to_owned(),
                _ => read_file(file)?,
            };
            take_in(&text, file, &origin, &mut values, &mut remotes, &mut unknown)?;
        }
        for known in &KNOWN {
            let variable = variable_of(known.key);
            if let Some(text) = env.get(&variable) {
                values.insert(known.key, Value { text: text.to_owned(), origin: Origin::Environment(variable) });
            }
        }
        let settings = Self::from_values(values, remotes, workspace)?;
        Ok(Self { unknown, ..settings })
    }

    fn from_values(
        values: BTreeMap<&'static str, Value>,
        remotes: BTreeMap<String, RemoteSetting>,
        workspace: Option<&Workspace>,
    ) -> Result<Self> {
        let text = |key: &str| values[key].text.as_str();
        let given = |key: &str| Some(text(key)).filter(|text| !text.is_empty());
        let size = |key: &str| {
            let size = text(key).parse::<ByteSize>();
            size.map_err(|error| wrong(&values, key, error.context(key)))
        };
        let folder_name = workspace.and_then(|workspace| workspace.root.file_name()?.to_str().map(str::to_owned));
        let name = given("name").map(str::to_owned).or(folder_name).unwrap_or_else(|| "models".to_owned());
        let slug = modelkeep_core::name::nearest_id(&name).map_or_else(|| "models".to_owned(), |id| id.to_string());
        let retention = Retention {
            keep_last: parse(&values, "retention.keep_last")?,
            keep_best: given("retention.keep_best").map(str::to_owned),
            higher_is_better: parse(&values, "retention.higher_is_better")?,
            grace_days: parse(&values, "retention.grace_days")?.unwrap_or(30),
        };
        if retention.grace_days < MIN_GRACE_DAYS {
            let key = "retention.grace_days";
            return Err(wrong(&values, key, Error::usage(format!("{key} must be {MIN_GRACE_DAYS} or more"))));
        }
        let evict = match text("evict") {
            "auto" => Evict::Auto,
            "ask" => Evict::Ask,
            "never" => Evict::Never,
            other => {
                let error = Error::usage(format!("evict = `{other}`: it is auto, ask or never"));
                return Err(wrong(&values, "evict", error));
            }
        };
        Ok(Self {
            name,
            remote: given("remote").map(str::to_owned),
            namespace: given("namespace").map_or(slug, str::to_owned),
            budget_models: size("budget.models")?,
            budget_total: size("budget.total")?,
            evict,
            retention,
            hard_links: parse(&values, "folder.hard_links")?.unwrap_or(false),
            remotes,
            unknown: Vec::new(),
            values,
        })
    }

    /// Every setting with its value and origin.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(key, value)| (*key, value))
    }

    /// One setting.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }
}

/// The environment variable of a setting: `budget.models` → `MODELKEEP_BUDGET_MODELS`.
pub fn variable_of(key: &str) -> String {
    format!("MODELKEEP_{}", key.to_uppercase().replace('.', "_"))
}

fn parse<T: std::str::FromStr>(values: &BTreeMap<&'static str, Value>, key: &str) -> Result<Option<T>> {
    let value = &values[key];
    if value.text.is_empty() {
        return Ok(None);
    }
    value
        .text
        .parse()
        .map(Some)
        .map_err(|_| wrong(values, key, Error::usage(format!("{key} = `{}` cannot be read", value.text))))
}

/// Says where a value that cannot be used stands, and what to do about it.
fn wrong(values: &BTreeMap<&'static str, Value>, key: &str, error: Error) -> Error {
    let default = KNOWN.iter().find(|known| known.key == key).map_or("", |known| known.default);
    match &values[key].origin {
        Origin::Default => error,
        Origin::User(file) | Origin::Workspace(file) => {
            let instead = if default.is_empty() { String::new() } else { format!(", or set it to {default}") };
            let hint = format!("leave {key} out of {}{instead}", file.display());
            error.context(file.display()).hint(hint)
        }
        Origin::Environment(variable) => error.context(variable).hint(format!("unset {variable}")),
    }
}

/// A settings file's text; one that is not there says nothing.
pub(crate) fn read_file(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| modelkeep_remote::folder::failed("reading", file, error)),
    }
}

fn take_in(
    text: &str,
    file: &Path,
    origin: &Origin,
    values: &mut BTreeMap<&'static str, Value>,
    remotes: &mut BTreeMap<String, RemoteSetting>,
    unknown: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    let unreadable = |why: String| {
        Error::usage(format!("{}: {why}", file.display())).hint(format!("mend {}, or move it aside", file.display()))
    };
    let table: toml::Table = toml::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let mut flat = Vec::new();
    for (key, value) in table {
        if key == "remotes" {
            let found: BTreeMap<String, RemoteSetting> =
                value.try_into().map_err(|error| unreadable(format!("[remotes]: {error}")))?;
            remotes.extend(found);
        } else if let toml::Value::Table(inner) = value {
            flat.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
        } else {
            flat.push((key, value));
        }
    }
    for (key, value) in flat {
        let Some(known) = KNOWN.iter().find(|known| known.key == key) else {
            // Written by a newer version, or a slip: `config show` says so, and it is never fatal.
            unknown.push((key, file.to_owned()));
            continue;
        };
        let text = match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        values.insert(known.key, Value { text, origin: origin.clone() });
    }
    Ok(())
}
