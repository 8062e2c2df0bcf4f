//! An error as an HTTP answer, in the Hub's words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use modelkeep_core::{Error, Kind};
use modelkeep_hub::wire::{self, ErrorBody, ErrorCode};
use modelkeep_ops::catalogue::Missing;

/// A "no" with its reason.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: Option<ErrorCode>,
    commit: Option<String>,
    message: String,
}

impl Problem {
    /// One that no client tells from others of its status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, commit: None, message: message.into() }
    }

    /// One that clients know.
    pub fn known(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::NOT_FOUND);
        Self { code: Some(code), ..Self::new(status, message) }
    }

    /// About this commit: with it a client notes that the file is not there.
    #[must_use]
    pub fn at(self, commit: &str) -> Self {
        Self { commit: Some(commit.to_owned()), ..self }
    }

    /// A failure of ours.
    pub fn of(error: &Error) -> Self {
        Self::new(status(error.kind()), said(error))
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        match &missing {
            Missing::Model(error) => Self::known(ErrorCode::RepoNotFound, said(error)),
            Missing::Revision(error) => Self::known(ErrorCode::RevisionNotFound, said(error)),
            Missing::Refused(error) => Self::known(ErrorCode::GatedRepo, said(error)),
            Missing::Unknown(error) => Self::of(error),
        }
    }
}

fn said(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{} (hint: {hint})", error.full_message()),
        None => error.full_message(),
    }
}

/// The status of a failure that happened while an answer was looked for. What is wrong with the store is no fault of
/// whoever asks: a gateway's statuses say so.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Usage => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Integrity | Kind::Auth => StatusCode::BAD_GATEWAY,
        Kind::Unavailable | Kind::Quota | Kind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Local => StatusCode::INSUFFICIENT_STORAGE,
        Kind::CheckFailed | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.message.clone() })).into_response();
        let headers = response.headers_mut();
        if let Some(code) = self.code {
            headers.insert(wire::header::ERROR_CODE, HeaderValue::from_static(code.as_str()));
        }
        if let Some(commit) = self.commit.and_then(|commit| HeaderValue::try_from(commit).ok()) {
            headers.insert(wire::header::REPO_COMMIT, commit);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let plain: String =
            self.message.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect();
        if let Ok(message) = HeaderValue::try_from(plain) {
            headers.insert(wire::header::ERROR_MESSAGE, message);
        }
        response
    }
}
