//! `/upload`: the ways by which bytes come in.
//!
//! <https://developers.google.com/workspace/drive/api/guides/manage-uploads>

mod multipart;
mod range;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{patch, post};
use futures_util::StreamExt as _;

use super::app::{Answer, App, Params, json_body};
use super::content::Content;
use super::error::{ApiError, Result};
use super::files::{FILE, New, Update, create, show, update};
use super::metadata::Metadata;
use super::state::Caller;

pub use self::session::Sessions;

/// A multipart body is read into memory; Google advises it up to 5 MB.
const MULTIPART: usize = 64 << 20;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/files", post(for_new).put(for_new).delete(session::cancel))
        .route("/files/{id}", patch(for_known).put(for_known).post(for_known).delete(session::cancel_known))
}

/// What an upload is for.
#[derive(Debug, Clone)]
enum Target {
    New,
    Known(String),
}

async fn for_new(Extract(app): Extract<Arc<App>>, request: Request) -> Answer {
    upload(app, Target::New, request).await
}

async fn for_known(Extract(app): Extract<Arc<App>>, Path(id): Path<String>, request: Request) -> Answer {
    upload(app, Target::Known(id), request).await
}

async fn upload(app: Arc<App>, target: Target, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let params = Params::from_request_parts(&mut parts, &app).await?;
    // The session's URI is its own authorization; with another method it is still the same session (rclone POSTs).
    if let Some(id) = params.get("upload_id") {
        return session::put(&app, id, &parts.headers, body).await;
    }
    let caller = Caller::from_request_parts(&mut parts, &app).await?;
    match params.get("uploadType") {
        Some("resumable") => session::start(&app, caller, params, target, &parts.headers, body).await,
        Some("multipart") => {
            let mask = params.mask(FILE, "File")?;
            let body = whole(body).await?;
            let kind = text(&parts.headers, header::CONTENT_TYPE).unwrap_or_default();
            let (described, media) = multipart::split(kind, &body)?;
            let metadata = Metadata::read(&json_body(&described.body)?)?;
            let content = app.contents.store(media.body).await?;
            let id = finish(&app, &caller, &params, &target, metadata, media.content_type, content)?;
            show(&app, &caller, &id, &mask).await
        }
        Some("media") => {
            let mask = params.mask(FILE, "File")?;
            let mut writer = app.contents.writer();
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                writer.write(piece.map_err(|error| broken(&error))?).await?;
            }
            let kind = text(&parts.headers, header::CONTENT_TYPE).map(str::to_owned);
            let content = writer.finish().await?;
            let id = finish(&app, &caller, &params, &target, Metadata::default(), kind, content)?;
            show(&app, &caller, &id, &mask).await
        }
        _ => Err(ApiError::parameter("invalidParameter", "uploadType", "Invalid upload type.")),
    }
}

/// Everything came: the file is made or changed.
fn finish(
    app: &App,
    caller: &Caller,
    params: &Params,
    target: &Target,
    metadata: Metadata,
    media_type: Option<String>,
    content: Arc<Content>,
) -> Result<String> {
    let content = Some(content);
    match target {
        Target::New => create(app, caller, params, New { metadata, media_type, content }),
        Target::Known(id) => update(app, caller, params, id, Update { metadata, media_type, content }, false),
    }
}

async fn whole(body: Body) -> Result<bytes::Bytes> {
    axum::body::to_bytes(body, MULTIPART).await.map_err(|error| broken(&error))
}

/// The connection broke, or the body is larger than it may be; nobody hears of the former.
fn broken(error: &axum::Error) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "uploadTooLarge", error.to_string())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
