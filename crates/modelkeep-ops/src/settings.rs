//! Settings: every source resolved once into plain values that say where they came from.
//!
//! flag > environment (`MODELKEEP_…`) > `modelkeep.toml` > `~/.config/modelkeep/config.toml` > default.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::gitrules::Limits;
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

/// Budgets of the rows of `status`; the defaults are a Codespace's of 15 GB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Code and documents.
    pub code: ByteSize,
    /// Virtual environments, `site-packages`, `node_modules`, `target`.
    pub dependencies: ByteSize,
    /// Data sets.
    pub data: ByteSize,
    /// Git's history.
    pub git: ByteSize,
    /// Caches of pip, uv, conda and the like together: what `cache clear` goes down to.
    pub caches: ByteSize,
    /// What should stay free on the disk.
    pub free: ByteSize,
}

/// When upkeep does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintain {
    /// With less than this free on the disk the cache gives some.
    pub free: ByteSize,
    /// A cache over this is cleared.
    pub caches: ByteSize,
    /// Notebooks that nobody touched for so many days are filed on the store.
    pub notebook_days: u32,
    /// The folder, seen from the workspace, that archives of notebooks go to; by default one of the user's own data.
    pub backup: Option<PathBuf>,
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
    /// What each of the other rows of `status` may take.
    pub budgets: Budgets,
    /// Making room goes down to so many hundredths of a budget.
    pub budget_low: u8,
    /// A folder on another disk that takes what the HF cache has no room for.
    pub overflow: Option<PathBuf>,
    /// How fast models are expected to come back, in bytes a second.
    pub rate: ByteSize,
    /// What to do when the disk is full.
    pub evict: Evict,
    /// Which pushes may go.
    pub retention: Retention,
    /// When upkeep does something.
    pub maintain: Maintain,
    /// Whether unchanged content may be a hard link on a folder remote (shares bytes: an edit in place changes both).
    pub hard_links: bool,
    /// What is deleted on Drive skips Drive's own trash.
    pub permanent_delete: bool,
    /// What git should not be given.
    pub guard: Limits,
    /// The settings files that have rules of placement, with their text, the nearest first.
    pub placement: Vec<(PathBuf, String)>,
    /// The settings files that have prices, likewise.
    pub prices: Vec<(PathBuf, String)>,
    /// What `serve` keeps of content that it fetched from a store that is not a folder.
    pub serve_cache: ByteSize,
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
pub const KNOWN: &[Known] = &[
    Known { key: "name", default: "", about: "the workspace's name (default: its folder's)" },
    Known { key: "remote", default: "default", about: "the remote that commands use" },
    Known { key: "namespace", default: "", about: "first part of Hub-style names (default: the name as a slug)" },
    Known { key: "budget.models", default: "2GB", about: "HF cache and models/ together" },
    Known { key: "budget.total", default: "15GB", about: "everything that `status` lists" },
    Known { key: "budget.code", default: "300MB", about: "code and documents of the workspace" },
    Known { key: "budget.dependencies", default: "2GB", about: "virtual environments, node_modules, target" },
    Known { key: "budget.data", default: "100MB", about: "data sets in the workspace" },
    Known { key: "budget.git", default: "100MB", about: "the workspace's .git" },
    Known {
        key: "budget.caches", default: "1GB", about: "caches of pip, uv, conda…; what `cache clear` goes down to"
    },
    Known { key: "budget.free", default: "10GB", about: "what should stay free on the disk" },
    Known { key: "budget.low_percent", default: "80", about: "making room goes down to this part of a budget" },
    Known { key: "overflow", default: "", about: "folder on another disk, for the HF cache when this one is full" },
    Known { key: "rate", default: "25MB", about: "bytes a second at which models are expected to come back" },
    Known { key: "evict", default: "auto", about: "make room on a full disk: auto, ask or never" },
    Known { key: "retention.keep_last", default: "", about: "newest pushes of each model that stay (default: all)" },
    Known { key: "retention.keep_best", default: "", about: "metric by which the best push stays too" },
    Known { key: "retention.higher_is_better", default: "", about: "true or false, for keep_best" },
    Known {
        key: "retention.grace_days",
        default: "30",
        about: "days that removed content stays in our trash, 7 or more",
    },
    Known { key: "maintain.free", default: "5GB", about: "with less free on the disk upkeep evicts from the cache" },
    Known { key: "maintain.caches", default: "3GB", about: "a cache larger than this is cleared once a month" },
    Known { key: "maintain.backup", default: "", about: "folder for archives of notebooks (default: the user's data)" },
    Known { key: "maintain.notebook_days", default: "30", about: "notebooks untouched for so long are filed" },
    Known { key: "serve.cache", default: "5GB", about: "what `serve` keeps of content that it fetched" },
    Known { key: "folder.hard_links", default: "false", about: "share unchanged files between pushes by hard links" },
    Known { key: "gdrive.permanent_delete", default: "false", about: "what is deleted skips Drive's own trash" },
    Known { key: "guard.allow", default: "", about: "paths that git may have whatever they are, such as tests/**" },
    Known { key: "guard.max_file", default: "10MB", about: "files so large do not belong in git" },
    Known { key: "guard.notebook_outputs", default: "100kB", about: "a notebook may carry so much output into git" },
    Known { key: "guard.repository", default: "100MB", about: "a git repository stays below this" },
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
        let (mut placement, mut prices) = (Vec::new(), Vec::new());
        let user = env.config_dir().map(|dir| Origin::User(dir.join("config.toml")));
        let workspace_file = workspace.map(|workspace| Origin::Workspace(workspace.settings_file()));
        for origin in [user, workspace_file].into_iter().flatten() {
            let (Origin::User(file) | Origin::Workspace(file)) = &origin else { continue };
            let text = match changed {
                Some((changed, text)) if changed == file => text.to_owned(),
                _ => read_file(file)?,
            };
            let tables = take_in(&text, file, &origin, &mut values, &mut remotes, &mut unknown)?;
            for (has, texts) in [(tables.placement, &mut placement), (tables.prices, &mut prices)] {
                if has {
                    texts.insert(0, (file.clone(), text.clone()));
                }
            }
        }
        for known in KNOWN {
            let variable = variable_of(known.key);
            if let Some(text) = env.get(&variable) {
                values.insert(known.key, Value { text: text.to_owned(), origin: Origin::Environment(variable) });
            }
        }
        let settings = Self::from_values(values, remotes, workspace)?;
        Ok(Self { placement, prices, unknown, ..settings })
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
        let budgets = Budgets {
            code: size("budget.code")?,
            dependencies: size("budget.dependencies")?,
            data: size("budget.data")?,
            git: size("budget.git")?,
            caches: size("budget.caches")?,
            free: size("budget.free")?,
        };
        let budget_low = parse::<u8>(&values, "budget.low_percent")?.filter(|low| (1..=100).contains(low));
        let budget_low = budget_low.ok_or_else(|| {
            let key = "budget.low_percent";
            wrong(&values, key, Error::usage(format!("{key} must be 1 to 100")))
        })?;
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
            budgets,
            budget_low,
            overflow: given("overflow").map(PathBuf::from),
            rate: size("rate")?,
            evict,
            retention,
            hard_links: parse(&values, "folder.hard_links")?.unwrap_or(false),
            permanent_delete: parse(&values, "gdrive.permanent_delete")?.unwrap_or(false),
            guard: limits(&values)?,
            maintain: Maintain {
                free: size("maintain.free")?,
                caches: size("maintain.caches")?,
                notebook_days: parse(&values, "maintain.notebook_days")?.unwrap_or(30),
                backup: given("maintain.backup").map(PathBuf::from),
            },
            placement: Vec::new(),
            prices: Vec::new(),
            serve_cache: size("serve.cache")?,
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

fn limits(values: &BTreeMap<&'static str, Value>) -> Result<Limits> {
    let size = |key: &str| {
        let size = values[key].text.parse::<ByteSize>();
        size.map_err(|error| wrong(values, key, error.context(key)))
    };
    let allow = values["guard.allow"].text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
    let allow: Vec<String> = allow.map(str::to_owned).collect();
    let (file, outputs) = (size("guard.max_file")?, size("guard.notebook_outputs")?);
    let repository = size("guard.repository")?;
    Limits::new(file, outputs, repository, &allow).map_err(|error| wrong(values, "guard.allow", error))
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

/// What a settings file has that is read where it is needed.
#[derive(Default)]
struct Tables {
    /// Rules of placement.
    placement: bool,
    /// Prices.
    prices: bool,
}

/// Takes a file's settings in.
fn take_in(
    text: &str,
    file: &Path,
    origin: &Origin,
    values: &mut BTreeMap<&'static str, Value>,
    remotes: &mut BTreeMap<String, RemoteSetting>,
    unknown: &mut Vec<(String, PathBuf)>,
) -> Result<Tables> {
    let unreadable = |why: String| {
        Error::usage(format!("{}: {why}", file.display())).hint(format!("mend {}, or move it aside", file.display()))
    };
    let table: toml::Table = toml::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let mut flat = Vec::new();
    let mut tables = Tables::default();
    for (key, value) in table {
        if key == "placement" {
            tables.placement = true;
        } else if key == "prices" {
            tables.prices = true;
        } else if key == "remotes" {
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
            // A list may be written as one, or as a text with commas.
            toml::Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(", "),
            other => other.to_string(),
        };
        values.insert(known.key, Value { text, origin: origin.clone() });
    }
    Ok(tables)
}
