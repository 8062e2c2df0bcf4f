//! New files: `files.create`, `files.copy`, and the ids that make both repeatable.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use jiff::Timestamp;
use serde_json::json;

use super::read::{FILE, show};
use crate::drive::app::{Answer, App, Params, json_body, reply};
use crate::drive::content::Content;
use crate::drive::error::{ApiError, Result};
use crate::drive::metadata::Metadata;
use crate::drive::state::{Caller, FOLDER, Item, Permission, Record, Revision, Role, SHORTCUT, Shortcut, State};

const GOOGLE_TYPES: &str = "application/vnd.google-apps.";
const SERVICE_ACCOUNTS: &str = ".gserviceaccount.com";

/// A file that is to be.
#[derive(Debug, Clone, Default)]
pub struct New {
    pub metadata: Metadata,
    /// The type that the bytes came with.
    pub media_type: Option<String>,
    pub content: Option<Arc<Content>>,
}

pub async fn create_from_metadata(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    body: Bytes,
) -> Answer {
    let mask = params.mask(FILE, "File")?;
    let mut new = New { metadata: Metadata::read(&json_body(&body)?)?, ..New::default() };
    if !new.metadata.mime_type.as_ref().is_some_and(|kind| kind.starts_with(GOOGLE_TYPES)) {
        new.content = Some(app.contents.store(Bytes::new()).await?);
    }
    let id = create(&app, &caller, &params, new)?;
    show(&app, &caller, &id, &mask).await
}

/// Whether a file could be made so: its id, its folder, its room. What comes back is the folder.
pub fn check_new<'a>(
    app: &App,
    state: &'a State,
    caller: &Caller,
    params: &Params,
    metadata: &Metadata,
    size: u64,
) -> Result<&'a Item> {
    if !caller.may_write() {
        return Err(ApiError::insufficient_scope());
    }
    let parents = metadata.parents.as_deref().unwrap_or_default();
    if parents.len() > 1 {
        return Err(ApiError::forbidden("cannotAddParent", "A file may have one parent only."));
    }
    let parent = parents.first().map_or("root", String::as_str);
    let parent = state.parent(caller, parent, params.all_drives())?;
    if let Some(id) = &metadata.id {
        check_id(state, id, metadata.mime_type.as_deref() == Some(SHORTCUT))?;
    }
    if parent.drive.is_none() && caller.account.ends_with(SERVICE_ACCOUNTS) {
        let message = "Service Accounts do not have storage quota. Leverage shared drives \
                       (https://developers.google.com/workspace/drive/api/guides/about-shareddrives), or use OAuth \
                       delegation (http://support.google.com/a/answer/7281227) instead.";
        return Err(ApiError::forbidden("storageQuotaExceeded", message));
    }
    let owner = parent.drive.is_none().then_some(caller.account.as_str());
    app.check_room(state, owner, size, 0)?;
    Ok(parent)
}

fn check_id(state: &State, id: &str, shortcut: bool) -> Result<()> {
    if state.is_used(id) {
        return Err(ApiError::id_in_use());
    }
    match state.reserved.get(id) {
        Some(for_shortcuts) if *for_shortcuts == shortcut => Ok(()),
        _ => Err(ApiError::parameter("invalid", "id", "The provided file ID is not usable.")),
    }
}

/// Makes the file; what comes back is its id.
pub fn create(app: &App, caller: &Caller, params: &Params, new: New) -> Result<String> {
    let now = app.now();
    let mut state = app.state();
    let New { metadata, media_type, content } = new;
    let size = content.as_ref().map_or(0, |content| content.size);
    let parent = check_new(app, &state, caller, params, &metadata, size)?;
    let (parent, drive) = (parent.id.clone(), parent.drive.clone());
    let mime_type = metadata.mime_type.clone().or(media_type).unwrap_or_else(|| "application/octet-stream".into());
    let shortcut = if mime_type == SHORTCUT { Some(target(&state, caller, params, &metadata)?) } else { None };
    if mime_type == FOLDER && size > 0 {
        return Err(ApiError::bad_request("A folder has no content."));
    }

    let id = metadata.id.clone().unwrap_or_else(|| state.new_id());
    let mut item = Item::new(&id, "Untitled", &mime_type, now);
    item.parent = Some(parent);
    own(&mut item, caller, drive);
    metadata.apply(&mut item, caller)?;
    item.created = metadata.created_time.unwrap_or(now);
    item.shortcut = shortcut;
    item.listing_late = app.faults.listing_late();
    if let Some(content) = content.filter(|_| !mime_type.starts_with(GOOGLE_TYPES)) {
        item.revisions = vec![revision(&mut state, caller, content, &mime_type, now)];
        item.revisions[0].keep_forever = params.flag("keepRevisionForever");
        item.checksum_late = app.faults.checksum_late();
    }
    state.put(item, now)?;
    Ok(id)
}

