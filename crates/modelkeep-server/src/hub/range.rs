//! `Range`, as far as it is one range of bytes (RFC 9110, 14.2). What cannot be read is ignored, as it says there.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: there was no range, or none that is understood.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that the file has not.
    Nothing,
}

/// Reads it, for a file of this size.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    // Several ranges would need an answer of several parts; the whole file is a good answer too.
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Wanted::Whole };
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u64>().ok() } else { None };
    match (first.trim(), last.trim()) {
        ("", "") => Wanted::Whole,
        ("", last) => match number(last) {
            None => Wanted::Whole,
            Some(0) => Wanted::Nothing,
            Some(_) if size == 0 => Wanted::Nothing,
            Some(count) => Wanted::Part(size.saturating_sub(count)..size),
        },
        (first, last) => {
            let Some(first) = number(first) else { return Wanted::Whole };
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match last {
                Some(last) if last >= first && first < size => Wanted::Part(first..size.min(last.saturating_add(1))),
                Some(last) if last >= first => Wanted::Nothing,
                _ => Wanted::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        let of = |text: &str| wanted(Some(text), 100);
        assert_eq!(of("bytes=0-"), Wanted::Part(0..100));
        assert_eq!(of("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(of("bytes=99-"), Wanted::Part(99..100));
        assert_eq!(of("bytes=90-1000"), Wanted::Part(90..100));
        assert_eq!(of("bytes=-30"), Wanted::Part(70..100));
        assert_eq!(of("bytes=-300"), Wanted::Part(0..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(of(beyond), Wanted::Nothing, "{beyond}");
        }
        for ignored in [
            "bytes=5-1",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,5-6",
            "bytes=-",
            "bytes=",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(of(ignored), Wanted::Whole, "{ignored}");
        }
        assert_eq!(wanted(None, 100), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-5"), 0), Wanted::Nothing);
    }
}
