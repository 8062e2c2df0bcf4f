//! Settings as a person reads and changes them.

use std::path::PathBuf;

use modelkeep_core::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::pins::replace_file;
use crate::settings::{KNOWN, Origin, Settings};

/// Every setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// One a setting.
    pub settings: Vec<Item>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// Its value as it would be typed; empty when it has none.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What it is for.
    pub about: String,
}

/// All settings, with where each came from.
pub fn show(ctx: &Context) -> Report {
    let item = |known: &crate::settings::Known| {
        let value = ctx.settings.get(known.key)?;
        Some(Item {
            key: known.key.to_owned(),
            value: value.text.clone(),
            origin: value.origin.clone(),
            about: known.about.to_owned(),
        })
    };
    for (key, file) in &ctx.settings.unknown {
        ctx.warn(format!("{}: `{key}` is no setting of this version", file.display()));
    }
    Report { settings: KNOWN.iter().filter_map(item).collect() }
}

/// One setting.
pub fn get(ctx: &Context, key: &str) -> Result<Item> {
    show(ctx).settings.into_iter().find(|item| item.key == key).ok_or_else(|| unknown(key))
}

fn unknown(key: &str) -> Error {
    let keys: Vec<&str> = KNOWN.iter().map(|known| known.key).collect();
    Error::usage(format!("there is no setting `{key}`")).hint(format!("there is: {}", keys.join(", ")))
}

/// The file that `set` writes: the workspace's, else the user's own.
pub fn path(ctx: &Context) -> Result<PathBuf> {
    if let Some(workspace) = &ctx.workspace {
        return Ok(workspace.settings_file());
    }
    let folder = ctx.env.config_dir().ok_or_else(|| Error::local("there is no home directory for settings"))?;
    Ok(folder.join("config.toml"))
}

/// Sets a setting. The file keeps its comments and order; a value that cannot be used changes nothing.
pub fn set(ctx: &Context, key: &str, value: &str) -> Result<Item> {
    let known = KNOWN.iter().find(|known| known.key == key).ok_or_else(|| unknown(key))?;
    edit(ctx, |document| {
        let typed = match value.parse::<i64>() {
            Ok(number) => toml_edit::value(number),
            Err(_) if value == "true" || value == "false" => toml_edit::value(value == "true"),
            Err(_) => toml_edit::value(value),
        };
        let Some((table, name)) = key.split_once('.') else {
            document[key] = typed;
            return Ok(());
        };
        let section = document[table].or_insert(toml_edit::table());
        let section = section.as_table_like_mut().ok_or_else(|| Error::usage(format!("`{table}` is no table")))?;
        // An entry that is there keeps its comments.
        match (section.get_mut(name), typed) {
            (Some(toml_edit::Item::Value(there)), toml_edit::Item::Value(mut typed)) => {
                *typed.decor_mut() = there.decor().clone();
                *there = typed;
            }
            (_, typed) => drop(section.insert(name, typed)),
        }
        Ok(())
    })
    .map_err(|error| match known.default {
        "" => error,
        default => error.hint(format!("modelkeep config set {key} {default}")),
    })?;
    let again = Settings::resolve(&ctx.env, ctx.workspace.as_ref())?;
    let now = again.get(key).ok_or_else(|| unknown(key))?;
    Ok(Item { key: key.to_owned(), value: now.text.clone(), origin: now.origin.clone(), about: String::new() })
}

/// Changes the settings file as a document; a result that cannot be read is not written.
pub(crate) fn edit(ctx: &Context, change: impl FnOnce(&mut toml_edit::DocumentMut) -> Result<()>) -> Result<()> {
    let file = path(ctx)?;
    let before = crate::settings::read_file(&file)?;
    let wrong = |error: Error| error.context(file.display()).hint(format!("mend {}", file.display()));
    let document = before.parse::<toml_edit::DocumentMut>();
    let mut document = document.map_err(|error| wrong(Error::usage("it cannot be read").because(error)))?;
    change(&mut document).map_err(wrong)?;
    let after = document.to_string();
    Settings::resolve_if(&ctx.env, ctx.workspace.as_ref(), Some((&file, &after)))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| modelkeep_remote::folder::failed("creating", folder, error))?;
    }
    replace_file(&file, after.as_bytes())
}
