//! A file: what is known of it, and its bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_hub::wire::{self, ErrorCode};

use super::range::{Wanted, wanted};
use super::shown::Shown;
use super::{Answer, Asked};
use crate::app::App;
use crate::problem::Problem;

/// For so long an answer waits for the first bytes, so that a failure is a status; after it the headers go out alone,
/// for a client gives up after ten seconds of silence.
const TO_BEGIN: Duration = Duration::from_secs(5);

type Bodies = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// `HEAD` and `GET /REPO/resolve/REV/PATH`.
pub async fn file(app: &Arc<App>, asked: &Asked, repo: &str, revision: &str, path: &str) -> Answer {
    let shown = Shown::find(app, repo, revision).await?;
    let commit = shown.commit();
    let Some(entry) = shown.file(path) else {
        let message = format!("there is no `{path}` in {repo} at {commit}");
        return Err(Problem::known(ErrorCode::EntryNotFound, message).at(&commit));
    };
    let (etag, size) = (format!("\"{}\"", entry.blob()), entry.content_size());
    let mut headers = described(commit, &etag, size);
    if named(&asked.headers, header::IF_NONE_MATCH).is_some_and(|known| matches(known, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    // A range of what the client began with is no use when that was something else.
    let same = named(&asked.headers, header::IF_RANGE).is_none_or(|known| known == etag);
    let range = named(&asked.headers, header::RANGE).filter(|_| same);
    let (status, range) = match wanted(range, size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => {
            let said = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            headers.extend(value(header::CONTENT_RANGE, said));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Nothing => {
            let mut response =
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such bytes").into_response();
            response.headers_mut().extend(value(header::CONTENT_RANGE, format!("bytes */{size}")));
            return Ok(response);
        }
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if asked.method == Method::HEAD || range.is_empty() {
        return Ok((status, headers, Body::empty()).into_response());
    }
    let failed = |error: &Error| match (&shown, error.kind()) {
        // What a Hub tells everybody of a gated repository is its list of files, and nothing more.
        (Shown::Theirs(..), Kind::Auth) => Problem::known(ErrorCode::GatedRepo, error.full_message()),
        _ => Problem::of(error),
    };
    let reading = shown.open(app, &entry).await.map_err(|error| failed(&error))?;
    let bytes = begun(Box::pin(reading.stream(range)), failed).await?;
    Ok((status, headers, Body::from_stream(counted(app, bytes))).into_response())
}

/// What is said of a file. The links are what the Hub says of files that others serve for it, and win where both are.
fn described(commit: String, etag: &str, size: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(value(header::ETAG, etag.to_owned()));
    headers.extend(value(HeaderName::from_static(wire::header::REPO_COMMIT), commit));
    headers.extend(value(HeaderName::from_static(wire::header::LINKED_ETAG), etag.to_owned()));
    headers.insert(wire::header::LINKED_SIZE, HeaderValue::from(size));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A model's files are data, whatever a browser takes them for.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

fn value(name: HeaderName, text: String) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::try_from(text).ok().map(|value| (name, value))
}

fn named(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a list of `ETag`s holds this one.
fn matches(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// The same bytes, once the first of them are there.
async fn begun(bytes: Bodies, failed: impl Fn(&Error) -> Problem) -> Result<Bodies, Problem> {
    let mut bytes = bytes.peekable();
    let first = tokio::time::timeout(TO_BEGIN, Pin::new(&mut bytes).peek()).await;
    if let Ok(Some(Err(error))) = first {
        return Err(failed(error));
    }
    Ok(Box::pin(bytes))
}

/// Counts what goes out.
fn counted(app: &Arc<App>, bytes: Bodies) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let sending = Sending::new(app);
    bytes.inspect(move |piece| {
        if let Ok(piece) = piece {
            sending.0.metrics.sent.inc_by(piece.len() as u64);
        }
    })
}

/// An answer that is being sent, until it is done or its client gone.
struct Sending(Arc<App>);

impl Sending {
    fn new(app: &Arc<App>) -> Self {
        app.metrics.sending.inc();
        Self(Arc::clone(app))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.metrics.sending.dec();
    }
}
