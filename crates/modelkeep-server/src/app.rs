//! What every request works with, and which paths there are.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use modelkeep_hub::wire::header::SERVED;
use modelkeep_ops::catalogue::Catalogue;
use modelkeep_ops::catalogue::upstream::Upstream;

use crate::guard::{self, Guard};
use crate::hub;
use crate::metrics::{self, Metrics};
use crate::server::{Message, Told};

/// What every request works with.
pub struct App {
    /// The stored versions.
    pub catalogue: Arc<Catalogue>,
    /// Where names that are not ours are passed on to.
    pub upstream: Option<Arc<Upstream>>,
    /// Who may ask.
    pub guard: Guard,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is told what happens.
    pub told: Told,
}

impl App {
    /// Something happened.
    pub fn tell(&self, message: &Message) {
        (self.told)(message);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

/// Every path. The Hub's have names of repositories in front, so they are what no other path is; a page and an API of
/// our own get theirs beside `/healthz`.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(healthy))
        .route("/metrics", get(measured))
        .fallback(hub::answer)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), metrics::count))
        .layer(middleware::map_response(marked))
        .with_state(app)
}

/// Nobody may take an answer of ours for the Hub's own.
async fn marked(mut response: Response) -> Response {
    response.headers_mut().insert(SERVED, HeaderValue::from_static("1"));
    response
}

/// It runs, and has read the log.
async fn healthy() -> &'static str {
    "ok\n"
}

async fn measured(State(app): State<Arc<App>>) -> Response {
    match app.metrics.text() {
        Ok(text) => ([("content-type", metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => crate::problem::Problem::of(&error).into_response(),
    }
}
