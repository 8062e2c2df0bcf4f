//! `changes`: what happened since a token. Tokens do not expire, and what happened is seen at once.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::routing::get;
use serde_json::{Value, json};

use super::app::{Answer, App, Params, reply};
use super::clock::rfc3339;
use super::error::{ApiError, Result};
use super::fields::object;
use super::resource;
use super::state::{Caller, Change, State};

const LIST: &str = "kind,nextPageToken,newStartPageToken,changes(kind,type,changeType,time,removed,fileId,\
                    file(kind,id,name,mimeType))";

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/changes/startPageToken", get(start)).route("/changes", get(list))
}

async fn start(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    let mask = params.mask("*", "StartPageToken")?;
    let state = app.state();
    check_drive(&state, &caller, &params)?;
    Ok(reply(&mask, json!({ "kind": "drive#startPageToken", "startPageToken": state.next_change().to_string() })))
}

fn check_drive(state: &State, caller: &Caller, params: &Params) -> Result<()> {
    match params.get("driveId") {
        Some(drive) => state.visible(caller, drive, params.all_drives()).map(drop),
        None => Ok(()),
    }
}

async fn list(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params) -> Answer {
    let mask = params.mask(LIST, "ChangeList")?;
    let size = params.count("pageSize", 100, 1000)?;
    let token = params
        .get("pageToken")
        .ok_or_else(|| ApiError::parameter("required", "pageToken", "Required parameter: pageToken"))?;
    let from: u64 = token.parse().map_err(|_| ApiError::parameter("invalid", "pageToken", "Invalid Value"))?;
    let state = app.state();
    check_drive(&state, &caller, &params)?;
    let digests = resource::wants_older_digests(&mask, &["changes", "file"]);

    let mut shown: Vec<Value> = Vec::new();
    let mut next = None;
    for (number, change) in state.changes.range(from..) {
        if shown.len() == size {
            next = Some(*number);
            break;
        }
        shown.extend(show(&app, &state, &caller, &params, change, digests)?);
    }
    let mut page = json!({ "kind": "drive#changeList", "changes": shown });
    match next {
        Some(number) => page["nextPageToken"] = number.to_string().into(),
        None => page["newStartPageToken"] = state.next_change().to_string().into(),
    }
    Ok(reply(&mask, page))
}

/// A change as the caller sees it, if the caller sees it at all.
fn show(
    app: &App,
    state: &State,
    caller: &Caller,
    params: &Params,
    change: &Change,
    digests: bool,
) -> Result<Option<Value>> {
    let shared = params.all_drives() && params.flag("includeItemsFromAllDrives");
    let in_place = |drive: &Option<String>| match (params.get("driveId"), drive) {
        (Some(wanted), drive) => drive.as_deref() == Some(wanted),
        (None, Some(_)) => shared && !params.flag("restrictToMyDrive"),
        (None, None) => true,
    };
    let mut shown = object([
        ("kind", "drive#change".into()),
        ("type", "file".into()),
        ("changeType", "file".into()),
        ("time", rfc3339(change.time).into()),
        ("fileId", change.file.clone().into()),
    ]);
    let item = state.items.get(&change.file);
    let seen = item.filter(|item| caller.reaches(item) && state.listed_role(item, &caller.account).is_some());
    match (&change.gone, seen) {
        (None, Some(item)) if in_place(&item.drive) => {
            shown.insert("removed".into(), false.into());
            shown.insert("file".into(), resource::file(state, &app.contents, caller, item, digests)?);
        }
        (Some(gone), None) => {
            let had = gone.accounts.contains(&caller.account) && (caller.sees_all() || gone.client == caller.client);
            if !had || !in_place(&gone.drive) || params.get("includeRemoved") == Some("false") {
                return Ok(None);
            }
            shown.insert("removed".into(), true.into());
        }
        _ => return Ok(None),
    }
    Ok(Some(shown.into()))
}
