//! Resumable uploads: a session that takes a file in parts, over any number of connections.
//!
//! Sessions live in memory and end with the server; a client then begins anew, as after a week.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::range::{Brings, wrong_length};
use super::{Target, finish, text, whole};
use crate::drive::app::{Answer, App, Params, bearer, json_body};
use crate::drive::content::Writer;
use crate::drive::error::{ApiError, Result};
use crate::drive::files::{FILE, Update, check_new, show, update};
use crate::drive::metadata::Metadata;
use crate::drive::state::Caller;

const UPLOAD_ID: HeaderName = HeaderName::from_static("x-guploader-uploadid");

/// A session that nobody uses for so long is gone.
const IDLE: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

#[derive(Debug)]
struct Session {
    caller: Caller,
    params: Params,
    target: Target,
    metadata: Metadata,
    media_type: Option<String>,
    used: Mutex<Timestamp>,
    /// What is stored, also while a request is writing.
    stored: AtomicU64,
    upload: tokio::sync::Mutex<Upload>,
    /// How many requests have come to write. One that is still writing gives way to a newer one: its client may be long
    /// gone.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
enum Upload {
    Open { writer: Writer, total: Option<u64> },
    Done { file: String },
    Failed,
}

impl Sessions {
    fn find(&self, id: &str, now: Timestamp) -> Result<Arc<Session>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(id).ok_or_else(gone)?;
        {
            let mut used = session.used.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(*used) <= IDLE {
                *used = now;
                return Ok(Arc::clone(session));
            }
        }
        sessions.remove(id);
        Err(gone())
    }

    fn add(&self, id: String, session: Session) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(session));
    }

    /// Ends a session; whether there was one.
    pub fn end(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}

fn gone() -> ApiError {
    ApiError::upload(StatusCode::NOT_FOUND, "Upload session not found.")
}

/// The first request: what is to come.
pub async fn start(
    app: &Arc<App>,
    caller: Caller,
    params: Params,
    target: Target,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    params.mask(FILE, "File")?;
    let metadata = Metadata::read(&json_body(&whole(body).await?)?)?;
    let total = match text(headers, HeaderName::from_static("x-upload-content-length")).map(str::parse::<u64>) {
        None => None,
        Some(Ok(total)) => Some(total),
        Some(Err(_)) => return Err(ApiError::bad_request("Invalid X-Upload-Content-Length.")),
    };
    let media_type = text(headers, HeaderName::from_static("x-upload-content-type")).map(str::to_owned);
    match &target {
        Target::New => {
            check_new(app, &app.state(), &caller, &params, &metadata, total.unwrap_or(0))?;
        }
        Target::Known(id) => {
            let change = Update { metadata: metadata.clone(), ..Update::default() };
            update(app, &caller, &params, id, change, true)?;
            let state = app.state();
            if let Some(item) = state.items.get(id) {
                app.check_room(&state, item.owner.as_deref(), total.unwrap_or(0), item.quota_bytes())?;
            }
        }
    }

    let id = app.state().random.word(100);
    let file = if let Target::Known(file) = &target { format!("/{file}") } else { String::new() };
    let location = format!("{}/upload/drive/v3/files{file}?uploadType=resumable&upload_id={id}", app.url);
    let session = Session {
        caller,
        params,
        target,
        metadata,
        media_type,
        used: Mutex::new(app.now()),
        stored: AtomicU64::new(0),
        upload: tokio::sync::Mutex::new(Upload::Open { writer: app.contents.writer(), total }),
        newest: watch::Sender::new(0),
    };
    app.sessions.add(id.clone(), session);
    let mut response = Response::new(Body::empty());
    set(&mut response, header::LOCATION, &location);
    set(&mut response, UPLOAD_ID, &id);
    Ok(response)
}

/// Every other request: a part, the whole, or a question.
pub async fn put(app: &Arc<App>, id: &str, headers: &HeaderMap, body: Body) -> Answer {
    let session = app.sessions.find(id, app.now())?;
    // The URI is enough, but a token that is sent has to be good.
    if let Some(token) = bearer(headers) {
        app.authorize(&token)?;
    }
    let brings = Brings::read(text(headers, header::CONTENT_RANGE))?;
    let length = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let mut turn = 0;
    let mut upload = if let Brings::Question { .. } = brings {
        let Ok(upload) = session.upload.try_lock() else {
            // Somebody is writing; the answer is what is stored so far.
            brings.check(0, length)?;
            return Ok(unfinished(id, session.stored.load(Ordering::Relaxed)));
        };
        upload
    } else {
        session.newest.send_modify(|newest| {
            *newest += 1;
            turn = *newest;
        });
        session.upload.lock().await
    };
    match &mut *upload {
        Upload::Done { .. } => {}
        Upload::Failed => return Err(gone()),
        Upload::Open { writer, total } => {
            let finished = session.take_in(writer, total, brings, length, body, turn).await?;
            session.stored.store(writer.stored(), Ordering::Relaxed);
            if !finished {
                return Ok(unfinished(id, writer.stored()));
            }
            let Upload::Open { writer, .. } = std::mem::replace(&mut *upload, Upload::Failed) else {
                return Err(gone());
            };
            let content = writer.finish().await?;
            let (metadata, media_type) = (session.metadata.clone(), session.media_type.clone());
            let file = finish(app, &session.caller, &session.params, &session.target, metadata, media_type, content)?;
            *upload = Upload::Done { file };
        }
    }
    // Asked again after the end, it says the same.
    let Upload::Done { file } = &*upload else { return Err(gone()) };
    show(app, &session.caller, file, &session.params.mask(FILE, "File")?).await
}

