//! The adapter's own description: `adapter_config.json`, or `lora_config.json` as the seed's tree has it.
//!
//! Keeps the fields that say what was trained on what; everything else stays in the file, which is stored anyway.
//! Does not know whether the base model is in the store: the name is recorded as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::{self, Number};
use super::{InspectError, Problem};

/// The names under which an adapter describes itself, the preferred one first.
pub const FILES: [&str; 2] = ["adapter_config.json", "lora_config.json"];

/// What an adapter says of itself. A field that is absent, null or empty in the file is `None`.
///
/// Field names and meanings are PEFT's: <https://huggingface.co/docs/peft/package_reference/lora> and
/// <https://huggingface.co/docs/peft/package_reference/config>.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Adapter {
    /// The base model: a Hub id (`meta-llama/Llama-2-7b-hf`) or a path on the machine that trained.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision; PEFT writes null unless it was given one.
    pub revision: Option<String>,
    /// The method, in PEFT's capitals: `LORA`, `IA3`, `PROMPT_TUNING`, …
    pub peft_type: Option<String>,
    /// Rank of the update matrices.
    pub r: Option<u64>,
    /// Scale of the update; the effective factor is `lora_alpha / r`.
    pub lora_alpha: Option<f64>,
    /// Dropout probability of the update, 0 to 1.
    pub lora_dropout: Option<f64>,
    /// Which modules carry an update.
    pub target_modules: Option<TargetModules>,
    /// The task, in PEFT's capitals: `CAUSAL_LM`, `SEQ_CLS`, …
    pub task_type: Option<String>,
}

/// Which modules carry an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetModules {
    /// A regular expression over module names, or a word such as `all-linear`.
    Pattern(String),
    /// Name endings, sorted and without repetition. PEFT keeps a set and writes it in any order, so order is no change.
    Names(Vec<String>),
}

impl Adapter {
    /// Reads `adapter_config.json` or `lora_config.json`.
    ///
    /// Hand-written files may also call a field `base_model_name`, `base_model`, `rank`, `alpha` or `dropout`; PEFT's
    /// name wins. Unknown fields are left out.
    ///
    /// # Errors
    /// If `bytes` is not a JSON object, or one of the known fields has another type than PEFT gives it.
    pub fn parse(bytes: &[u8]) -> Result<Self, InspectError> {
        let object = json::object(FILES[0], bytes)?;
        Ok(Self {
            base_model_name_or_path: text(&object, &["base_model_name_or_path", "base_model_name", "base_model"])?,
            revision: text(&object, &["revision"])?,
            peft_type: text(&object, &["peft_type"])?,
            r: whole(&object, &["r", "rank"])?,
            lora_alpha: real(&object, &["lora_alpha", "alpha"])?,
            lora_dropout: real(&object, &["lora_dropout", "dropout"])?,
            target_modules: modules(&object, "target_modules")?,
            task_type: text(&object, &["task_type"])?,
        })
    }

    /// Whether a base model is named without its revision, so that it cannot be told later which one it was.
    pub fn lacks_revision(&self) -> bool {
        self.base_model_name_or_path.is_some() && self.revision.is_none()
    }

    /// Whether the method is LoRA; a file that does not say is taken for it.
    pub fn is_lora(&self) -> bool {
        self.peft_type.as_deref().is_none_or(|name| name.eq_ignore_ascii_case("LORA"))
    }
}

/// The first of `names` that is there and not null.
fn field<'a>(object: &'a Map<String, Value>, names: &[&'a str]) -> Option<(&'a str, &'a Value)> {
    names.iter().filter_map(|name| Some((*name, object.get(*name)?))).find(|(_, value)| !value.is_null())
}

fn wrong(field: &str, expected: &'static str) -> InspectError {
    let field = field.to_owned();
    InspectError::new(FILES[0], Problem::Field { field, expected })
}

