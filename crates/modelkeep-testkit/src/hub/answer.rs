//! What is answered to each request, and what goes wrong with it.

use std::fmt::Write as _;
use std::fs::File as LocalFile;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use futures_util::stream;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::repos::{File, Repos, Snapshot};
use super::{App, Call};
use crate::range::{Unsatisfiable, read_range};

type Answer = Response<Body>;

/// Bodies go out in pieces of this; slow ones in smaller ones.
const PIECE: u64 = 256 << 10;
const SLOW_PIECE: u64 = 5_000;
/// Between two slow pieces: 50 KB a second.
const SLOW: Duration = Duration::from_millis(100);

/// The Hub itself.
pub async fn hub(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let written = parts.uri.path().trim_start_matches('/').split('/');
    let path: Vec<String> = written.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let name = name_of(&path);
    let form = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let asked = Asked {
        path: &path,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        head: parts.method == Method::HEAD,
        host: parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost"),
        form: &form,
    };
    let answer = one(&app, name, &asked).await;
    log(&app, name, &parts.method, &parts.uri.to_string(), &parts.headers, answer.status());
    answer
}

/// The second origin: content, without questions.
pub async fn elsewhere(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let place = percent_decode_str(parts.uri.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
    let found = place.split_once('/').and_then(|(commit, path)| {
        let repos = app.repos.list().ok()?;
        let revisions = repos.iter().filter_map(|repo| app.repos.revisions(repo).ok()?).flatten();
        let mut at = revisions.filter(|(_, snapshot)| snapshot.commit == commit);
        at.find_map(|(_, snapshot)| snapshot.files.into_iter().find(|file| file.path == path))
    });
    let answer = match found {
        Some(file) => content(&app, "elsewhere", &file, &parts.headers, parts.method == Method::HEAD),
        None => Response::builder().status(404).body(Body::empty()).unwrap_or_default(),
    };
    log(&app, "elsewhere", &parts.method, &parts.uri.to_string(), &parts.headers, answer.status());
    answer
}

fn log(app: &App, name: &str, method: &Method, path: &str, headers: &HeaderMap, status: StatusCode) {
    app.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call {
        name: name.to_owned(),
        method: method.to_string(),
        path: path.to_owned(),
        range: headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned),
        authorized: headers.contains_key(header::AUTHORIZATION),
        status: status.as_u16(),
    });
}

struct Asked<'a> {
    path: &'a [&'a str],
    query: &'a str,
    headers: &'a HeaderMap,
    head: bool,
    host: &'a str,
    form: &'a [u8],
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }
}

fn name_of(path: &[&str]) -> &'static str {
    match path {
        ["api", "models"] => "models",
        ["api", "models", _, _] | ["api", "models", _, _, "revision", _] => "info",
        ["api", "models", _, _, "tree", ..] => "tree",
        ["api", "models", _, _, "paths-info", _] => "paths-info",
        ["api", "models", _, _, "refs"] => "refs",
        ["api", "models", _, _, "commits", _] => "commits",
        ["api", "agent-harnesses"] => "agent-harnesses",
        ["api", "whoami-v2"] => "whoami",
        [_, _, "resolve", _, _, ..] => "resolve",
        _ => "unknown",
    }
}

async fn one(app: &App, name: &str, asked: &Asked<'_>) -> Answer {
    if app.faults.strikes("stall", name) && !matches!(name, "resolve") {
        std::future::pending::<()>().await;
    }
    if app.faults.strikes("429", name) {
        return with(plain(429, "too many requests"), header::RETRY_AFTER, "0");
    }
    if app.faults.strikes("503", name) {
        return plain(503, "<html>Service Unavailable</html>");
    }
    let right = app.token.as_ref().is_none_or(|token| {
        let sent = asked.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        sent.and_then(|sent| sent.strip_prefix("Bearer ")) == Some(token)
    });
    match name {
        "agent-harnesses" => return json_of(&json!({ "standardEnvVars": [], "harnesses": {} })),
        "whoami" if right => return json_of(&json!({ "type": "user", "name": "me", "orgs": [], "auth": {} })),
        "unknown" => return plain(404, "no such page"),
        // The Hub does not tell a repository that one may not see from one that is not there.
        _ if !right => return refused(401, "RepoNotFound", "Invalid username or password."),
        _ => {}
    }
    // The index may have to hash a large file; that is no reason to hold other requests up.
    let done = tokio::task::block_in_place(|| of_repo(app, name, asked));
    done.unwrap_or_else(|error| plain(500, &error.to_string()))
}

