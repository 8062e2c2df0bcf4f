//! Corrections to what `adopt` understood: a small TOML file that says which folder is which model.
//!
//! ```toml
//! [folders]
//! "final_FINAL2" = "banking-v3"
//! "old stuff" = { skip = true }
//! "llama" = { id = "llama2-7b", kind = "base", purpose = "base model" }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use modelkeep_core::manifest::ModelKind;
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use serde::Deserialize;
use serde_json::Value;

/// The corrections, by folder name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    #[serde(default)]
    folders: BTreeMap<String, Correction>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Correction {
    Id(ModelId),
    Full(Full),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Full {
    id: Option<ModelId>,
    kind: Option<ModelKind>,
    skip: bool,
    base_model: Option<String>,
    purpose: Option<String>,
    note: Option<String>,
}

impl Map {
    /// Reads a map; what cannot be read names the line.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(|error| failed("reading", file, error))?;
        toml::from_str(&text).map_err(|error| {
            Error::usage(format!("{} cannot be read", file.display()))
                .because(error)
                .hint("[folders], then lines such as \"final_FINAL2\" = \"banking-v3\"")
        })
    }

    fn full(&self, folder: &str) -> Option<&Full> {
        match self.folders.get(folder)? {
            Correction::Full(full) => Some(full),
            Correction::Id(_) => None,
        }
    }

    /// The id that a folder gets.
    pub fn id(&self, folder: &str) -> Option<ModelId> {
        match self.folders.get(folder)? {
            Correction::Id(id) => Some(id.clone()),
            Correction::Full(full) => full.id.clone(),
        }
    }

    /// The kind of model that a folder holds.
    pub fn kind(&self, folder: &str) -> Option<ModelKind> {
        self.full(folder)?.kind
    }

    /// Whether a folder is left alone.
    pub fn skips(&self, folder: &str) -> bool {
        self.full(folder).is_some_and(|full| full.skip)
    }

    /// Fields that are set with the adoption.
    pub fn fields(&self, folder: &str) -> BTreeMap<String, Value> {
        let Some(full) = self.full(folder) else { return BTreeMap::new() };
        [("base_model", &full.base_model), ("purpose", &full.purpose), ("note", &full.note)]
            .into_iter()
            .filter_map(|(field, value)| Some((field.to_owned(), Value::from(value.clone()?))))
            .collect()
    }

    /// Fails when the map names a folder that is not there to adopt: a slip would otherwise go unnoticed.
    pub fn check_used<'a>(&self, folders: impl Iterator<Item = &'a str>) -> Result<()> {
        let there: BTreeSet<&str> = folders.collect();
        let wrong = self.folders.keys().find(|name| !there.contains(name.as_str()) && !self.skips(name));
        let Some(name) = wrong else { return Ok(()) };
        let letters =
            |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
        let near = there.iter().find(|other| letters(other) == letters(name));
        let error = Error::usage(format!("the map names `{name}`, which is no folder left to adopt"));
        Err(match near {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error.hint("modelkeep adopt --dry-run"),
        })
    }
}