fn text(object: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, InspectError> {
    match field(object, names) {
        None => Ok(None),
        Some((_, Value::String(text))) if text.trim().is_empty() => Ok(None),
        Some((_, Value::String(text))) => Ok(Some(text.clone())),
        Some((name, _)) => Err(wrong(name, "text")),
    }
}

fn whole(object: &Map<String, Value>, names: &[&str]) -> Result<Option<u64>, InspectError> {
    let Some((name, value)) = field(object, names) else {
        return Ok(None);
    };
    let number = value.as_u64().ok_or_else(|| wrong(name, "a whole number"))?;
    Ok(Some(number))
}

fn real(object: &Map<String, Value>, names: &[&str]) -> Result<Option<f64>, InspectError> {
    match field(object, names).map(|(name, value)| (name, json::number(value))) {
        None => Ok(None),
        Some((_, Some(Number::Finite(number)))) => Ok(Some(number)),
        Some((name, _)) => Err(wrong(name, "a number")),
    }
}

fn modules(object: &Map<String, Value>, name: &str) -> Result<Option<TargetModules>, InspectError> {
    let expected = "a name or a list of names";
    match field(object, &[name]) {
        None => Ok(None),
        Some((_, Value::String(pattern))) => Ok(Some(TargetModules::Pattern(pattern.clone()))),
        Some((_, Value::Array(values))) => {
            let mut names = values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| wrong(name, expected))?;
            names.sort_unstable();
            names.dedup();
            Ok(Some(TargetModules::Names(names)))
        }
        Some(_) => Err(wrong(name, expected)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pefts_file_is_read() {
        let bytes = br#"{
          "alpha_pattern": {}, "auto_mapping": null,
          "base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "bias": "none",
          "lora_alpha": 32, "lora_dropout": 0.05, "peft_type": "LORA", "r": 16,
          "revision": null, "target_modules": ["v_proj", "q_proj", "v_proj"], "task_type": "CAUSAL_LM"
        }"#;
        let adapter = Adapter::parse(bytes).unwrap();
        assert_eq!(
            adapter,
            Adapter {
                base_model_name_or_path: Some("meta-llama/Llama-2-7b-hf".into()),
                revision: None,
                peft_type: Some("LORA".into()),
                r: Some(16),
                lora_alpha: Some(32.0),
                lora_dropout: Some(0.05),
                target_modules: Some(TargetModules::Names(vec!["q_proj".into(), "v_proj".into()])),
                task_type: Some("CAUSAL_LM".into()),
            }
        );
        assert!(adapter.lacks_revision() && adapter.is_lora());
        let again: Adapter = serde_json::from_str(&serde_json::to_string(&adapter).unwrap()).unwrap();
        assert_eq!(again, adapter);
    }

    #[test]
    fn a_hand_written_file_is_read() {
        let bytes =
            br#"{"base_model": "llama2-7b", "rank": 8, "alpha": 16, "dropout": 0.1, "target_modules": "all-linear"}"#;
        let adapter = Adapter::parse(bytes).unwrap();
        assert_eq!(adapter.base_model_name_or_path.as_deref(), Some("llama2-7b"));
        assert_eq!((adapter.r, adapter.lora_alpha, adapter.lora_dropout), (Some(8), Some(16.0), Some(0.1)));
        assert_eq!(adapter.target_modules, Some(TargetModules::Pattern("all-linear".into())));
    }

    #[test]
    fn absent_null_and_empty_are_none() {
        for text in ["{}", r#"{"revision": null, "r": null, "base_model_name_or_path": ""}"#] {
            let adapter = Adapter::parse(text.as_bytes()).unwrap();
            assert_eq!(adapter, Adapter::default(), "{text}");
            assert!(!adapter.lacks_revision() && adapter.is_lora());
        }
        let pinned = Adapter::parse(br#"{"base_model_name_or_path": "a", "revision": "main", "peft_type": "IA3"}"#);
        assert!(!pinned.clone().unwrap().lacks_revision() && !pinned.unwrap().is_lora());
    }

    #[test]
    fn a_wrong_type_is_named() {
        let cases = [
            (r#"{"r": "16"}"#, "`r` should be a whole number"),
            (r#"{"r": -1}"#, "`r` should be a whole number"),
            (r#"{"rank": 1.5}"#, "`rank` should be a whole number"),
            (r#"{"lora_alpha": NaN}"#, "`lora_alpha` should be a number"),
            (r#"{"revision": 7}"#, "`revision` should be text"),
            (r#"{"target_modules": [1]}"#, "`target_modules` should be a name or a list of names"),
            (r#"{"target_modules": {}}"#, "`target_modules` should be a name or a list of names"),
            ("[]", "it is not a JSON object"),
            ("{", "the JSON ends too early"),
        ];
        for (text, expected) in cases {
            let error = Adapter::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("adapter_config.json: {expected}"), "{text}");
        }
    }
}
