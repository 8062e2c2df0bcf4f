//! The `Content-Range` of a request to an upload session.

use axum::http::StatusCode;

use crate::drive::content::GRANULE;
use crate::drive::error::{ApiError, Result};

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Brings {
    /// The whole file; there was no header.
    Everything,
    /// Nothing, it asks: `bytes */TOTAL` or `bytes */*`.
    Question { total: Option<u64> },
    /// `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
    Part { first: u64, last: u64, total: Option<u64> },
}

impl Brings {
    pub fn read(header: Option<&str>) -> Result<Self> {
        let Some(header) = header else { return Ok(Self::Everything) };
        parse(header).ok_or_else(|| ApiError::upload(StatusCode::BAD_REQUEST, "Failed to parse Content-Range header."))
    }

    pub fn total(self) -> Option<u64> {
        match self {
            Self::Everything => None,
            Self::Question { total } | Self::Part { total, .. } => total,
        }
    }

    /// Checks a part against what is stored and against its own length. Texts are the upload server's.
    pub fn check(self, stored: u64, length: Option<u64>) -> Result<()> {
        match self {
            Self::Question { .. } if length.is_some_and(|length| length > 0) => {
                let message = "Invalid request.  A request for the status of an upload has no body.";
                Err(ApiError::upload(StatusCode::BAD_REQUEST, message))
            }
            Self::Part { first, .. } if first > stored => {
                // 503, of all things: Byron/google-apis-rs#438.
                let message = format!(
                    "Invalid request.  According to the Content-Range header, the upload offset is {first} byte(s), \
                     which exceeds already uploaded size of {stored} byte(s)."
                );
                Err(ApiError::upload(StatusCode::SERVICE_UNAVAILABLE, message))
            }
            Self::Part { first, last, total } => {
                let announced = last - first + 1;
                if let Some(length) = length.filter(|length| *length != announced) {
                    return Err(wrong_length(length, first, last));
                }
                let is_last = total == Some(last + 1);
                if !is_last && announced < GRANULE as u64 {
                    let message = format!(
                        "Invalid request.  The number of bytes uploaded is required to be equal or greater than \
                         {GRANULE}, except for the final request (it's recommended to be the exact multiple of \
                         {GRANULE}).  The received request contained {announced} byte(s), which does not meet this \
                         requirement."
                    );
                    return Err(ApiError::upload(StatusCode::BAD_REQUEST, message));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The body is not what the header said.
pub fn wrong_length(length: u64, first: u64, last: u64) -> ApiError {
    let message = format!(
        "Invalid request.  There were {length} byte(s) in the request body.  There should have been {} byte(s) \
         (starting at offset {first} and ending at offset {last}) according to the Content-Range header.",
        last - first + 1
    );
    ApiError::upload(StatusCode::BAD_REQUEST, message)
}

fn parse(header: &str) -> Option<Brings> {
    let (range, total) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    if range == "*" {
        return Some(Brings::Question { total });
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let fits = first <= last && total.is_none_or(|total| last < total);
    fits.then_some(Brings::Part { first, last, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = GRANULE as u64;

    fn read(header: &str) -> Brings {
        Brings::read(Some(header)).unwrap()
    }

    #[test]
    fn headers_as_clients_write_them() {
        assert_eq!(Brings::read(None).unwrap(), Brings::Everything);
        assert_eq!(read("bytes 0-262143/524288"), Brings::Part { first: 0, last: 262_143, total: Some(524_288) });
        assert_eq!(read("bytes 0-262143/*"), Brings::Part { first: 0, last: 262_143, total: None });
        assert_eq!(read("bytes */5"), Brings::Question { total: Some(5) });
        assert_eq!(read("bytes */*"), Brings::Question { total: None });
        for wrong in ["", "bytes", "0-1/2", "bytes 1-0/2", "bytes 0-2/2", "bytes a-b/c", "bytes 0-1", "bytes 0-/5"] {
            assert_eq!(Brings::read(Some(wrong)).unwrap_err().status.as_u16(), 400, "{wrong}");
        }
    }

    #[test]
    fn parts_must_fit() {
        let status = |header: &str, stored, length| read(header).check(stored, length).err().map(|e| e.status.as_u16());
        let part = |first: u64, last: u64| format!("bytes {first}-{last}/{}", 4 * STEP);
        assert_eq!(status(&part(0, STEP - 1), 0, Some(STEP)), None);
        assert_eq!(status(&part(STEP, 2 * STEP - 1), 0, Some(STEP)), Some(503), "a gap");
        assert_eq!(status(&part(0, STEP - 1), STEP, Some(STEP)), None, "again what is stored");
        assert_eq!(status(&part(0, STEP - 1), 0, Some(STEP - 1)), Some(400), "not the length that was said");
        assert_eq!(status(&part(0, 99), 0, Some(100)), Some(400), "too small");
        assert_eq!(status(&part(3 * STEP, 4 * STEP - 1), 3 * STEP, Some(STEP)), None);
        assert_eq!(status("bytes 0-99/100", 0, Some(100)), None, "the last may be small");
        assert_eq!(status("bytes */100", 0, Some(1)), Some(400), "a question with a body");
    }
}
