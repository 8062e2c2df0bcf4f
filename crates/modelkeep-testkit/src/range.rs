//! Which part of a file a client asks for: `Range`, RFC 9110 section 14.

use std::ops::Range;

/// A range that begins behind the end.
#[derive(Debug, PartialEq)]
pub struct Unsatisfiable;

/// One range of bytes. What is not understood, and several ranges at once, are answered with the whole.
pub fn read_range(text: &str, size: u64) -> Option<Result<Range<u64>, Unsatisfiable>> {
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
