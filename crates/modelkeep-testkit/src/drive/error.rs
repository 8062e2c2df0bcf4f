//! What Drive says when it refuses: status, reason, and the JSON around them.
//!
//! Reasons and texts are Google's where they are known
//! (<https://developers.google.com/workspace/drive/api/guides/handle-errors>); those that are our choice say so.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

/// A refusal.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub status: StatusCode,
    pub reason: &'static str,
    pub message: String,
    location: Option<Box<(&'static str, String)>>,
    header: Option<Box<(HeaderName, String)>>,
    plain: bool,
}

pub type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), location: None, header: None, plain: false }
    }

    /// 400, about one parameter.
    pub fn parameter(reason: &'static str, name: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, message).at("parameter", name)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "badRequest", message)
    }

    pub fn forbidden(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, reason, message)
    }

    /// What is not there, and what this caller may not know to be there.
    pub fn not_found(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", format!("File not found: {id}.")).at("parameter", "fileId")
    }

    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authError", "Invalid Credentials")
            .at("header", "Authorization")
            .with_header(
                header::WWW_AUTHENTICATE,
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            )
    }

    pub fn insufficient_permissions() -> Self {
        Self::forbidden("insufficientFilePermissions", "The user does not have sufficient permissions for this file.")
    }

    pub fn insufficient_scope() -> Self {
        Self::forbidden("insufficientPermissions", "Request had insufficient authentication scopes.")
    }

    pub fn id_in_use() -> Self {
        // The guide says 409 only; the reason is what two independent fakes use.
        Self::new(StatusCode::CONFLICT, "fileIdInUse", "A file already exists with the provided ID.")
    }

    pub fn storage_full() -> Self {
        Self::forbidden("storageQuotaExceeded", "The user's Drive storage quota has been exceeded.")
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internalError", message)
    }

    /// An answer of the upload server, which speaks plain text, not the JSON of the API (as reported in
    /// Byron/google-apis-rs#438).
    pub fn upload(status: StatusCode, message: impl Into<String>) -> Self {
        Self { plain: true, ..Self::new(status, "upload", message) }
    }

    pub fn at(mut self, kind: &'static str, name: &str) -> Self {
        self.location = Some(Box::new((kind, name.to_owned())));
        self
    }

    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    fn domain(&self) -> &'static str {
        match self.reason {
            "rateLimitExceeded" | "userRateLimitExceeded" | "dailyLimitExceeded" => "usageLimits",
            _ => "global",
        }
    }

    fn body(&self) -> Value {
        let mut error = Map::new();
        error.insert("domain".into(), self.domain().into());
        error.insert("reason".into(), self.reason.into());
        error.insert("message".into(), self.message.clone().into());
        if let Some((kind, name)) = self.location.as_deref() {
            error.insert("locationType".into(), (*kind).into());
            error.insert("location".into(), name.clone().into());
        }
        let mut body = json!({ "code": self.status.as_u16(), "message": self.message, "errors": [error] });
        if self.reason == "insufficientPermissions" {
            // The newer front end's way of saying it, beside the old one.
            body["status"] = "PERMISSION_DENIED".into();
            body["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                "domain": "googleapis.com",
            }]);
        }
        json!({ "error": body })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let (kind, text) = if self.plain {
            ("text/plain; charset=utf-8", self.message.clone())
        } else {
            ("application/json; charset=UTF-8", format!("{:#}", self.body()))
        };
        let mut response = (self.status, text).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some((name, value)) = self.header.map(|header| *header)
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(format!("the fake's own disk: {error}"))
    }
}
