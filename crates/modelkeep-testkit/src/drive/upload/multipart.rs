//! `multipart/related`: metadata as JSON, then the bytes.
//!
//! Lines end in CRLF (RFC 2046) or, as the Python client writes them, in LF.

use bytes::Bytes;

use crate::drive::error::{ApiError, Result};

#[derive(Debug)]
pub struct Part {
    pub content_type: Option<String>,
    pub body: Bytes,
}

/// The two parts of a body.
pub fn split(content_type: &str, body: &Bytes) -> Result<(Part, Part)> {
    let boundary = boundary(content_type).ok_or_else(|| malformed("no boundary"))?;
    let mut parts = parts(&boundary, body).ok_or_else(|| malformed("a part without an end"))?;
    match (parts.pop(), parts.pop(), parts.pop()) {
        (Some(media), Some(metadata), None) => Ok((metadata, media)),
        _ => Err(malformed("there must be two parts")),
    }
}

fn malformed(what: &str) -> ApiError {
    ApiError::bad_request(format!("Malformed multipart body: {what}."))
}

fn boundary(content_type: &str) -> Option<String> {
    let mut pieces = content_type.split(';').map(str::trim);
    if !pieces.next()?.eq_ignore_ascii_case("multipart/related") {
        return None;
    }
    let value = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
}

fn parts(boundary: &str, body: &Bytes) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    // The first line tells how all of them end; content may end in a CR of its own.
    let line_end: &[u8] = if body[at..].starts_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let next = [line_end, delimiter.as_bytes()].concat();
    while !body[at..].starts_with(b"--") {
        let start = find(body, line_end, at)? + line_end.len();
        // An empty part's delimiter begins with the line end of the blank line before it.
        let end = find(body, &next, start - line_end.len())?;
        parts.push(part(&body.slice(start..end.max(start)), line_end)?);
        at = end + next.len();
    }
    Some(parts)
}

/// Headers, a blank line, the content.
fn part(bytes: &Bytes, line_end: &[u8]) -> Option<Part> {
    let blank = [line_end, line_end].concat();
    let (head, body) = if bytes.starts_with(line_end) {
        (Bytes::new(), bytes.slice(line_end.len()..))
    } else {
        match find(bytes, &blank, 0) {
            Some(end) => (bytes.slice(..end), bytes.slice(end + blank.len()..)),
            // Headers, the blank line, and no content: the delimiter took the last line end.
            None if bytes.ends_with(line_end) => (bytes.clone(), Bytes::new()),
            None => return None,
        }
    };
    let content_type = String::from_utf8_lossy(&head).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    Some(Part { content_type, body })
}

fn find(body: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    // A scan for the first byte is what makes this fast enough for megabytes.
    let mut at = 0;
    while let Some(step) = rest[at..].iter().position(|byte| *byte == wanted[0]) {
        at += step;
        if rest[at..].starts_with(wanted) {
            return Some(from + at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(line_end: &str, media: &str) -> (Part, Part) {
        let lines = [
            "--b b",
            "Content-Type: application/json; charset=UTF-8",
            "",
            "{\"name\":\"a\"}",
            "--b b",
            "content-type: text/plain",
            "Content-Transfer-Encoding: binary",
            "",
            media,
            "--b b--",
            "",
        ];
        split("multipart/related; boundary=\"b b\"", &lines.join(line_end).into()).unwrap()
    }

    #[test]
    fn lines_may_end_in_either_way() {
        for line_end in ["\r\n", "\n"] {
            for media in ["hello", "", "\n", "ends in a CR\r", "--b c\n\n", "\r\n\r\nx"] {
                let (metadata, content) = both(line_end, media);
                assert_eq!(metadata.body, "{\"name\":\"a\"}");
                assert_eq!(content.content_type.as_deref(), Some("text/plain"));
                assert_eq!(content.body, media.as_bytes(), "{line_end:?} {media:?}");
            }
        }
    }

    #[test]
    fn parts_need_no_headers() {
        let body = "--x\r\n\r\n{}\r\n--x\r\n\r\nbytes\r\n--x--";
        let (metadata, media) = split("multipart/related;boundary=x", &body.into()).unwrap();
        assert_eq!((&metadata.body[..], &media.body[..]), (&b"{}"[..], &b"bytes"[..]));
    }

    #[test]
    fn what_is_not_two_parts_is_refused() {
        for (kind, body) in [
            ("multipart/related", "--x\n\n{}\n--x--"),
            ("text/plain; boundary=x", "--x\n\n{}\n--x\n\n\n--x--"),
            ("multipart/related; boundary=x", "--x\n\n{}\n--x--"),
            ("multipart/related; boundary=x", "--x\n\n{}\n--x\n\nbytes"),
            ("multipart/related; boundary=x", ""),
        ] {
            assert_eq!(split(kind, &Bytes::from(body)).unwrap_err().status.as_u16(), 400, "{kind} {body:?}");
        }
    }
}
