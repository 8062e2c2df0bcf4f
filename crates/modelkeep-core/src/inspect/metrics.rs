//! The numbers a run was measured by: where they may stand, and which source is believed.
//!
//! Names are kept as their file has them (`eval_loss` stays `eval_loss`). Does not know what a metric means, nor
//! whether less or more is better.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{self, Number};
use super::trainer::{self, Training};
use super::{InspectError, Problem, date};

/// Metrics by name, in the order of the names. A value is null when it was NaN or infinite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Metrics(BTreeMap<String, Option<f64>>);

impl Metrics {
    /// Sets a metric; one that is NaN or infinite becomes null, as JSON has neither.
    pub fn insert(&mut self, name: impl Into<String>, value: Option<f64>) {
        self.0.insert(name.into(), value.filter(|value| value.is_finite()));
    }

    /// The metric's value: `None` if there is no such metric, `Some(None)` if it is null.
    pub fn get(&self, name: &str) -> Option<Option<f64>> {
        self.0.get(name).copied()
    }

    /// Every metric, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<String>> FromIterator<(S, Option<f64>)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (S, Option<f64>)>>(pairs: I) -> Self {
        let mut metrics = Self::default();
        for (name, value) in pairs {
            metrics.insert(name, value);
        }
        metrics
    }
}

/// Where a metric may come from, the most believed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `--metric NAME=NUMBER`.
    Flag,
    /// A file named with `--metrics-file`, or one of a name nothing is known of.
    MetricsFile,
    /// `benchmark.json`, the seed's.
    Benchmark,
    /// `eval_results.json`, written by `Trainer.save_metrics("eval", …)`.
    EvalResults,
    /// `all_results.json`, written by `Trainer.save_metrics` for all splits together.
    AllResults,
    /// `trainer_state.json`; see [`trainer`].
    TrainerState,
}

impl Source {
    /// The source that a file of this path is by its name; `None` if it is not one that is looked for.
    pub fn of(path: &str) -> Option<Self> {
        match path.rsplit(['/', '\\']).next()? {
            "benchmark.json" => Some(Self::Benchmark),
            "eval_results.json" => Some(Self::EvalResults),
            "all_results.json" => Some(Self::AllResults),
            trainer::FILE => Some(Self::TrainerState),
            _ => None,
        }
    }
}

/// What one source says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Which source it is. A caller that was told to read the file sets [`Source::MetricsFile`].
    pub source: Source,
    /// The file as the caller named it, or `--metric`.
    pub file: String,
    /// The metrics it has.
    pub metrics: Metrics,
    /// For each metric that could not be kept as it was, a sentence that says so.
    pub notes: BTreeMap<String, String>,
    /// How far the run went, if it is a `trainer_state.json`.
    pub training: Option<Training>,
}

impl Found {
    fn new(source: Source, file: &str) -> Self {
        Self { source, file: file.to_owned(), metrics: Metrics::default(), notes: BTreeMap::new(), training: None }
    }

    /// Takes a later value over an earlier one, and drops or makes the note that goes with it.
    pub(super) fn learn(&mut self, name: &str, number: Number<'_>, step: Option<u64>) {
        self.notes.remove(name);
        let value = match number {
            Number::Finite(value) => Some(value),
            Number::Word(word) => {
                let at = step.map_or_else(String::new, |step| format!(" at step {step}"));
                let note = format!("{name} is {word}{at} in {}; kept as null", self.file);
                self.notes.insert(name.to_owned(), note);
                None
            }
        };
        self.metrics.insert(name, value);
    }
}

