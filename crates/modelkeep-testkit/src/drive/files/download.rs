//! The bytes of a file, whole or in part (`Range`, RFC 9110 section 14).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::drive::app::{Answer, App};
use crate::drive::content::Content;
use crate::drive::error::ApiError;
use crate::range::{Unsatisfiable, read_range};

pub fn download(app: &App, content: &Content, mime_type: &str, headers: &HeaderMap) -> Answer {
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match asked.and_then(|asked| read_range(asked, content.size)) {
        None => (StatusCode::OK, 0..content.size),
        Some(Ok(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Err(Unsatisfiable)) => {
            // The Python client learns from this header that a file is empty.
            let size = format!("bytes */{}", content.size);
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "requestedRangeNotSatisfiable",
                "Request range not satisfiable",
            );
            return Err(error.at("header", "Range").with_header(header::CONTENT_RANGE, size));
        }
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let set = |response: &mut Response<Body>, name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(&mut response, header::CONTENT_TYPE, mime_type.to_owned());
    set(&mut response, header::CONTENT_LENGTH, (range.end - range.start).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes".into());
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{}", range.start, range.end - 1, content.size);
        set(&mut response, header::CONTENT_RANGE, place);
    }
    *response.body_mut() = app.contents.body(content, range)?;
    Ok(response)
}
