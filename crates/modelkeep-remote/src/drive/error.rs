//! What Google says no with, as our errors.
//!
//! Knows every reason that changes what we do. Does not know requests: who was doing what comes from the caller.
//! Source: <https://developers.google.com/workspace/drive/api/guides/handle-errors>.

use std::time::Duration;

use modelkeep_core::{Error, Kind};
use modelkeep_http::retry_after;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use serde::Deserialize;

/// A request that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Google answered, with a refusal.
    Refused(Refusal),
    /// No answer, or half of one: it may have been done or not.
    Broken(Error),
    /// It could not or must not be asked at all: no token, stopped by the meter.
    Stopped(Error),
}

/// An answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    /// All reasons that it gives, in any of Google's shapes.
    pub reasons: Vec<String>,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Of the file, told by a range beyond its end: `Content-Range: bytes */N`.
    pub size: Option<u64>,
    /// What was being done.
    pub doing: String,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// The token is stale: a new one, once.
    Login,
    /// Too fast, for everybody: wait.
    SlowDown,
    /// Google's own trouble: try again.
    Again,
    /// Asking again does not help.
    Stop,
}

const HINT_LOGIN: &str = "modelkeep login gdrive";

#[derive(Deserialize)]
struct Body {
    error: Shape,
}

/// Drive's shape, the newer front ends' shape and OAuth's: `error` is an object or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Object {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(default)]
        message: String,
        #[serde(default)]
        status: Option<String>,
        #[serde(default)]
        details: Vec<Detail>,
    },
    Word(String),
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    reason: Option<String>,
}

impl Refusal {
    /// Reads an answer; HTML, plain text and nothing are answers too.
    pub fn parse(status: u16, headers: &HeaderMap, body: &[u8], doing: &str) -> Self {
        let (reasons, message) = match serde_json::from_slice::<Body>(body) {
            Ok(Body { error: Shape::Object { errors, message, status, details } }) => {
                let reasons = errors.into_iter().map(|item| item.reason);
                let details = details.into_iter().filter_map(|detail| detail.reason);
                (reasons.chain(details).chain(status).filter(|reason| !reason.is_empty()).collect(), message)
            }
            Ok(Body { error: Shape::Word(word) }) => (vec![word], String::new()),
            Err(_) => (Vec::new(), String::new()),
        };
        let size =
            headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes */")?.parse().ok());
        Self { status, reasons, message, retry_after: retry_after(headers), size, doing: doing.to_owned() }
    }

    pub fn says(&self, reason: &str) -> bool {
        self.reasons.iter().any(|said| said == reason)
    }

    fn says_any(&self, reasons: &[&str]) -> bool {
        reasons.iter().any(|reason| self.says(reason))
    }

    pub fn advice(&self) -> Advice {
        match self.status {
            401 => Advice::Login,
            408 | 500..=599 => Advice::Again,
            429 => Advice::SlowDown,
            403 if self.says_any(&["rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"]) => {
                Advice::SlowDown
            }
            _ => Advice::Stop,
        }
    }

