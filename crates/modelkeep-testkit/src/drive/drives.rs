//! `drives`: shared drives, enough of them to have some.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::routing::get as on_get;
use serde_json::{Value, json};

use super::app::{Answer, App, Params, json_body, nothing, reply};
use super::error::{ApiError, Result};
use super::resource;
use super::state::{Caller, Role, SharedDrive, State};

const LIST: &str = "kind,nextPageToken,drives(kind,id,name)";
const DRIVE: &str = "kind,id,name";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/drives", on_get(list).post(create))
        .route("/drives/{id}", on_get(get).patch(rename).delete(delete))
}

async fn list(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    let mask = params.mask(LIST, "DriveList")?;
    let size = params.count("pageSize", 10, 100)?;
    let state = app.state();
    // The token is the id of the first drive of the page: they are listed by id.
    let from = params.get("pageToken").unwrap_or_default();
    let seen = state.drives.values().filter(|drive| find(&state, &caller, &drive.id).is_ok());
    let mut seen = seen.filter(|drive| drive.id.as_str() >= from);
    let drives: Vec<Value> = seen.by_ref().take(size).map(|drive| resource::drive(&state, &caller, drive)).collect();
    let mut page = json!({ "kind": "drive#driveList", "drives": drives });
    if let Some(next) = seen.next() {
        page["nextPageToken"] = next.id.clone().into();
    }
    Ok(reply(&mask, page))
}

fn find<'a>(state: &'a State, caller: &Caller, id: &str) -> Result<&'a SharedDrive> {
    let root = state.items.get(id).filter(|root| state.role(root, &caller.account).is_some() && caller.sees_all());
    let not_found = || {
        let message = format!("Shared drive not found: {id}");
        ApiError::new(axum::http::StatusCode::NOT_FOUND, "notFound", message).at("parameter", "driveId")
    };
    root.and_then(|root| state.drives.get(&root.id)).ok_or_else(not_found)
}

async fn get(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params, Path(id): Path<String>) -> Answer {
    let mask = params.mask(DRIVE, "Drive")?;
    let state = app.state();
    Ok(reply(&mask, resource::drive(&state, &caller, find(&state, &caller, &id)?)))
}

async fn create(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params, body: Bytes) -> Answer {
    let mask = params.mask(DRIVE, "Drive")?;
    if !caller.has_full_drive() {
        return Err(ApiError::insufficient_scope());
    }
    if params.get("requestId").is_none() {
        return Err(ApiError::parameter("required", "requestId", "Required parameter: requestId"));
    }
    let name = name_in(&body)?;
    let mut state = app.state();
    let id = state.shared_drive(&name, &caller.account, app.now())?;
    Ok(reply(&mask, resource::drive(&state, &caller, find(&state, &caller, &id)?)))
}

fn name_in(body: &[u8]) -> Result<String> {
    let body = json_body(body)?;
    body["name"].as_str().map(str::to_owned).ok_or_else(|| ApiError::bad_request("A shared drive needs a name."))
}

async fn rename(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(DRIVE, "Drive")?;
    let name = name_in(&body)?;
    let mut state = app.state();
    let mut drive = organized(&state, &caller, &id)?;
    drive.name = name;
    state.record(super::state::Record::Drive(drive))?;
    Ok(reply(&mask, resource::drive(&state, &caller, find(&state, &caller, &id)?)))
}

async fn delete(Extract(app): Extract<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let mut state = app.state();
    organized(&state, &caller, &id)?;
    if state.children(&id).next().is_some() {
        return Err(ApiError::forbidden("cannotDeleteDriveWithItems", "A shared drive that has files stays."));
    }
    state.delete(&id, app.now())?;
    Ok(nothing())
}

fn organized(state: &State, caller: &Caller, id: &str) -> Result<SharedDrive> {
    let drive = find(state, caller, id)?.clone();
    let root = state.items.get(id).ok_or_else(|| ApiError::not_found(id))?;
    if state.role(root, &caller.account) < Some(Role::Organizer) || !caller.has_full_drive() {
        return Err(ApiError::insufficient_permissions());
    }
    Ok(drive)
}