/// Reads a file of metrics; the last part of `name` says of which kind it is.
///
/// `trainer_state.json` is read as transformers writes it. Any other file is an object of numbers; an object inside it
/// is flattened one level (`{"test": {"f1": 0.9}}` is `test.f1`), and what is not a number is skipped, as are the
/// fields that date the run ([`date::FIELDS`]).
///
/// # Errors
/// If `bytes` is not a JSON object, after Python's `NaN` and `Infinity` and a byte order mark are allowed for.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Found, InspectError> {
    let source = Source::of(name).unwrap_or(Source::MetricsFile);
    let mut found = Found::new(source, name);
    if source == Source::TrainerState {
        trainer::learn(&mut found, bytes)?;
        return Ok(found);
    }
    let object = json::object(name, bytes)?;
    for (key, value) in &object {
        if date::FIELDS.contains(&key.as_str()) {
            continue;
        }
        if let Some(number) = json::number(value) {
            found.learn(key, number, None);
        } else if let Value::Object(inner) = value {
            for (inner_key, value) in inner {
                let path = format!("{key}.{inner_key}");
                // A key that is spelt with the dot is the metric itself.
                if let (false, Some(number)) = (object.contains_key(&path), json::number(value)) {
                    found.learn(&path, number, None);
                }
            }
        }
    }
    Ok(found)
}

/// Reads one `NAME=NUMBER`; a number that is `nan` or `inf` is `None`.
///
/// # Errors
/// If there is no name, or what follows `=` is not a number as Rust and Python write it.
pub fn parse_flag(text: &str) -> Result<(String, Option<f64>), InspectError> {
    let wrong = || {
        let given = text.to_owned();
        InspectError::new("--metric", Problem::Flag { given })
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    let value: f64 = value.parse().map_err(|_| wrong())?;
    if name.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), Some(value).filter(|value| value.is_finite())))
}

/// Reads every `NAME=NUMBER` of a command line as one source; of a name given twice the last counts.
///
/// # Errors
/// As [`parse_flag`], for the first that is wrong.
pub fn parse_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> Result<Found, InspectError> {
    let mut found = Found::new(Source::Flag, "--metric");
    for text in flags {
        let (name, value) = parse_flag(text)?;
        // The word as it was typed is not worth keeping: both are "not a number one can compare".
        let number = value.map_or(Number::Word("not a finite number"), Number::Finite);
        found.learn(&name, number, None);
    }
    Ok(found)
}

/// What all sources say together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Merged {
    /// Each metric, from the first source that has it.
    pub metrics: Metrics,
    /// The notes that go with the metrics taken.
    pub notes: BTreeMap<String, String>,
    /// For each metric, the file it is from, or `--metric`.
    pub from: BTreeMap<String, String>,
}

