//! `/_fake/…`: what a test in another process asks of the server itself.
//!
//! | request | answer |
//! |---|---|
//! | `POST /_fake/token` `{account, client?, scope?, seconds?}` | `{access_token, refresh_token}` |
//! | `GET`, `DELETE /_fake/calls` | `{calls, count, units, at_once}` (the most that were under way at the same time); forget them |
//! | `POST /_fake/fault` rules; `DELETE` | in force from now on; no faults any more |
//! | `POST /_fake/consent` `{account?, scopes?, denied?}` | how the next logins end |
//! | `POST /_fake/refresh` `{seconds}` | new refresh tokens are good for so long |
//! | `POST /_fake/clock` `{advance_seconds}` | the server's time goes on |
//! | `POST /_fake/latency` `{milliseconds}` | added to each request |
//! | `POST /_fake/drive` `{name, organizer}` | a shared drive: `{id}` |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State as Extract;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, nothing};
use super::error::{ApiError, Result};
use super::fault::Spec;
use super::oauth::{Consent, LIFETIME};
use super::state::Caller;

const DRIVE: &str = "https://www.googleapis.com/auth/drive";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/token", post(token))
        .route("/calls", get(calls).delete(forget_calls))
        .route("/fault", post(add_fault).delete(clear_faults))
        .route("/consent", post(consent))
        .route("/refresh", post(refresh))
        .route("/clock", post(clock))
        .route("/latency", post(latency))
        .route("/drive", post(shared_drive))
}

type Empty = axum::http::Response<axum::body::Body>;

#[derive(Deserialize)]
struct Wanted {
    account: String,
    client: Option<String>,
    scope: Option<String>,
    seconds: Option<u64>,
}

async fn token(Extract(app): Extract<Arc<App>>, Json(wanted): Json<Wanted>) -> Result<Json<Value>> {
    let Wanted { account, client, scope, seconds } = wanted;
    let (client, scope) = (client.unwrap_or_else(|| "test-client".into()), scope.unwrap_or_else(|| DRIVE.into()));
    let access = app.mint(&account, &client, &scope, seconds.map_or(LIFETIME, Duration::from_secs))?;
    let caller: Option<Caller> = app.state().tokens.get(&access).map(|access| access.caller.clone());
    let refresh = caller.map(|caller| app.issue_refresh(caller)).transpose()?;
    Ok(Json(json!({ "access_token": access, "refresh_token": refresh })))
}

async fn calls(Extract(app): Extract<Arc<App>>) -> Json<Value> {
    let calls = app.log.all();
    let units: u32 = calls.iter().map(|call| call.units).sum();
    Json(json!({ "count": calls.len(), "units": units, "at_once": app.log.at_once(), "calls": calls }))
}

async fn forget_calls(Extract(app): Extract<Arc<App>>) -> Empty {
    app.log.clear();
    nothing()
}

async fn add_fault(Extract(app): Extract<Arc<App>>, rule: String) -> Result<Empty> {
    let rules: Spec = rule.trim().parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    app.faults.add(rules);
    Ok(nothing())
}

async fn clear_faults(Extract(app): Extract<Arc<App>>) -> Empty {
    app.faults.clear();
    nothing()
}

async fn consent(Extract(app): Extract<Arc<App>>, Json(consent): Json<Consent>) -> Empty {
    app.oauth().consent = consent;
    nothing()
}

#[derive(Deserialize)]
struct Lifetime {
    seconds: u64,
}

async fn refresh(Extract(app): Extract<Arc<App>>, Json(lifetime): Json<Lifetime>) -> Empty {
    app.oauth().refresh_lifetime = Some(Duration::from_secs(lifetime.seconds));
    nothing()
}

#[derive(Deserialize)]
struct Advance {
    advance_seconds: u64,
}

async fn clock(Extract(app): Extract<Arc<App>>, Json(by): Json<Advance>) -> Empty {
    app.clock.advance(Duration::from_secs(by.advance_seconds));
    nothing()
}

#[derive(Deserialize)]
struct Latency {
    milliseconds: u64,
}

async fn latency(Extract(app): Extract<Arc<App>>, Json(latency): Json<Latency>) -> Empty {
    app.latency_ms.store(latency.milliseconds, Ordering::Relaxed);
    nothing()
}

#[derive(Deserialize)]
struct NewDrive {
    name: String,
    organizer: String,
}

async fn shared_drive(Extract(app): Extract<Arc<App>>, Json(drive): Json<NewDrive>) -> Result<Json<Value>> {
    let now = app.now();
    let mut state = app.state();
    state.account(&drive.organizer, now)?;
    let id = state.shared_drive(&drive.name, &drive.organizer, now)?;
    Ok(Json(json!({ "id": id })))
}