/// In a shared drive nobody owns a file.
fn own(item: &mut Item, caller: &Caller, drive: Option<String>) {
    item.client.clone_from(&caller.client);
    item.modified_by.clone_from(&caller.account);
    if drive.is_none() {
        item.owner = Some(caller.account.clone());
        item.permissions = vec![Permission::user(&caller.account, Role::Owner)];
    }
    item.drive = drive;
}

pub fn revision(
    state: &mut State,
    caller: &Caller,
    content: Arc<Content>,
    mime_type: &str,
    modified: Timestamp,
) -> Revision {
    Revision {
        id: format!("0B{}", state.random.word(49)),
        content,
        mime_type: mime_type.to_owned(),
        modified,
        modified_by: caller.account.clone(),
        keep_forever: false,
    }
}

fn target(state: &State, caller: &Caller, params: &Params, metadata: &Metadata) -> Result<Shortcut> {
    let id = metadata.shortcut_details.as_ref().and_then(|details| details.target_id.as_deref());
    let id = id.ok_or_else(|| ApiError::bad_request("A shortcut needs shortcutDetails.targetId."))?;
    let target = state.visible(caller, id, params.all_drives())?;
    if target.mime_type == SHORTCUT {
        return Err(ApiError::forbidden("shortcutTargetInvalid", "A shortcut cannot point to a shortcut."));
    }
    Ok(Shortcut { target: target.id.clone(), target_mime_type: target.mime_type.clone() })
}

/// `files.copy`: the same bytes under a new id, without moving them.
pub async fn copy(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(FILE, "File")?;
    let mut metadata = Metadata::read(&json_body(&body)?)?;
    let source = app.state().visible(&caller, &id, params.all_drives())?.clone();
    if source.is_folder() {
        return Err(ApiError::forbidden("cannotCopyFile", "This file cannot be copied by the user."));
    }
    if metadata.parents.is_none() {
        // The same folder, if the caller may write there.
        let state = app.state();
        let same = source.parent.filter(|parent| state.parent(&caller, parent, params.all_drives()).is_ok());
        metadata.parents = same.map(|parent| vec![parent]);
    }
    metadata.name.get_or_insert_with(|| format!("Copy of {}", source.name));
    metadata.mime_type.get_or_insert(source.mime_type);
    // Properties are not taken along: Google does not say, so nothing may depend on it.
    metadata.description = metadata.description.or(source.description);
    if let Some(shortcut) = source.shortcut {
        metadata.shortcut_details.get_or_insert_default().target_id.get_or_insert(shortcut.target);
    }
    let content = source.revisions.last().map(|head| Arc::clone(&head.content));
    let id = create(&app, &caller, &params, New { metadata, media_type: None, content })?;
    show(&app, &caller, &id, &mask).await
}

pub async fn generate_ids(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    if !caller.may_write() {
        return Err(ApiError::insufficient_scope());
    }
    let mask = params.mask("*", "GeneratedIds")?;
    let shortcuts = match params.get("type") {
        None | Some("files") => false,
        Some("shortcuts") => true,
        Some(_) => return Err(ApiError::parameter("invalidParameter", "type", "Invalid value")),
    };
    let space = params.get("space").unwrap_or("drive");
    let count = params.count("count", 10, 1000)?;
    let mut state = app.state();
    let ids: Vec<String> = (0..count).map(|_| state.new_id()).collect();
    state.record(Record::Reserved { ids: ids.clone(), shortcuts })?;
    Ok(reply(&mask, json!({ "kind": "drive#generatedIds", "space": space, "ids": ids })))
}