fn of_repo(app: &App, name: &str, asked: &Asked<'_>) -> io::Result<Answer> {
    let (repo, rest) = match asked.path {
        ["api", "models"] => {
            let list: Vec<Value> =
                app.repos.list()?.iter().map(|repo| json!({ "id": repo, "modelId": repo })).collect();
            return Ok(json_of(&Value::from(list)));
        }
        ["api", "models", namespace, name, rest @ ..] | [namespace, name, rest @ ..] => {
            (format!("{namespace}/{name}"), rest)
        }
        _ => return Ok(plain(404, "no such page")),
    };
    let Some(revisions) = app.repos.revisions(&repo)? else {
        return Ok(refused(404, "RepoNotFound", "Repository not found"));
    };
    if name == "refs" {
        return Ok(json_of(&refs(&revisions)));
    }
    let revision = rest.get(1).copied().unwrap_or("main");
    let Some(snapshot) = Repos::at(&revisions, revision) else {
        return Ok(refused(404, "RevisionNotFound", &format!("Invalid rev id: {revision}")));
    };
    Ok(match name {
        "info" => {
            json_of(&info(&repo, &snapshot, asked.parameter("blobs").is_some_and(|v| v.eq_ignore_ascii_case("true"))))
        }
        "tree" => tree(app, &snapshot, rest.get(2..).unwrap_or_default(), asked),
        "paths-info" => json_of(&Value::from(paths_info(&snapshot, asked.form))),
        "commits" => json_of(&json!([{ "id": snapshot.commit, "title": "all of it", "message": "",
            "date": "2026-01-01T00:00:00.000Z", "authors": [{ "user": "me" }] }])),
        _ => resolve(app, &repo, &snapshot, &rest[2..].join("/"), asked),
    })
}

fn refs(revisions: &[(String, Snapshot)]) -> Value {
    let one = |kind: &str, (name, at): &(String, Snapshot)| json!({ "name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": at.commit });
    let (branches, tags): (Vec<_>, Vec<_>) = revisions.iter().partition(|(name, _)| name == "main");
    json!({
        "branches": branches.into_iter().map(|named| one("heads", named)).collect::<Vec<_>>(),
        "converts": [],
        "tags": tags.into_iter().map(|named| one("tags", named)).collect::<Vec<_>>(),
        "pullRequests": [],
    })
}

fn info(repo: &str, snapshot: &Snapshot, blobs: bool) -> Value {
    let sibling = |file: &File| {
        let mut sibling = json!({ "rfilename": file.path });
        if blobs {
            sibling["size"] = file.size.into();
            sibling["blobId"] = file.oid.clone().into();
            if let Some((sha256, pointer)) = &file.lfs {
                sibling["lfs"] = json!({ "sha256": sha256, "size": file.size, "pointerSize": pointer });
            }
        }
        sibling
    };
    let mut info = json!({ "id": repo, "modelId": repo, "sha": snapshot.commit, "private": false, "gated": false,
        "downloads": 1, "likes": 0, "tags": [], "createdAt": "2026-01-01T00:00:00.000Z",
        "lastModified": "2026-01-01T00:00:00.000Z",
        "siblings": snapshot.files.iter().map(sibling).collect::<Vec<_>>() });
    if let Some(licence) = licence(snapshot) {
        info["tags"] = json!([format!("license:{licence}")]);
        info["cardData"] = json!({ "license": licence });
    }
    info
}

/// What the front of the README says, as the Hub reads it.
fn licence(snapshot: &Snapshot) -> Option<String> {
    let readme = snapshot.files.iter().find(|file| file.path == "README.md")?;
    let text = std::fs::read_to_string(&readme.local).ok()?;
    let front = text.strip_prefix("---\n")?.split("\n---").next()?.to_owned();
    front.lines().find_map(|line| line.strip_prefix("license:")).map(|licence| licence.trim().to_owned())
}

