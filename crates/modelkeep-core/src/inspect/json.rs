//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity` as bare words, and at times a byte order mark.
//!
//! Python's `json.dump` writes those three by default (`allow_nan=True`,
//! <https://docs.python.org/3/library/json.html#infinite-and-nan-number-values>), and a diverged run is exactly the
//! one whose numbers one wants to see. Knows no field names.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{InspectError, JSON_LIMIT, Problem};

/// The words, longest first so that none hides another.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// A word stands in the parsed value as `{MARK: word}`. No program writes such a key; a file that does is read as the
/// word, which is harmless. (A string instead of an object would let a bare word stand where only a key may.)
const MARK: &str = "\u{0}";

/// A number in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number<'a> {
    /// One JSON has.
    Finite(f64),
    /// `NaN`, `Infinity` or `-Infinity`.
    Word(&'a str),
}

/// Reads a document. Bare words are kept apart from null: see [`number`] and [`cleared`].
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Value, InspectError> {
    let size = bytes.len() as u64;
    if size > JSON_LIMIT {
        let problem = Problem::TooLarge { bytes: size, limit: JSON_LIMIT };
        return Err(InspectError::new(file, problem));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(&marked(bytes)).map_err(|error| {
        // Only the line: marking the words has moved the columns.
        let problem = if error.is_eof() { Problem::EndsEarly } else { Problem::NotJson { line: error.line() } };
        InspectError::new(file, problem)
    })
}

/// Reads a document that must be an object.
pub(super) fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>, InspectError> {
    match read(file, bytes)? {
        Value::Object(object) if word(&object).is_none() => Ok(object),
        _ => Err(InspectError::new(file, Problem::NotAnObject)),
    }
}

/// The number in `value`, if it is one. Booleans, strings and null are not.
pub(super) fn number(value: &Value) -> Option<Number<'_>> {
    match value {
        Value::Number(number) => number.as_f64().map(Number::Finite),
        Value::Object(object) => word(object).map(Number::Word),
        _ => None,
    }
}

/// The value with null in place of every bare word.
pub(super) fn cleared(value: Value) -> Value {
    match value {
        Value::Object(object) if word(&object).is_some() => Value::Null,
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, cleared(value))).collect(),
        Value::Array(values) => values.into_iter().map(cleared).collect(),
        plain => plain,
    }
}

fn word(object: &Map<String, Value>) -> Option<&str> {
    match object.get(MARK) {
        Some(Value::String(word)) if object.len() == 1 && WORDS.contains(&word.as_str()) => Some(word),
        _ => None,
    }
}

/// Replaces the bare words outside of strings; anything else, faults included, is left for the parser to judge.
fn marked(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        match byte {
            b'\\' if in_string => at += 2,
            b'"' => {
                in_string = !in_string;
                at += 1;
            }
            b'N' | b'I' | b'-' if !in_string => {
                let found = WORDS.iter().find(|word| rest.starts_with(word.as_bytes()));
                at += found.map_or(1, |word| {
                    out.extend_from_slice(&bytes[copied..at]);
                    out.extend_from_slice(format!(r#"{{"\u0000":"{word}"}}"#).as_bytes());
                    copied = at + word.len();
                    word.len()
                });
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(&bytes[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn bare_words_become_null_and_strings_stay() {
        let cases = [
            ("NaN", json!(null)),
            ("[NaN, -Infinity,Infinity]", json!([null, null, null])),
            (r#"{"a": NaN, "b": [1, {"c": -Infinity}]}"#, json!({"a": null, "b": [1, {"c": null}]})),
            (r#"{"NaN": "NaN", "x": "-Infinity, NaN"}"#, json!({"NaN": "NaN", "x": "-Infinity, NaN"})),
            (r#"["a \" NaN \\", NaN, "\\\" Infinity"]"#, json!(["a \" NaN \\", null, "\\\" Infinity"])),
            (r#"["\u004eaN", "é NaN"]"#, json!(["NaN", "é NaN"])),
            ("[-1, -0.5e-3]", json!([-1, -0.5e-3])),
        ];
        for (text, expected) in cases {
            assert_eq!(cleared(read("f", text.as_bytes()).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read("f", b"\xEF\xBB\xBF{\"a\": 1}").unwrap(), json!({"a": 1}));
    }

    #[test]
    fn words_are_told_from_null() {
        let value = read("f", br#"[NaN, null, 2, true, "NaN", {"a": 1}, -Infinity]"#).unwrap();
        let numbers: Vec<_> = value.as_array().unwrap().iter().map(number).collect();
        assert_eq!(
            numbers,
            [
                Some(Number::Word("NaN")),
                None,
                Some(Number::Finite(2.0)),
                None,
                None,
                None,
                Some(Number::Word("-Infinity"))
            ]
        );
    }

    #[test]
    fn malformed_documents_are_errors() {
        let deep = "[".repeat(100_000);
        let deep_closed = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let cases = [
            ("", Problem::EndsEarly),
            ("{\"a\": NaN", Problem::EndsEarly),
            ("[\"NaN", Problem::EndsEarly),
            ("[\"a\\", Problem::EndsEarly),
            ("{NaN: 1}", Problem::NotJson { line: 1 }),
            ("[\nNaNa]", Problem::NotJson { line: 2 }),
            ("[1NaN]", Problem::NotJson { line: 1 }),
            ("[--Infinity]", Problem::NotJson { line: 1 }),
            ("[Infinit]", Problem::NotJson { line: 1 }),
            ("[1e999]", Problem::NotJson { line: 1 }),
            (deep.as_str(), Problem::NotJson { line: 1 }),
            (deep_closed.as_str(), Problem::NotJson { line: 1 }),
        ];
        for (text, problem) in cases {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(read("f", text.as_bytes()), Err(InspectError::new("f", problem)), "{shown}");
        }
        assert!(read("f", b"[\"\xff\"]").is_err());
        assert!(read("f", b"\xff\xfe{\0}\0").is_err());
    }

    #[test]
    fn only_an_object_is_an_object() {
        for text in ["[]", "1", "null", "NaN", "\"{}\""] {
            let error = object("f", text.as_bytes()).unwrap_err();
            assert_eq!(error.problem, Problem::NotAnObject, "{text}");
        }
        assert!(object("f", b"{}").unwrap().is_empty());
    }
}
