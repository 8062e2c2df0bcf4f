//! `revisions`: what a file's content was before.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get as on_get;
use serde_json::{Value, json};

use super::app::{Answer, App, Params, json_body, nothing, reply};
use super::error::{ApiError, Result};
use super::files::download;
use super::resource;
use super::state::{Caller, Item, Role, State};

const LIST: &str = "kind,nextPageToken,revisions(kind,id,mimeType,modifiedTime)";
const REVISION: &str = "kind,id,mimeType,modifiedTime";

/// Revisions of one file that may be kept for ever.
const KEPT: usize = 200;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/files/{id}/revisions", on_get(list))
        .route("/files/{id}/revisions/{revision}", on_get(get).patch(update).delete(delete))
}

fn find(state: &State, caller: &Caller, id: &str) -> Result<Item> {
    // The API has no supportsAllDrives here.
    let item = state.visible(caller, id, true)?;
    if state.role(item, &caller.account) < Some(Role::Writer) {
        return Err(ApiError::insufficient_permissions());
    }
    Ok(item.clone())
}

fn place(item: &Item, revision: &str) -> Result<usize> {
    let found = match revision {
        "head" => item.revisions.len().checked_sub(1),
        id => item.revisions.iter().position(|revision| revision.id == id),
    };
    found.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "notFound", format!("Revision not found: {revision}."))
            .at("parameter", "revisionId")
    })
}

async fn list(Extract(app): Extract<Arc<App>>, caller: Caller, params: Params, Path(id): Path<String>) -> Answer {
    let mask = params.mask(LIST, "RevisionList")?;
    let item = find(&app.state(), &caller, &id)?;
    let revisions = item.revisions.iter().map(|revision| resource::revision(&app.contents, &caller, &item, revision));
    let shown: Vec<Value> = revisions.collect::<Result<_>>()?;
    Ok(reply(&mask, json!({ "kind": "drive#revisionList", "revisions": shown })))
}

async fn get(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path((id, revision)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let mask = params.mask(REVISION, "Revision")?;
    let item = find(&app.state(), &caller, &id)?;
    let at = place(&item, &revision)?;
    let revision = &item.revisions[at];
    if params.get("alt") == Some("media") {
        // The newest can always be had; of the others, those that are kept.
        if at + 1 < item.revisions.len() && !revision.keep_forever {
            let message = "Only revisions that are kept forever can be downloaded.";
            return Err(ApiError::forbidden("revisionNotDownloadable", message));
        }
        return download(&app, &revision.content, &revision.mime_type, &headers);
    }
    Ok(reply(&mask, resource::revision(&app.contents, &caller, &item, revision)?))
}

async fn update(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path((id, revision)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let mask = params.mask(REVISION, "Revision")?;
    let mut state = app.state();
    let mut item = find(&state, &caller, &id)?;
    let at = place(&item, &revision)?;
    if let Some(keep) = json_body(&body)?["keepForever"].as_bool() {
        let kept = item.revisions.iter().filter(|revision| revision.keep_forever).count();
        if keep && kept >= KEPT {
            return Err(ApiError::forbidden("tooManyPinnedRevisions", "Too many revisions are kept forever."));
        }
        item.revisions[at].keep_forever = keep;
        state.put(item.clone(), app.now())?;
    }
    Ok(reply(&mask, resource::revision(&app.contents, &caller, &item, &item.revisions[at])?))
}

async fn delete(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    Path((id, revision)): Path<(String, String)>,
) -> Answer {
    let mut state = app.state();
    let mut item = find(&state, &caller, &id)?;
    let at = place(&item, &revision)?;
    if item.revisions.len() == 1 {
        return Err(ApiError::bad_request("The last remaining revision cannot be deleted."));
    }
    item.revisions.remove(at);
    state.put(item, app.now())?;
    Ok(nothing())
}
