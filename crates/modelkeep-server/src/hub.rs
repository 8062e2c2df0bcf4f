//! The Hub's contract, its reading half: which question is asked, and who answers it.
//!
//! Every file is said to be an LFS file, called by its SHA-256: clients are content with it, and no other digest of any
//! content is ever needed. Nothing but a file's bytes needs the store.

mod file;
mod lists;
mod range;
mod route;
mod shown;
mod tree;

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use modelkeep_core::Error;
use modelkeep_hub::wire::ErrorCode;
use serde::Serialize;
use serde_json::json;

use self::route::Call;
use crate::app::App;
use crate::guard::bearer;
use crate::problem::Problem;

type Answer = Result<Response, Problem>;

/// A question with what comes with it.
#[derive(Debug)]
struct Asked {
    method: Method,
    headers: HeaderMap,
    /// Without the query.
    path: String,
    query: Vec<(String, String)>,
}

impl Asked {
    /// A parameter that is there and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// Old clients write `True`, new ones `true`, curl users `1`.
    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }
}

/// Answers what no other path of the server does.
pub async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = route::parse(request.method(), request.uri().path());
    let (parts, body) = request.into_parts();
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked { method: parts.method, headers: parts.headers, path: parts.uri.path().to_owned(), query };
    let answer = match call {
        Call::File { repo, revision, path } => file::file(&app, &asked, &repo, &revision, &path).await,
        Call::Info { repo, revision } => lists::info(&app, &asked, &repo, &revision).await,
        Call::Tree { repo, revision, folder } => tree::tree(&app, &asked, &repo, &revision, &folder).await,
        Call::Paths { repo, revision } => match to_bytes(body, tree::LONGEST_QUESTION).await {
            Ok(bytes) => tree::paths(&app, &asked, &repo, &revision, &bytes).await,
            Err(_) => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "that are too many paths at once")),
        },
        Call::Refs { repo } => lists::refs(&app, &asked, &repo).await,
        Call::Commits { repo, revision } => lists::commits(&app, &asked, &repo, &revision).await,
        Call::Models => lists::models(&app, &asked).await,
        Call::Harnesses => Ok(Json(json!({"standardEnvVars": [], "harnesses": {}})).into_response()),
        Call::WhoAmI => who_am_i(&app, &asked.headers),
        Call::Write => Err(read_only()),
        Call::NotServed => Err(Problem::known(ErrorCode::RepoNotFound, "only models are served here")),
        Call::Unreadable => Err(Problem::new(StatusCode::BAD_REQUEST, "the path is no UTF-8")),
    };
    answer.unwrap_or_else(Problem::into_response)
}

fn read_only() -> Problem {
    let message = "this server only reads; store a new version with: modelkeep push PATH MODEL";
    Problem::new(StatusCode::FORBIDDEN, message)
}

/// Whoever shows a token is somebody; which one was checked before.
fn who_am_i(app: &App, headers: &HeaderMap) -> Answer {
    if bearer(headers).is_none() {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "nobody is signed in"));
    }
    let name = app.catalogue.namespace();
    Ok(Json(json!({
        "type": "user", "id": name, "name": name, "fullname": name, "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"displayName": "modelkeep serve", "role": "read"}},
    }))
    .into_response())
}

/// Part of a list, with the address of the next part. `cursor` counts what came before.
fn page<T: Serialize>(asked: &Asked, items: Vec<T>, default: usize) -> Answer {
    let number = |name: &str| asked.get(name).map(str::parse::<usize>).transpose();
    let wrong = |_| Problem::of(&Error::usage("`limit` and `cursor` are numbers"));
    let limit = number("limit").map_err(wrong)?.unwrap_or(default).clamp(1, 10_000);
    let begin = number("cursor").map_err(wrong)?.unwrap_or(0);
    let next = begin.saturating_add(limit);
    let link = (next < items.len()).then(|| next_page(asked, next));
    let part: Vec<T> = items.into_iter().skip(begin).take(limit).collect();
    let mut response = Json(part).into_response();
    if let Some(link) = link.and_then(|link| axum::http::HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Clients follow absolute addresses alone; the one they asked under is the one that reaches us.
fn next_page(asked: &Asked, cursor: usize) -> String {
    let host = asked.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(asked.query.iter().filter(|(key, _)| key != "cursor"));
    let query = query.append_pair("cursor", &cursor.to_string()).finish();
    format!("<http://{host}{}?{query}>; rel=\"next\"", asked.path)
}
