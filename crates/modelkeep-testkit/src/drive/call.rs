//! What each request was: the name of the call, what it costs, how it ended. `GET /_fake/calls` shows the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

/// One request, once it is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// `files.list`, `upload.chunk`, `oauth.token`…
    pub name: String,
    /// Quota units.
    pub units: u32,
    /// `GET`…
    pub method: String,
    /// Of the URL.
    pub path: String,
    /// Of the URL, as it was written.
    pub query: String,
    /// `Content-Range` of an upload's part, or `Range` of a download.
    pub range: Option<String>,
    /// 0 if no answer went out.
    pub status: u16,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// What a fault did to it.
    pub fault: Option<String>,
}

/// Units of a call: <https://developers.google.com/workspace/drive/api/guides/limits>, from May 2026. Create and copy
/// are not named there and are counted like an update; a part of an upload belongs to the call that began it.
fn units(name: &str) -> u32 {
    match name {
        "files.list" | "changes.list" | "drives.list" | "permissions.list" | "revisions.list" => 100,
        "files.download" | "revisions.download" => 200,
        "files.create" | "files.copy" | "files.update" | "upload.create" | "upload.update" | "permissions.update"
        | "revisions.update" | "drives.update" => 50,
        "upload.chunk" | "upload.probe" | "upload.cancel" => 0,
        name if name.starts_with("oauth.") || name == "unknown" => 0,
        _ => 5,
    }
}

impl Call {
    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let range = header("content-range").or_else(|| header("range"));
        let name = name(method, path, query, range.as_deref());
        Self {
            units: units(&name),
            name,
            method: method.to_string(),
            path: path.to_owned(),
            query: query.to_owned(),
            range,
            status: 0,
            received: 0,
            fault: None,
        }
    }

    /// The session that a request belongs to.
    pub fn upload_id(&self) -> Option<&str> {
        parameter(&self.query, "upload_id")
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn name(method: &Method, path: &str, query: &str, range: Option<&str>) -> String {
    let upload = path.strip_prefix("/upload/drive/v3/").or_else(|| path.strip_prefix("/resumable/upload/drive/v3/"));
    if let Some(rest) = upload {
        let step = match (parameter(query, "upload_id"), method) {
            (Some(_), &Method::DELETE) => "cancel",
            (Some(_), _) if range.is_some_and(|range| range.contains('*') && !range.contains('-')) => "probe",
            (Some(_), _) => "chunk",
            (None, _) if rest == "files" => "create",
            (None, _) => "update",
        };
        return format!("upload.{step}");
    }
    let Some(rest) = path.strip_prefix("/drive/v3/") else {
        return match path {
            "/token" => "oauth.token",
            "/device/code" => "oauth.device",
            "/revoke" => "oauth.revoke",
            "/o/oauth2/v2/auth" | "/o/oauth2/auth" => "oauth.auth",
            path if path.starts_with("/_fake/") => "fake",
            path if path.starts_with("/computeMetadata/") => "oauth.metadata",
            _ => "unknown",
        }
        .into();
    };
    let media = parameter(query, "alt") == Some("media");
    let parts: Vec<&str> = rest.split('/').collect();
    let verb = |plain: &'static str| match *method {
        Method::GET if media => "download",
        Method::GET => plain,
        Method::POST => "create",
        Method::PATCH | Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "unknown",
    };
    let (resource, verb) = match parts[..] {
        ["files", "generateIds"] => ("files", "generateIds"),
        ["files", "trash"] => ("files", "emptyTrash"),
        ["files", _, "copy"] => ("files", "copy"),
        ["changes", "startPageToken"] => ("changes", "getStartPageToken"),
        ["files", _, inner @ ("permissions" | "revisions")] => (inner, verb("list")),
        ["files", _, inner @ ("permissions" | "revisions"), _] => (inner, verb("get")),
        ["about"] => ("about", "get"),
        [resource @ ("files" | "changes" | "drives")] => (resource, verb("list")),
        [resource @ ("files" | "drives"), _] => (resource, verb("get")),
        _ => return "unknown".into(),
    };
    format!("{resource}.{verb}")
}

/// Every request since the start or the last clearing.
#[derive(Debug, Default)]
pub struct Log {
    calls: Mutex<Vec<Call>>,
    under_way: AtomicUsize,
    at_once: AtomicUsize,
}

/// A request that is under way, until this is dropped.
pub struct UnderWay<'a>(&'a Log);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Log {
    /// A request begins.
    pub fn begin(&self) -> UnderWay<'_> {
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.at_once.fetch_max(now, Ordering::Relaxed);
        UnderWay(self)
    }

    /// The most requests that were under way at the same time.
    pub fn at_once(&self) -> usize {
        self.at_once.load(Ordering::Relaxed)
    }

    pub fn add(&self, call: Call) {
        self.calls().push(call);
    }

    pub fn all(&self) -> Vec<Call> {
        self.calls().clone()
    }

    pub fn clear(&self) {
        self.calls().clear();
        self.at_once.store(self.under_way.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names_and_prices() {
        let call = |method: Method, uri: &str, range: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(range) = range {
                headers.insert("content-range", range.parse().unwrap());
            }
            let call = Call::of(&method, &uri.parse().unwrap(), &headers);
            (call.name, call.units)
        };
        let upload = "/upload/drive/v3/files?uploadType=resumable&upload_id=x";
        for (method, uri, range, name, units) in [
            (Method::GET, "/drive/v3/files?q=x", None, "files.list", 100),
            (Method::GET, "/drive/v3/files/1", None, "files.get", 5),
            (Method::GET, "/drive/v3/files/1?alt=media", None, "files.download", 200),
            (Method::POST, "/drive/v3/files", None, "files.create", 50),
            (Method::PATCH, "/drive/v3/files/1?fields=id", None, "files.update", 50),
            (Method::DELETE, "/drive/v3/files/trash", None, "files.emptyTrash", 5),
            (Method::GET, "/drive/v3/files/generateIds", None, "files.generateIds", 5),
            (Method::POST, "/drive/v3/files/1/permissions", None, "permissions.create", 5),
            (Method::GET, "/drive/v3/changes/startPageToken", None, "changes.getStartPageToken", 5),
            (Method::GET, "/drive/v3/about?fields=*", None, "about.get", 5),
            (Method::POST, "/upload/drive/v3/files?uploadType=multipart", None, "upload.create", 50),
            (Method::PATCH, "/upload/drive/v3/files/1?uploadType=resumable", None, "upload.update", 50),
            (Method::PUT, upload, Some("bytes 0-5/6"), "upload.chunk", 0),
            (Method::PUT, upload, Some("bytes 0-262143/*"), "upload.chunk", 0),
            (Method::PUT, upload, Some("bytes */6"), "upload.probe", 0),
            (Method::PUT, upload, Some("bytes */*"), "upload.probe", 0),
            (Method::DELETE, upload, None, "upload.cancel", 0),
            (Method::POST, "/token", None, "oauth.token", 0),
        ] {
            assert_eq!(call(method, uri, range), (name.to_owned(), units), "{uri}");
        }
    }
}
