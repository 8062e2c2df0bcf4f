//! `files.get`: a file's metadata, or with `alt=media` its bytes.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::http::HeaderMap;
use tokio::task::spawn_blocking;

use super::download;
use crate::drive::app::{Answer, App, Params, reply};
use crate::drive::content::Content;
use crate::drive::error::{ApiError, Result};
use crate::drive::fields::Mask;
use crate::drive::resource;
use crate::drive::state::Caller;

/// What a call that ends in a file shows without a mask.
pub const FILE: &str = "kind,id,name,mimeType";

pub async fn get(
    Extract(app): Extract<Arc<App>>,
    caller: Caller,
    params: Params,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    if params.get("alt") == Some("media") {
        if !caller.may_read_content() {
            return Err(ApiError::insufficient_scope());
        }
        let (content, mime_type) = {
            let state = app.state();
            let item = state.visible(&caller, &id, params.all_drives())?;
            let head = item.head().ok_or_else(not_downloadable)?;
            (Arc::clone(&head.content), item.mime_type.clone())
        };
        return download(&app, &content, &mime_type, &headers);
    }
    let mask = params.mask(FILE, "File")?;
    let id = {
        let state = app.state();
        state.visible(&caller, &id, params.all_drives())?.id.clone()
    };
    show(&app, &caller, &id, &mask).await
}

fn not_downloadable() -> ApiError {
    let message = "Only files with binary content can be downloaded. Use Export with Docs Editors files.";
    ApiError::forbidden("fileNotDownloadable", message).at("parameter", "alt")
}

/// Answers with a file that the caller is known to see.
pub async fn show(app: &Arc<App>, caller: &Caller, id: &str, mask: &Mask) -> Answer {
    let digests = resource::wants_older_digests(mask, &[]);
    if digests {
        let content = app.state().items.get(id).and_then(|item| Some(Arc::clone(&item.head()?.content)));
        hash(app, content.into_iter().collect()).await?;
    }
    let mut state = app.state();
    let item = state.items.get(id).ok_or_else(|| ApiError::not_found(id))?;
    let file = resource::file(&state, &app.contents, caller, item, digests)?;
    if mask.wants(&["sha256Checksum"])
        && let Some(item) = state.items.get_mut(id)
    {
        item.checksum_late = item.checksum_late.saturating_sub(1);
    }
    Ok(reply(mask, file))
}

/// Computes the slow digests before the state is locked for answering with them.
pub async fn hash(app: &Arc<App>, contents: Vec<Arc<Content>>) -> Result<()> {
    let app = Arc::clone(app);
    let all = move || contents.iter().try_for_each(|content| app.contents.older_digests(content).map(drop));
    Ok(spawn_blocking(all).await.map_err(std::io::Error::other)??)
}