/// Joins the sources: the first in the order of [`Source`] that has a metric wins, even if its value is null.
///
/// Sources of the same kind (`trainer_state.json` of two checkpoints) are believed in the order given.
pub fn merge(sources: impl IntoIterator<Item = Found>) -> Merged {
    let mut sources: Vec<Found> = sources.into_iter().collect();
    sources.sort_by_key(|found| found.source);
    let mut merged = Merged::default();
    for mut found in sources {
        for (name, value) in found.metrics.0 {
            if merged.from.contains_key(&name) {
                continue;
            }
            if let Some(note) = found.notes.remove(&name) {
                merged.notes.insert(name.clone(), note);
            }
            merged.from.insert(name.clone(), found.file.clone());
            merged.metrics.insert(name, value);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    type Expected<'a> = &'a [(&'a str, Option<f64>)];

    #[test]
    fn flat_files_are_read() {
        let cases: [(&str, Expected); 7] = [
            ("{}", &[]),
            (
                r#"{"eval_loss": 0.1, "n": 3, "x": -1e-3}"#,
                &[("eval_loss", Some(0.1)), ("n", Some(3.0)), ("x", Some(-1e-3))],
            ),
            (r#"{"ok": true, "name": "NaN", "no": null, "list": [1, 2]}"#, &[]),
            (
                r#"{"test": {"f1": 0.9, "deep": {"x": 1}, "ok": false, "b": NaN}}"#,
                &[("test.b", None), ("test.f1", Some(0.9))],
            ),
            (r#"{"a": {"b": 1}, "a.b": 2}"#, &[("a.b", Some(2.0))]),
            (r#"{"loss": NaN, "lo": -Infinity}"#, &[("lo", None), ("loss", None)]),
            (r#"{"timestamp": 1770249600, "date": "2026-02-05", "f1": 1}"#, &[("f1", Some(1.0))]),
        ];
        for (text, expected) in cases {
            let found = parse("benchmark.json", text.as_bytes()).unwrap();
            assert_eq!(found.metrics, expected.iter().copied().collect(), "{text}");
            assert_eq!(found.notes.len(), expected.iter().filter(|(_, value)| value.is_none()).count());
        }
    }

    #[test]
    fn a_word_leaves_a_note() {
        let found = parse("runs/eval_results.json", b"\xEF\xBB\xBF{\"eval_loss\": -Infinity}").unwrap();
        assert_eq!(found.source, Source::EvalResults);
        assert_eq!(found.notes["eval_loss"], "eval_loss is -Infinity in runs/eval_results.json; kept as null");
    }

    #[test]
    fn a_malformed_file_is_named() {
        for text in ["", "[1]", "NaN", "{\"a\": nan}", "a,b\n1,2"] {
            let error = parse("m.json", text.as_bytes()).unwrap_err();
            assert_eq!(error.file, "m.json", "{text}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(500), "]".repeat(500));
        assert!(parse("m.json", deep.as_bytes()).is_err());
    }

    #[test]
    fn flags_are_names_and_numbers() {
        let good = [
            ("accuracy=0.938", ("accuracy", Some(0.938))),
            (" a b = -1e3 ", ("a b", Some(-1000.0))),
            ("loss=nan", ("loss", None)),
            ("loss=-Infinity", ("loss", None)),
        ];
        for (text, (name, value)) in good {
            assert_eq!(parse_flag(text), Ok((name.to_owned(), value)), "{text}");
        }
        for text in ["", "accuracy", "=1", "a=", "a=1=2", "a=0,938", "a=93%", "a=1_000", "a=0x10"] {
            assert!(parse_flag(text).is_err(), "{text}");
        }
        let error = parse_flag("acc:1").unwrap_err();
        assert_eq!(error.to_string(), "--metric: `acc:1` is not NAME=NUMBER, such as accuracy=0.938");
    }

    #[test]
    fn the_last_flag_of_a_name_counts() {
        let found = parse_flags(["a=nan", "b=2", "a=3", "b=inf"]).unwrap();
        assert_eq!(found.metrics, Metrics::from_iter([("a", Some(3.0)), ("b", None)]));
        assert_eq!(found.notes["b"], "b is not a finite number in --metric; kept as null");
        assert!(parse_flags(["a=1", "b"]).is_err());
    }

    #[test]
    fn the_first_source_wins() {
        let state = br#"{"best_metric": 0.3, "log_history": [{"loss": 0.4, "eval_loss": 0.5, "f1": Infinity}]}"#;
        let found = [
            parse("trainer_state.json", state).unwrap(),
            parse("all_results.json", br#"{"eval_loss": 0.6, "f1": 0.7}"#).unwrap(),
            parse("benchmark.json", br#"{"eval_loss": NaN, "accuracy": 0.9}"#).unwrap(),
            parse_flags(["accuracy=0.95"]).unwrap(),
            parse("mine.json", br#"{"extra": 1, "accuracy": 0}"#).unwrap(),
        ];
        let merged = merge(found.clone());
        let expected = [
            ("accuracy", Some(0.95), "--metric"),
            ("best_metric", Some(0.3), "trainer_state.json"),
            ("eval_loss", None, "benchmark.json"),
            ("extra", Some(1.0), "mine.json"),
            ("f1", Some(0.7), "all_results.json"),
            ("loss", Some(0.4), "trainer_state.json"),
        ];
        let got: Vec<_> =
            merged.metrics.iter().map(|(name, value)| (name, value, merged.from[name].as_str())).collect();
        assert_eq!(got, expected);
        assert_eq!(merged.notes.keys().collect::<Vec<_>>(), ["eval_loss"]);
        assert_eq!(merge(found.into_iter().rev()), merged);
    }

    #[test]
    fn null_survives_a_round_trip() {
        let metrics = Metrics::from_iter([("a", Some(f64::NAN)), ("b", Some(0.5))]);
        let text = serde_json::to_string(&metrics).unwrap();
        assert_eq!(text, r#"{"a":null,"b":0.5}"#);
        assert_eq!(serde_json::from_str::<Metrics>(&text).unwrap(), metrics);
        assert_eq!((metrics.get("a"), metrics.get("c"), metrics.len()), (Some(None), None, 2));
    }
}
