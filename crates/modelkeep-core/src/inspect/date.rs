//! The day a run says it was trained.
//!
//! Knows only what is written in the files; when nothing is, the newest time of the weights is the caller's to ask.

use jiff::civil::Date;

use super::json;

/// The fields that may hold the date, the most telling first.
pub const FIELDS: [&str; 5] = ["training_date", "trained_at", "date", "timestamp", "created_at"];

/// The day of training: the first source that has one of [`FIELDS`] as a date or an RFC 3339 time.
///
/// `sources` are the contents of `benchmark.json`, `metadata.json`, `all_results.json`, in order of precedence; one
/// that is not a JSON object says nothing. The day is the one written: a time keeps the day of its own offset.
pub fn training_date<'a>(sources: impl IntoIterator<Item = &'a [u8]>) -> Option<Date> {
    sources
        .into_iter()
        .filter_map(|bytes| json::object("", bytes).ok())
        .find_map(|object| FIELDS.iter().find_map(|field| day(object.get(*field)?.as_str()?)))
}

/// The `YYYY-MM-DD` that `text` is, or that it begins with before a time.
fn day(text: &str) -> Option<Date> {
    let (day, rest) = text.trim().split_at_checked(10)?;
    let dashed = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let alone = rest.is_empty() || rest.starts_with(['T', 't', ' ']);
    if dashed && alone { day.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_with_or_without_a_time() {
        let good = ["2026-02-05", "2026-02-05T23:30:00-05:00", "2026-02-05 08:00", " 2026-02-05T08:00:00Z "];
        for text in good {
            assert_eq!(day(text), Some(Date::constant(2026, 2, 5)), "{text}");
        }
        let bad = [
            "",
            "2026-02",
            "2026-13-05",
            "2026-02-30",
            "05/02/2026",
            "20260205",
            "2026-02-05_run",
            "2026-02-0é",
            "２０２６-02-05",
            "-026-02-05",
        ];
        for text in bad {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_source_with_a_date_wins() {
        let cases: [(&[&[u8]], Option<Date>); 6] = [
            (&[], None),
            (&[b"not json", br#"{"date": "2026-02-05"}"#], Some(Date::constant(2026, 2, 5))),
            (
                &[br#"{"accuracy": NaN, "date": "2026-02-05"}"#, br#"{"date": "2026-02-10"}"#],
                Some(Date::constant(2026, 2, 5)),
            ),
            (&[br#"{"date": "soon"}"#, br#"{"timestamp": "2026-02-10T14:30:00Z"}"#], Some(Date::constant(2026, 2, 10))),
            (&[br#"{"created_at": "2026-02-11", "training_date": "2026-02-10"}"#], Some(Date::constant(2026, 2, 10))),
            (&[br#"{"timestamp": 1770249600}"#, b"[]"], None),
        ];
        for (sources, expected) in cases {
            assert_eq!(training_date(sources.iter().copied()), expected);
        }
    }
}
