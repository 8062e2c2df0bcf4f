//! What Drive's JSON looks like, as far as we read it.
//!
//! Knows names of fields. 64-bit numbers are strings, times RFC 3339. Source: discovery of drive.v3.

use jiff::Timestamp;
use modelkeep_core::digest::Sha256;
use serde::{Deserialize, Deserializer};

pub(super) const FOLDER: &str = "application/vnd.google-apps.folder";
pub(super) const SHORTCUT: &str = "application/vnd.google-apps.shortcut";
const GOOGLE_APPS: &str = "application/vnd.google-apps.";

/// Everything that we read of a file.
pub(super) const FILE: &str = "id,name,mimeType,parents,size,sha256Checksum,createdTime,modifiedTime,version,trashed,\
                               description,driveId,ownedByMe,shortcutDetails(targetId)";

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub id: String,
    pub name: String,
    pub mime_type: String,
    #[serde(default)]
    pub parents: Vec<String>,
    #[serde(default, deserialize_with = "number")]
    pub size: u64,
    /// Comes later than the file, now and then.
    #[serde(default)]
    pub sha256_checksum: Option<Sha256>,
    pub created_time: Option<Timestamp>,
    pub modified_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "number")]
    pub version: u64,
    #[serde(default)]
    pub trashed: bool,
    pub description: Option<String>,
    pub drive_id: Option<String>,
    #[serde(default)]
    pub owned_by_me: bool,
    pub shortcut_details: Option<Shortcut>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shortcut {
    pub target_id: Option<String>,
}

impl File {
    pub fn is_folder(&self) -> bool {
        self.mime_type == FOLDER
    }

    pub fn is_shortcut(&self) -> bool {
        self.mime_type == SHORTCUT
    }

    /// Whether it has bytes: documents of Google's own editors have none.
    pub fn is_blob(&self) -> bool {
        !self.mime_type.starts_with(GOOGLE_APPS)
    }

    /// The store's time of its last change. Programs may set `modifiedTime` to that of a local file long ago; what
    /// was made just now is not old.
    pub fn changed(&self) -> Timestamp {
        self.modified_time.max(self.created_time).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileList {
    #[serde(default)]
    pub files: Vec<File>,
    pub next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeList {
    #[serde(default)]
    pub changes: Vec<Change>,
    pub next_page_token: Option<String>,
    pub new_start_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub file_id: Option<String>,
    #[serde(default)]
    pub removed: bool,
    pub file: Option<File>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartPageToken {
    pub start_page_token: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct GeneratedIds {
    pub ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    pub user: User,
    #[serde(default)]
    pub storage_quota: StorageQuota,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub email_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StorageQuota {
    /// Absent: unlimited.
    #[serde(default, deserialize_with = "maybe_number")]
    pub limit: Option<u64>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub usage: Option<u64>,
    #[serde(default, deserialize_with = "maybe_number")]
    pub usage_in_drive_trash: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

fn maybe_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    maybe_number(deserializer).map(Option::unwrap_or_default)
}
