//! What a client says about a file when it creates, copies or updates it.
//!
//! Knows which fields may be written and the limits of properties. Does not know where the file is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::error::{ApiError, Result};
use super::state::{Caller, Item};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub id: Option<String>,
    pub name: Option<String>,
    pub mime_type: Option<String>,
    pub parents: Option<Vec<String>>,
    pub description: Option<String>,
    pub starred: Option<bool>,
    pub trashed: Option<bool>,
    pub created_time: Option<Timestamp>,
    pub modified_time: Option<Timestamp>,
    pub properties: Option<BTreeMap<String, Option<String>>>,
    pub app_properties: Option<BTreeMap<String, Option<String>>>,
    pub shortcut_details: Option<ShortcutDetails>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShortcutDetails {
    pub target_id: Option<String>,
}

/// Fields that the server alone writes.
const READ_ONLY: [&str; 14] = [
    "size",
    "md5Checksum",
    "sha1Checksum",
    "sha256Checksum",
    "version",
    "headRevisionId",
    "owners",
    "ownedByMe",
    "driveId",
    "permissions",
    "capabilities",
    "quotaBytesUsed",
    "explicitlyTrashed",
    "webViewLink",
];

/// Bytes of key and value together, in UTF-8.
const PROPERTY_BYTES: usize = 124;
/// For each app, and for all together what is public.
const PROPERTIES: usize = 30;
/// Public ones and those of all apps.
const ALL_PROPERTIES: usize = 100;

impl Metadata {
    pub fn read(body: &Value) -> Result<Self> {
        if let Some(name) = READ_ONLY.iter().find(|name| body.get(**name).is_some_and(|value| !value.is_null())) {
            return Err(not_writable().at("body", name));
        }
        serde_json::from_value(body.clone())
            .map_err(|error| ApiError::bad_request(format!("Invalid JSON payload received. {error}")))
    }

    /// Writes what is said of a file into it; its place, content and trash are not among that.
    pub fn apply(&self, item: &mut Item, caller: &Caller) -> Result<()> {
        if let Some(name) = &self.name {
            item.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            item.description = Some(description.clone()).filter(|text| !text.is_empty());
        }
        if let Some(starred) = self.starred {
            item.starred = starred;
        }
        if let Some(modified) = self.modified_time {
            item.modified = modified;
        }
        if let Some(changes) = &self.properties {
            merge(&mut item.properties, changes)?;
        }
        if let Some(changes) = &self.app_properties {
            merge(item.app_properties.entry(caller.client.clone()).or_default(), changes)?;
        }
        let all = item.properties.len() + item.app_properties.values().map(BTreeMap::len).sum::<usize>();
        if all > ALL_PROPERTIES { Err(too_many_properties()) } else { Ok(()) }
    }
}

/// 403, as for a field that only `addParents` and the like may change.
pub fn not_writable() -> ApiError {
    ApiError::forbidden("fieldNotWritable", "The resource body includes fields which are not directly writable.")
}

/// Null deletes, the rest is added or replaced.
fn merge(properties: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) -> Result<()> {
    for (key, value) in changes {
        match value {
            None => {
                properties.remove(key);
            }
            Some(value) if key.is_empty() || key.len() + value.len() > PROPERTY_BYTES => {
                // The limit is documented, what is said when it is passed is not.
                let message = format!("A property's key and value may have {PROPERTY_BYTES} bytes together.");
                return Err(ApiError::parameter("invalid", "properties", message));
            }
            Some(value) => {
                properties.insert(key.clone(), value.clone());
            }
        }
    }
    if properties.len() > PROPERTIES { Err(too_many_properties()) } else { Ok(()) }
}

fn too_many_properties() -> ApiError {
    ApiError::parameter("invalid", "properties", "The file has too many properties.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn caller(client: &str) -> Caller {
        Caller { account: "a@example.com".into(), client: client.into(), scopes: vec![], login: String::new() }
    }

    fn applied(item: &mut Item, client: &str, body: &Value) -> Result<()> {
        Metadata::read(body)?.apply(item, &caller(client))
    }

    #[test]
    fn properties_merge_and_null_deletes() {
        let mut item = Item::new("1", "a", "text/plain", Timestamp::UNIX_EPOCH);
        applied(&mut item, "one", &json!({ "appProperties": { "a": "1", "b": "2" } })).unwrap();
        applied(&mut item, "one", &json!({ "appProperties": { "a": null, "c": "3" } })).unwrap();
        applied(&mut item, "two", &json!({ "appProperties": { "a": "other" } })).unwrap();
        let of = |client: &str| item.app_properties[client].clone().into_iter().collect::<Vec<_>>();
        assert_eq!(of("one"), [("b".to_owned(), "2".to_owned()), ("c".to_owned(), "3".to_owned())]);
        assert_eq!(of("two"), [("a".to_owned(), "other".to_owned())]);
    }

    #[test]
    fn properties_have_limits() {
        let mut item = Item::new("1", "a", "text/plain", Timestamp::UNIX_EPOCH);
        let fits = json!({ "properties": { "k".repeat(60): "v".repeat(64) } });
        assert!(applied(&mut item, "one", &fits).is_ok());
        let long = json!({ "properties": { "k".repeat(60): "ü".repeat(33) } });
        assert_eq!(applied(&mut item, "one", &long).unwrap_err().status.as_u16(), 400);
        let many: BTreeMap<_, _> = (0..31).map(|index| (index.to_string(), "x")).collect();
        assert!(applied(&mut item, "one", &json!({ "appProperties": many })).is_err());
    }

    #[test]
    fn what_the_server_writes_is_not_for_clients() {
        let error = Metadata::read(&json!({ "size": "5" })).unwrap_err();
        assert_eq!((error.status.as_u16(), error.reason), (403, "fieldNotWritable"));
        assert!(Metadata::read(&json!({ "kind": "drive#file", "name": "a", "unknown": 1 })).is_ok());
        assert!(Metadata::read(&json!({ "name": 5 })).is_err());
    }
}
