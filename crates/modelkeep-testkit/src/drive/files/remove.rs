//! For good: `files.delete` and `files.emptyTrash`. The trash itself is an update.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};

use crate::drive::app::{Answer, App, Params, nothing};
use crate::drive::error::ApiError;
use crate::drive::state::{Caller, Role};

pub async fn delete(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params, Path(id): Path<String>) -> Answer {
    let mut state = app.state();
    let item = state.writable(&caller, &id, params.all_drives(), Role::Reader)?;
    if !state.may_delete(item, &caller.account) {
        return Err(ApiError::insufficient_permissions());
    }
    let id = item.id.clone();
    state.delete(&id, app.now())?;
    Ok(nothing())
}

pub async fn empty_trash(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    if !caller.has_full_drive() {
        return Err(ApiError::insufficient_scope());
    }
    let mut state = app.state();
    let drive = params.get("driveId").map(str::to_owned);
    let trash: Vec<String> = state
        .items
        .values()
        .filter(|item| item.trashed.is_some() && item.drive == drive && state.may_delete(item, &caller.account))
        .map(|item| item.id.clone())
        .collect();
    for id in trash {
        state.delete(&id, app.now())?;
    }
    Ok(nothing())
}
