//! `files.update`: say something else of a file, move it, put it into the trash, give it new content.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Extract};

use super::create::revision;
use super::read::{FILE, show};
use crate::drive::app::{Answer, App, Params, json_body};
use crate::drive::content::Content;
use crate::drive::error::{ApiError, Result};
use crate::drive::metadata::{Metadata, not_writable};
use crate::drive::state::{Caller, Item, Permission, Role, State};

/// What is to change.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub metadata: Metadata,
    pub media_type: Option<String>,
    pub content: Option<Arc<Content>>,
}

pub async fn update_metadata(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(FILE, "File")?;
    let change = Update { metadata: Metadata::read(&json_body(&body)?)?, ..Update::default() };
    let id = update(&app, &caller, &params, &id, change, false)?;
    show(&app, &caller, &id, &mask).await
}

/// Makes the change, or with `only_check` says whether it could be made. What comes back is the file's id.
pub fn update(
    app: &App,
    caller: &Caller,
    params: &Params,
    id: &str,
    change: Update,
    only_check: bool,
) -> Result<String> {
    let now = app.now();
    let mut state = app.state();
    let before = state.writable(caller, id, params.all_drives(), Role::Writer)?;
    let Update { metadata, media_type, content } = change;
    check(&state, caller, before, &metadata, content.is_some() || only_check)?;

    let mut item = before.clone();
    metadata.apply(&mut item, caller)?;
    if let Some(trashed) = metadata.trashed.filter(|trashed| *trashed != item.trashed.is_some()) {
        item.trashed = trashed.then(|| (now, caller.account.clone()));
    }
    relocate(&state, caller, params, &mut item)?;
    if item.parent != before.parent || item.name != before.name {
        item.listing_late = app.faults.listing_late();
    }
    let renamed = item.name != before.name || item.description != before.description;
    if let Some(content) = content {
        let replaced = item.quota_bytes();
        app.check_room(&state, item.owner.as_deref(), content.size, replaced)?;
        item.mime_type = metadata.mime_type.or(media_type).unwrap_or(item.mime_type);
        let mut head = revision(&mut state, caller, content, &item.mime_type, now);
        head.keep_forever = params.flag("keepRevisionForever");
        item.revisions.push(head);
        item.checksum_late = app.faults.checksum_late();
    } else if !renamed || only_check {
        // A move and the trash leave the time of the last change alone.
        return finish(&mut state, item, now, only_check);
    }
    item.modified_by.clone_from(&caller.account);
    item.modified = metadata.modified_time.unwrap_or(now);
    finish(&mut state, item, now, only_check)
}

fn finish(state: &mut State, item: Item, now: jiff::Timestamp, only_check: bool) -> Result<String> {
    let id = item.id.clone();
    if !only_check {
        state.put(item, now)?;
    }
    Ok(id)
}

fn check(state: &State, caller: &Caller, item: &Item, metadata: &Metadata, content: bool) -> Result<()> {
    if metadata.parents.is_some() {
        let message = "The parents field is not directly writable in update requests. Use the addParents and \
                       removeParents parameters instead.";
        return Err(ApiError::forbidden("fieldNotWritable", message));
    }
    if metadata.id.as_ref().is_some_and(|id| *id != item.id) || metadata.created_time.is_some() {
        return Err(not_writable());
    }
    let retyped = metadata.mime_type.as_ref().is_some_and(|kind| *kind != item.mime_type);
    if retyped && !content || metadata.shortcut_details.is_some() {
        return Err(not_writable());
    }
    if metadata.trashed.is_some_and(|trashed| trashed != item.trashed.is_some())
        && !state.may_trash(item, &caller.account)
    {
        return Err(ApiError::insufficient_permissions());
    }
    if item.parent.is_none() && metadata.name.is_some() && item.owner.as_ref() == Some(&caller.account) {
        return Err(ApiError::insufficient_permissions());
    }
    Ok(())
}

/// `addParents` and `removeParents`. A file has one folder, so what is added replaces.
fn relocate(state: &State, caller: &Caller, params: &Params, item: &mut Item) -> Result<()> {
    let ids = |name| params.get(name).into_iter().flat_map(|ids: &str| ids.split(',')).map(str::trim);
    let added: Vec<&str> = ids("addParents").filter(|id| !id.is_empty()).collect();
    let removed = ids("removeParents").any(|id| Some(state.resolve(caller, id)) == item.parent);
    let folder = match added[..] {
        [] if removed => "root",
        [] => return Ok(()),
        [folder] => folder,
        _ => {
            let message = "Increasing the number of parents is not allowed";
            return Err(ApiError::forbidden("cannotAddParent", message));
        }
    };
    let folder = state.parent(caller, folder, params.all_drives())?;
    if item.parent.is_none() {
        return Err(ApiError::insufficient_permissions());
    }
    if state.chain(folder).any(|above| above.id == item.id) {
        // Google refuses it; under which reason is not documented.
        return Err(ApiError::forbidden("cannotMoveIntoDescendant", "A folder cannot be moved into itself."));
    }
    if item.drive.is_some() && state.role(item, &caller.account) < Some(Role::FileOrganizer) {
        return Err(ApiError::insufficient_permissions());
    }
    if item.drive != folder.drive {
        if item.is_folder() {
            let message = "Moving folders into or out of shared drives is not supported.";
            return Err(ApiError::forbidden("teamDrivesFolderMoveInNotSupported", message));
        }
        item.drive.clone_from(&folder.drive);
        item.owner = item.drive.is_none().then(|| caller.account.clone());
        item.permissions = item.owner.iter().map(|owner| Permission::user(owner, Role::Owner)).collect();
    }
    item.parent = Some(folder.id.clone());
    Ok(())
}