fn entry(file: &File) -> Value {
    let mut entry = json!({ "type": "file", "path": file.path, "size": file.size, "oid": file.oid });
    if let Some((sha256, pointer)) = &file.lfs {
        entry["lfs"] = json!({ "oid": sha256, "size": file.size, "pointerSize": pointer });
    }
    entry
}

fn tree(app: &App, snapshot: &Snapshot, folder: &[&str], asked: &Asked<'_>) -> Answer {
    let folder = folder.join("/");
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let recursive = asked.parameter("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let mut entries = Vec::new();
    let mut folders: Vec<&str> = Vec::new();
    for file in snapshot.files.iter().filter(|file| file.path.starts_with(&prefix)) {
        let below = &file.path[prefix.len()..];
        for (at, _) in below.match_indices('/').take(if recursive { usize::MAX } else { 1 }) {
            let path = &file.path[..prefix.len() + at];
            if !folders.contains(&path) {
                folders.push(path);
                entries.push(json!({ "type": "directory", "path": path, "oid": "0".repeat(40), "size": 0 }));
            }
        }
        if recursive || !below.contains('/') {
            entries.push(entry(file));
        }
    }
    if entries.is_empty() && !folder.is_empty() {
        return of_commit(refused(404, "EntryNotFound", &format!("{folder} does not exist")), &snapshot.commit);
    }
    if app.faults.strikes("escape", "tree") {
        entries.push(json!({ "type": "file", "path": "../../../escaped", "size": 5, "oid": "0".repeat(40) }));
    }
    let begin: usize = asked.parameter("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let end = entries.len().min(begin.saturating_add(app.page));
    let more = end < entries.len();
    let page = json_of(&Value::from(entries.drain(begin.min(end)..end).collect::<Vec<_>>()));
    if !more {
        return page;
    }
    let path: Vec<_> = asked.path.iter().map(|part| part.replace('/', "%2F")).collect();
    let url = format!("http://{}/{}?recursive={recursive}&cursor={end}", asked.host, path.join("/"));
    with(page, header::LINK, &format!("<{url}>; rel=\"next\""))
}

/// The form comes from Python, the JSON from Rust.
fn paths_info(snapshot: &Snapshot, form: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(form);
    let paths: Vec<String> = match serde_json::from_slice::<Value>(form) {
        Ok(json) => {
            json["paths"].as_array().into_iter().flatten().filter_map(|p| p.as_str().map(str::to_owned)).collect()
        }
        Err(_) => text
            .split('&')
            .filter_map(|pair| pair.strip_prefix("paths="))
            .map(|path| percent_decode_str(&path.replace('+', " ")).decode_utf8_lossy().into_owned())
            .collect(),
    };
    snapshot.files.iter().filter(|file| paths.contains(&file.path)).map(entry).collect()
}

fn resolve(app: &App, repo: &str, snapshot: &Snapshot, path: &str, asked: &Asked<'_>) -> Answer {
    if app.faults.strikes("gated", repo) {
        let message = format!("Access to model {repo} is restricted. You must have access to it and be authenticated.");
        return refused(403, "GatedRepo", &message);
    }
    let Some(file) = snapshot.files.iter().find(|file| file.path == path) else {
        return of_commit(refused(404, "EntryNotFound", "Entry not found"), &snapshot.commit);
    };
    let redirect = if app.faults.strikes("loop", "resolve") {
        Some(format!("/{}/resolve/{}/{path}", repo, snapshot.commit))
    } else if app.faults.strikes("moved", "resolve") {
        Some(format!("{}/{}/{path}", app.elsewhere, snapshot.commit))
    } else {
        None
    };
    let answer = match redirect {
        Some(place) => {
            let answer = with(plain(302, ""), header::LOCATION, &place);
            with(answer, HeaderName::from_static("x-linked-size"), &file.size.to_string())
        }
        None => content(app, "resolve", file, asked.headers, asked.head),
    };
    let answer = with(answer, HeaderName::from_static("x-linked-etag"), &format!("\"{}\"", file.etag()));
    of_commit(answer, &snapshot.commit)
}

/// Bytes of a file, with all that can go wrong with bytes.
fn content(app: &App, call: &str, file: &File, headers: &HeaderMap, head: bool) -> Answer {
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let wanted = wanted.filter(|_| !app.faults.strikes("no-range", call)).and_then(|text| read_range(text, file.size));
    let (status, range) = match wanted {
        None => (200, 0..file.size),
        Some(Ok(range)) => (206, range),
        Some(Err(Unsatisfiable)) => {
            return with(plain(416, ""), header::CONTENT_RANGE, &format!("bytes */{}", file.size));
        }
    };
    let length = range.end - range.start;
    let (told, total) = if app.faults.strikes("short", call) {
        (length / 2, file.size / 2)
    } else if app.faults.strikes("long", call) {
        (length + 1000, file.size + 1000)
    } else {
        (length, file.size)
    };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    answer = with(answer, header::ETAG, &format!("\"{}\"", file.etag()));
    answer = with(answer, header::CONTENT_LENGTH, &told.to_string());
    if status == 206 {
        let place = format!("bytes {}-{}/{total}", range.start, range.start + told.saturating_sub(1));
        answer = with(answer, header::CONTENT_RANGE, &place);
    }
    if !head {
        *answer.body_mut() = body(&Sending {
            cut: app.faults.strikes_after("cut", call, told),
            stall: app.faults.strikes_after("stall", call, told),
            slow: app.faults.strikes("slow", call),
            wrong: app.faults.strikes("wrong-bytes", call),
            told,
            file: file.clone(),
            range,
        });
    }
    answer
}

struct Sending {
    file: File,
    range: Range<u64>,
    /// Bytes that are sent, fewer or more than there are.
    told: u64,
    cut: Option<u64>,
    stall: Option<u64>,
    slow: bool,
    wrong: bool,
}

fn body(sending: &Sending) -> Body {
    let open = LocalFile::open(&sending.file.local).and_then(|mut open| {
        open.seek(SeekFrom::Start(sending.range.start))?;
        Ok(open)
    });
    let Ok(open) = open else { return Body::empty() };
    let Sending { told, cut, stall, slow, wrong, .. } = *sending;
    let piece = if slow { SLOW_PIECE } else { PIECE };
    Body::from_stream(stream::unfold((Some(open), 0_u64), move |(open, at)| async move {
        let open = open?;
        if cut == Some(at) {
            return Some((Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut on purpose")), (None, at)));
        }
        if stall == Some(at) {
            std::future::pending::<()>().await;
        }
        if at == told {
            return None;
        }
        if slow {
            sleep(SLOW).await;
        }
        // Cuts and silences fall between two pieces.
        let end = [cut, stall].into_iter().flatten().filter(|place| *place > at).fold(told.min(at + piece), u64::min);
        let read = spawn_blocking(move || read_piece(open, end - at)).await;
        match read.map_err(io::Error::other).flatten() {
            Ok((mut bytes, open)) => {
                if wrong
                    && at == 0
                    && let Some(first) = bytes.first_mut()
                {
                    *first ^= 0xff;
                }
                Some((Ok(Bytes::from(bytes)), (Some(open), end)))
            }
            Err(error) => Some((Err(error), (None, at))),
        }
    }))
}

/// The next bytes; beyond the end of the file there are zeros.
fn read_piece(mut open: LocalFile, length: u64) -> io::Result<(Vec<u8>, LocalFile)> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    open.by_ref().take(length).read_to_end(&mut bytes)?;
    bytes.resize(usize::try_from(length).unwrap_or_default(), 0);
    Ok((bytes, open))
}

fn json_of(value: &Value) -> Answer {
    let mut text = String::new();
    let _ = write!(text, "{value}");
    with(Response::new(Body::from(text)), header::CONTENT_TYPE, "application/json; charset=utf-8")
}

fn plain(status: u16, text: &str) -> Answer {
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    answer
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    let mut answer = json_of(&json!({ "error": message }));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let answer = with(answer, HeaderName::from_static("x-error-code"), code);
    with(answer, HeaderName::from_static("x-error-message"), message)
}

fn of_commit(answer: Answer, commit: &str) -> Answer {
    with(answer, HeaderName::from_static("x-repo-commit"), commit)
}

fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}
