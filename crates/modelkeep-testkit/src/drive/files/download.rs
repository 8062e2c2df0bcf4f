//! The bytes of a file, whole or in part (`Range`, RFC 9110 section 14).

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::drive::app::{Answer, App};
use crate::drive::content::Content;
use crate::drive::error::ApiError;

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

#[derive(Debug, PartialEq)]
struct Unsatisfiable;

/// One range of bytes. What is not understood, and several ranges at once, are answered with the whole.
fn read_range(text: &str, size: u64) -> Option<Result<Range<u64>, Unsatisfiable>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        let length: u64 = last.parse().ok()?;
        size.saturating_sub(length)..size
    } else {
        let first: u64 = first.parse().ok()?;
        let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(size)
    };
    Some(if range.start < range.end { Ok(range) } else { Err(Unsatisfiable) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_standard_has_them() {
        assert_eq!(read_range("bytes=0-9", 100), Some(Ok(0..10)));
        assert_eq!(read_range("bytes=90-", 100), Some(Ok(90..100)));
        assert_eq!(read_range("bytes=90-500", 100), Some(Ok(90..100)));
        assert_eq!(read_range("bytes=-5", 100), Some(Ok(95..100)));
        assert_eq!(read_range("bytes=-500", 100), Some(Ok(0..100)));
        assert_eq!(read_range("bytes=100-", 100), Some(Err(Unsatisfiable)));
        assert_eq!(read_range("bytes=0-0", 0), Some(Err(Unsatisfiable)));
        assert_eq!(read_range("bytes=-0", 10), Some(Err(Unsatisfiable)));
        assert_eq!(read_range("bytes=5-4", 10), None);
        assert_eq!(read_range("bytes=0-1,3-4", 10), None);
        assert_eq!(read_range("items=0-1", 10), None);
    }
}
