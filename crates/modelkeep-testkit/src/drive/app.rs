//! What every request works with: the state, the contents, the clock, the faults; who asks, and with what parameters.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Json, body::Body};
use jiff::Timestamp;
use serde_json::Value;

use super::call::Log;
use super::clock::Clock;
use super::content::Contents;
use super::error::{ApiError, Result};
use super::fault::Faults;
use super::fields::Mask;
use super::files::Pages;
use super::oauth::OAuth;
use super::state::{Caller, State};
use super::upload::Sessions;

pub type Answer = Result<Response<Body>>;

#[derive(Debug)]
pub struct App {
    /// What clients reach the server by; in `Location`, whatever the `Host` header says.
    pub url: String,
    /// Bytes each account may store; unlimited without.
    pub quota: Option<u64>,
    /// Added to every request.
    pub latency_ms: AtomicU64,
    pub state: Mutex<State>,
    pub contents: Arc<Contents>,
    pub sessions: Sessions,
    pub pages: Pages,
    pub oauth: Mutex<OAuth>,
    pub clock: Clock,
    pub faults: Faults,
    pub log: Log,
}

impl App {
    /// A panic in a test's other thread must not hide behind this one's.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What a token stands for, if it is good.
    pub fn authorize(&self, token: &str) -> Result<Caller> {
        let allowed = self.faults.token_requests();
        let caller = self.state().authorized(token, self.now(), allowed)?;
        if caller.may_use_drive() { Ok(caller) } else { Err(ApiError::insufficient_scope()) }
    }

    /// Refuses what would not fit into an account.
    pub fn check_room(&self, state: &State, owner: Option<&str>, more: u64, less: u64) -> Result<()> {
        if more == 0 {
            return Ok(());
        }
        let over = match (owner, self.quota) {
            (Some(owner), Some(quota)) => state.usage(owner).0.saturating_sub(less) + more > quota,
            _ => false,
        };
        if over || self.faults.full() { Err(ApiError::storage_full()) } else { Ok(()) }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self> {
        let params = Params::from_request_parts(parts, app).await?;
        let token = bearer(&parts.headers).or_else(|| params.get("access_token").map(str::to_owned));
        app.authorize(&token.ok_or_else(ApiError::unauthorized)?)
    }
}

/// The token of the `Authorization` header.
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (kind, token) = value.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The query parameters. One that is empty counts as absent: rclone sends `fields=`.
#[derive(Debug, Clone)]
pub struct Params(HashMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri);
        query.map(|Query(map)| Self(map)).map_err(|error| ApiError::bad_request(error.to_string()))
    }
}

impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A number of at least 1; more than `most` is as much as that.
    pub fn count(&self, name: &str, default: usize, most: usize) -> Result<usize> {
        match self.get(name).map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(count)) if count >= 1 => Ok(count.min(most)),
            Some(_) => Err(ApiError::parameter("invalidParameter", name, "Invalid value")),
        }
    }

    /// The client knows of shared drives.
    pub fn all_drives(&self) -> bool {
        self.flag("supportsAllDrives") || self.flag("supportsTeamDrives")
    }

    /// The mask asked for, or the one that the call has without.
    pub fn mask(&self, default: &str, resource: &str) -> Result<Mask> {
        Mask::parse(self.get("fields").unwrap_or(default), resource)
    }
}

/// 200 with what the mask leaves.
pub fn reply(mask: &Mask, value: Value) -> Response<Body> {
    Json(mask.apply(value)).into_response()
}

/// 204.
pub fn nothing() -> Response<Body> {
    StatusCode::NO_CONTENT.into_response()
}

/// A JSON body; an empty one is an empty object.
pub fn json_body(bytes: &[u8]) -> Result<Value> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "parseError", "Parse Error"))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("Invalid JSON payload received.")) }
}