impl Session {
    /// Writes what the request brings; whether that was all.
    async fn take_in(
        &self,
        writer: &mut Writer,
        total: &mut Option<u64>,
        brings: Brings,
        length: Option<u64>,
        body: Body,
        turn: u64,
    ) -> Result<bool> {
        // A request that broke off left less than a granule behind.
        writer.round_down();
        let stored = writer.stored();
        brings.check(stored, length)?;
        if let (Some(known), Some(said)) = (*total, brings.total())
            && known != said
        {
            let message = format!("Invalid request.  The upload has {known} byte(s), not {said}.");
            return Err(ApiError::upload(StatusCode::BAD_REQUEST, message));
        }
        *total = total.or(brings.total());
        let (first, end) = match brings {
            Brings::Question { .. } => return Ok(*total == Some(stored) && stored > 0),
            Brings::Everything => (0, *total),
            Brings::Part { first, last, .. } => (first, Some(last + 1)),
        };
        let came = self.write(writer, body, first, end, turn).await?;
        match brings {
            Brings::Everything => {
                if end.is_some_and(|end| came < end) {
                    writer.round_down();
                    let message = format!("Invalid request.  There were {came} byte(s) in the request body.");
                    return Err(ApiError::upload(StatusCode::BAD_REQUEST, message));
                }
                Ok(true)
            }
            Brings::Part { last, .. } if came < last + 1 => Err(wrong_length(came - first, first, last)),
            _ => {
                let finished = *total == Some(came);
                if !finished {
                    writer.round_down();
                }
                Ok(finished)
            }
        }
    }

    /// Reads the body into the writer, leaving out what is stored already. What comes back is where it ended.
    async fn write(&self, writer: &mut Writer, body: Body, first: u64, end: Option<u64>, turn: u64) -> Result<u64> {
        let mut pieces = body.into_data_stream();
        let mut newest = self.newest.subscribe();
        let mut at = first;
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = async { drop(newest.wait_for(|newest| *newest > turn).await) } => {
                    writer.round_down();
                    let message = "A newer request for this upload took over.";
                    return Err(ApiError::upload(StatusCode::SERVICE_UNAVAILABLE, message));
                }
            };
            let Some(piece) = piece else { return Ok(at) };
            let Ok(mut piece) = piece else {
                // The connection broke. What is whole stays.
                writer.round_down();
                self.stored.store(writer.stored(), Ordering::Relaxed);
                return Err(ApiError::upload(StatusCode::BAD_REQUEST, "The connection broke."));
            };
            let start = at;
            at += piece.len() as u64;
            if end.is_some_and(|end| at > end) {
                writer.round_down();
                return Err(ApiError::upload(StatusCode::BAD_REQUEST, "Invalid request.  The body is too long."));
            }
            let known = writer.received().saturating_sub(start).min(piece.len() as u64);
            let new = piece.split_off(usize::try_from(known).unwrap_or(piece.len()));
            writer.write(new).await?;
            self.stored.store(writer.stored(), Ordering::Relaxed);
        }
    }
}

/// 308 with what is stored; without `Range` that is nothing.
fn unfinished(id: &str, stored: u64) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if stored > 0 {
        set(&mut response, header::RANGE, &format!("bytes=0-{}", stored - 1));
    }
    set(&mut response, UPLOAD_ID, id);
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// `DELETE` ends a session. 499 is how Cloud Storage answers, which shares the upload server.
pub async fn cancel(Extract(app): Extract<Arc<App>>, params: Params) -> Answer {
    let id = params.get("upload_id").ok_or_else(|| ApiError::bad_request("Nothing to cancel."))?;
    if !app.sessions.end(id) {
        return Err(gone());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(499).unwrap_or(StatusCode::GONE);
    Ok(response)
}

pub async fn cancel_known(app: Extract<Arc<App>>, params: Params) -> Answer {
    cancel(app, params).await
}