    /// As an error of ours.
    pub fn error(&self) -> Error {
        let (kind, hint) = self.meaning();
        let said = match (&*self.message, self.reasons.first()) {
            _ if self.says("invalid_grant") => "Google no longer takes this login (invalid_grant): it was taken back, lay \
                                                idle for half a year, or its client is in \"Testing\", where a login ends \
                                                after 7 days"
                .to_owned(),
            ("", None) => format!("Drive answered {}", self.status),
            ("", Some(reason)) => format!("Drive answered {} ({reason})", self.status),
            (message, _) => format!("Drive says: {message}"),
        };
        let error = Error::new(kind, format!("{}: {said}", self.doing));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn meaning(&self) -> (Kind, Option<&'static str>) {
        const FULL: &[&str] = &["storageQuotaExceeded", "quotaExceeded", "teamDriveFileLimitExceeded"];
        const LIMITS: &[&str] = &[
            "activeItemCreationLimitExceeded",
            "numChildrenInNonRootLimitExceeded",
            "myDriveHierarchyDepthLimitExceeded",
            "teamDriveHierarchyTooDeep",
        ];
        const SCOPE: &[&str] =
            &["appNotAuthorizedToFile", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"];
        if self.says_any(&["invalid_grant"]) {
            return (
                Kind::Auth,
                Some(
                    "modelkeep login gdrive (it lasts once the app is published: https://console.cloud.google.com/auth/audience)",
                ),
            );
        }
        match self.status {
            401 => (Kind::Auth, Some(HINT_LOGIN)),
            403 if self.says("storageQuotaExceeded") && self.message.contains("Service Account") => (
                Kind::Quota,
                Some(
                    "a service account owns no space: modelkeep login gdrive with your own account, or use a shared drive",
                ),
            ),
            403 if self.says_any(FULL) => {
                (Kind::Quota, Some("make room (modelkeep prune --dry-run; empty Drive's trash), then run it again"))
            }
            403 if self.says_any(LIMITS) => {
                (Kind::Quota, Some("modelkeep prune --dry-run (Drive limits items per folder and account)"))
            }
            403 if self.says("dailyLimitExceeded") => {
                (Kind::Quota, Some("the project's daily limit is used up: run it again tomorrow"))
            }
            403 if self.says("downloadQuotaExceeded") => {
                (Kind::Quota, Some("the file was downloaded too often: run it again tomorrow"))
            }
            403 if self.says("userRateLimitExceeded") => (
                Kind::Quota,
                Some("if this lasts, the 750 GB a day are used up: run it again tomorrow; what was sent stays"),
            ),
            403 if self.advice() == Advice::SlowDown => (Kind::Unavailable, Some("run it again in a few minutes")),
            403 if self.says("accessNotConfigured") => (
                Kind::Auth,
                Some(
                    "turn the Google Drive API on in your project: https://console.cloud.google.com/apis/library/drive.googleapis.com",
                ),
            ),
            403 if self.says_any(SCOPE) => {
                (Kind::Auth, Some("modelkeep login gdrive --scope drive (drive.file sees only what this client made)"))
            }
            403 if self.says("cannotDownloadAbusiveFile") => {
                (Kind::Auth, Some("Drive took the file for malware; its owner can download it in the browser"))
            }
            403 if self.says_any(&["fileNotDownloadable", "cannotCopyFile"]) => (Kind::Integrity, None),
            403 => (Kind::Auth, Some("modelkeep whoami (is it the right account? ask the owner to share the folder)")),
            404 => (Kind::NotFound, None),
            409 | 412 => (Kind::Conflict, None),
            429 | 408 | 500..=599 => (Kind::Unavailable, Some("run it again in a few minutes")),
            _ => (Kind::Internal, None),
        }
    }
}

impl Failure {
    /// Whether that was the refusal.
    pub fn is(&self, status: u16) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == status)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.error(),
            Failure::Broken(error) | Failure::Stopped(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::parse(status, &HeaderMap::new(), body.as_bytes(), "testing")
    }

    fn of_reason(status: u16, reason: &str) -> Refusal {
        let first = r#"{"domain":"global","reason":"other"}"#;
        let body =
            format!(r#"{{"error":{{"errors":[{first},{{"reason":"{reason}"}}],"code":{status},"message":"m"}}}}"#);
        refusal(status, &body)
    }

    #[test]
    fn every_reason_counts_in_every_shape() {
        assert!(of_reason(403, "rateLimitExceeded").says("rateLimitExceeded"));
        let newer = r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED",
            "details":[{"@type":"x","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}"#;
        assert_eq!(refusal(403, newer).reasons, ["ACCESS_TOKEN_SCOPE_INSUFFICIENT", "PERMISSION_DENIED"]);
        assert_eq!(refusal(400, r#"{"error":"invalid_grant","error_description":"x"}"#).error().kind(), Kind::Auth);
        for text in ["", "<html>502</html>", "{}", "[1]", r#"{"error":7}"#] {
            assert!(refusal(502, text).reasons.is_empty(), "{text}");
        }
    }

    #[test]
    fn reasons_decide_what_is_tried_again_and_what_is_said() {
        let table = [
            (401, "authError", Advice::Login, Kind::Auth),
            (403, "rateLimitExceeded", Advice::SlowDown, Kind::Unavailable),
            (403, "userRateLimitExceeded", Advice::SlowDown, Kind::Quota),
            (403, "storageQuotaExceeded", Advice::Stop, Kind::Quota),
            (403, "dailyLimitExceeded", Advice::Stop, Kind::Quota),
            (403, "insufficientFilePermissions", Advice::Stop, Kind::Auth),
            (403, "appNotAuthorizedToFile", Advice::Stop, Kind::Auth),
            (403, "numChildrenInNonRootLimitExceeded", Advice::Stop, Kind::Quota),
            (403, "fileNotDownloadable", Advice::Stop, Kind::Integrity),
            (404, "notFound", Advice::Stop, Kind::NotFound),
            (409, "fileIdInUse", Advice::Stop, Kind::Conflict),
            (429, "rateLimitExceeded", Advice::SlowDown, Kind::Unavailable),
            (500, "internalError", Advice::Again, Kind::Unavailable),
            (400, "invalidParameter", Advice::Stop, Kind::Internal),
        ];
        for (status, reason, advice, kind) in table {
            let refusal = of_reason(status, reason);
            assert_eq!((refusal.advice(), refusal.error().kind()), (advice, kind), "{status} {reason}");
            let needs_hint = !matches!(status, 400 | 404 | 409) && reason != "fileNotDownloadable";
            assert_eq!(refusal.error().hint_text().is_some(), needs_hint, "{status} {reason}");
        }
    }
}
