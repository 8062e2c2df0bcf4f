//! What sort of model a directory holds, judged by the names of its files.
//!
//! Knows the names that PEFT, transformers, llama.cpp and ONNX give their files. Never opens one: a file that is named
//! like weights is taken for weights.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adapter::{self, Adapter};

/// The sort of a model, written as the registry's `type` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ModelType {
    /// `LoRA adapter`, as in the seed's registry.
    LoraAdapter,
    /// An adapter of another method, such as `IA3 adapter`; the method in PEFT's capitals.
    Adapter(String),
    /// `full model`: weights that stand alone.
    FullModel,
    /// `GGUF`: weights for llama.cpp.
    Gguf,
    /// `ONNX`: weights and graph for ONNX Runtime.
    Onnx,
    /// `tokenizer`, without weights.
    Tokenizer,
    /// `files`: nothing of the above.
    Files,
    /// What someone else wrote into the registry.
    Other(String),
}

impl ModelType {
    /// Whether it only works together with a base model; a new model of this sort is a fine-tuned one.
    pub fn is_adapter(&self) -> bool {
        matches!(self, Self::LoraAdapter | Self::Adapter(_))
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoraAdapter => formatter.write_str("LoRA adapter"),
            Self::Adapter(method) => write!(formatter, "{method} adapter"),
            Self::FullModel => formatter.write_str("full model"),
            Self::Gguf => formatter.write_str("GGUF"),
            Self::Onnx => formatter.write_str("ONNX"),
            Self::Tokenizer => formatter.write_str("tokenizer"),
            Self::Files => formatter.write_str("files"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl From<ModelType> for String {
    fn from(model_type: ModelType) -> Self {
        model_type.to_string()
    }
}

impl From<String> for ModelType {
    fn from(text: String) -> Self {
        match text.as_str() {
            "LoRA adapter" => Self::LoraAdapter,
            "full model" => Self::FullModel,
            "GGUF" => Self::Gguf,
            "ONNX" => Self::Onnx,
            "tokenizer" => Self::Tokenizer,
            "files" => Self::Files,
            other => match other.strip_suffix(" adapter") {
                Some(method) if !method.is_empty() => Self::Adapter(method.to_owned()),
                _ => Self::Other(text),
            },
        }
    }
}

/// The sort of model that files of these paths are; `adapter` is the parsed description, if it could be parsed.
///
/// Files nearer the top decide: a directory with weights and `checkpoint-500/adapter_config.json` is a full model. At
/// one level an adapter goes before GGUF, GGUF before other weights, and ONNX after all.
pub fn classify<'a>(paths: impl IntoIterator<Item = &'a str>, adapter: Option<&Adapter>) -> ModelType {
    let depth = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
    let strongest = paths
        .into_iter()
        .filter_map(|path| {
            let sign = Sign::of(path)?;
            // A tokenizer says least, at whatever level it is.
            let level = if sign == Sign::Tokenizer { usize::MAX } else { depth(path) };
            Some((level, sign))
        })
        .min();
    match strongest {
        Some((_, Sign::Adapter)) => match adapter {
            Some(Adapter { peft_type: Some(method), .. }) if !method.eq_ignore_ascii_case("LORA") => {
                ModelType::Adapter(method.clone())
            }
            _ => ModelType::LoraAdapter,
        },
        Some((_, Sign::Gguf)) => ModelType::Gguf,
        Some((_, Sign::Weights)) => ModelType::FullModel,
        Some((_, Sign::Onnx)) => ModelType::Onnx,
        Some((_, Sign::Tokenizer)) => ModelType::Tokenizer,
        None => ModelType::Files,
    }
}

/// What the name of one file says, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Adapter,
    Gguf,
    Weights,
    Onnx,
    Tokenizer,
}

impl Sign {
    fn of(path: &str) -> Option<Self> {
        let name = file_name(path);
        if adapter::FILES.contains(&name.as_str()) || (name.starts_with("adapter_model") && is_weights(path)) {
            return Some(Self::Adapter);
        }
        match extension(&name) {
            "gguf" => Some(Self::Gguf),
            "onnx" | "onnx_data" => Some(Self::Onnx),
            _ if is_weights(path) => Some(Self::Weights),
            _ if TOKENIZERS.contains(&name.as_str()) => Some(Self::Tokenizer),
            _ => None,
        }
    }
}

const TOKENIZERS: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
];

/// How the names of pickles that hold a trainer's own state begin (transformers, accelerate); they are not the model.
const TRAINER_STATE: [&str; 6] = ["optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args"];

/// How the names of `.bin` files that are pickled weights begin (transformers, PEFT, diffusers, the seed's tree).
const BIN_WEIGHTS: [&str; 5] =
    ["pytorch_model", "adapter_model", "model", "diffusion_pytorch_model", "pytorch_lora_weights"];

/// Whether a file of this name holds a model's weights, pickled or not. A trainer's optimizer state does not count.
pub fn is_weights(path: &str) -> bool {
    let name = file_name(path);
    if is_trainer_state(&name) {
        return false;
    }
    let known = ["safetensors", "gguf", "onnx", "onnx_data", "h5", "msgpack", "tflite"];
    known.contains(&extension(&name)) || is_pickled_weights(&name)
}

/// Those of the files that are weights kept as a Python pickle, which runs code when it is loaded
/// (<https://docs.python.org/3/library/pickle.html>); safetensors does not.
pub fn pickled<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let weights = paths.into_iter();
    weights.filter(|path| is_pickled_weights(&file_name(path))).collect()
}

/// Those of the files that are pickles but not weights: `training_args.bin`, `optimizer.pt`, `*.pkl` and the like.
pub fn pickled_beside<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let others = paths.into_iter();
    others
        .filter(|path| {
            let name = file_name(path);
            match extension(&name) {
                "pkl" | "pickle" => true,
                "bin" | "pt" | "pth" | "ckpt" => is_trainer_state(&name),
                _ => false,
            }
        })
        .collect()
}

fn is_pickled_weights(name: &str) -> bool {
    match extension(name) {
        "pt" | "pth" | "ckpt" => !is_trainer_state(name),
        "bin" => BIN_WEIGHTS.iter().any(|weights| {
            // `model.bin`, `model-00001-of-00002.bin`, `model_v2.bin`, not `modelling.bin`.
            name.strip_prefix(weights).is_some_and(|rest| rest.starts_with(['.', '-', '_']))
        }),
        _ => false,
    }
}

fn is_trainer_state(name: &str) -> bool {
    TRAINER_STATE.iter().any(|state| name.starts_with(state))
}

/// The last part of a path, in small letters: `Model.SAFETENSORS` is weights too.
fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase()
}

/// What follows the last dot; nothing for a name like `.bin`.
fn extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn adapter(peft_type: Option<&str>) -> Adapter {
        Adapter { peft_type: peft_type.map(str::to_owned), ..Adapter::default() }
    }

    #[test]
    fn directories_are_classified() {
        let cases: [(&[&str], &str); 20] = [
            (&[], "files"),
            (&["README.md", "config.json", ".bin"], "files"),
            (&["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"], "LoRA adapter"),
            (&["lora_config.json", "adapter_model.bin", "metadata.json", "benchmark.json"], "LoRA adapter"),
            (&["adapter_model.bin"], "LoRA adapter"),
            (&["checkpoint-500/adapter_config.json", "trainer_state.json", "tokenizer.json"], "LoRA adapter"),
            (&["config.json", "model.safetensors", "checkpoint-500/adapter_config.json"], "full model"),
            (&["adapter_config.json", "checkpoint-500/pytorch_model.bin"], "LoRA adapter"),
            (&["config.json", "model-00001-of-00002.safetensors", "tokenizer.json"], "full model"),
            (&["model.bin"], "full model"),
            (&["unet/diffusion_pytorch_model.safetensors", "model_index.json"], "full model"),
            (&["llama-q4.GGUF", "config.json"], "GGUF"),
            (&["config.json", "model.safetensors", "onnx/model.onnx", "onnx/model-q4.gguf"], "full model"),
            (&["config.json", "model.onnx", "model.onnx_data"], "ONNX"),
            (&["config.json", "model.onnx"], "ONNX"),
            (&["onnx/model.onnx", "tokenizer.json"], "ONNX"),
            (&["tokenizer.json", "vocab.txt"], "tokenizer"),
            (&["sub/tokenizer_config.json"], "tokenizer"),
            (&["optimizer.pt", "training_args.bin", "rng_state_0.pth"], "files"),
            (&["data.bin", "modelling.bin"], "files"),
        ];
        for (paths, expected) in cases {
            assert_eq!(classify(paths.iter().copied(), None).to_string(), expected, "{paths:?}");
        }
    }

    #[test]
    fn an_adapter_is_called_by_its_method() {
        let cases = [
            (None, "LoRA adapter"),
            (Some("LORA"), "LoRA adapter"),
            (Some("lora"), "LoRA adapter"),
            (Some("IA3"), "IA3 adapter"),
            (Some("PROMPT_TUNING"), "PROMPT_TUNING adapter"),
        ];
        for (peft_type, expected) in cases {
            let sort = classify(["adapter_config.json"], Some(&adapter(peft_type)));
            assert_eq!(sort.to_string(), expected);
            assert!(sort.is_adapter());
        }
        let full = classify(["model.safetensors"], Some(&adapter(Some("IA3"))));
        assert!(full == ModelType::FullModel && !full.is_adapter());
    }

    #[test]
    fn types_survive_the_registry() {
        for text in
            ["LoRA adapter", "IA3 adapter", "full model", "GGUF", "ONNX", "tokenizer", "files", "QLoRA", " adapter"]
        {
            let sort: ModelType = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&sort).unwrap(), text);
        }
        assert_eq!(ModelType::from("QLoRA".to_owned()), ModelType::Other("QLoRA".into()));
    }

    #[test]
    fn pickles_are_told_from_weights_and_from_state() {
        // path, weights, pickled weights, another pickle
        let cases = [
            ("model.safetensors", true, false, false),
            ("a/b/Model-Q4.gguf", true, false, false),
            ("model.onnx", true, false, false),
            ("tf_model.h5", true, false, false),
            ("pytorch_model.bin", true, true, false),
            ("pytorch_model-00001-of-00002.bin", true, true, false),
            ("sub/adapter_model.bin", true, true, false),
            ("model.bin", true, true, false),
            ("consolidated.00.pth", true, true, false),
            ("last.ckpt", true, true, false),
            ("best.PT", true, true, false),
            ("training_args.bin", false, false, true),
            ("checkpoint-5/optimizer.pt", false, false, true),
            ("optimizer.safetensors", false, false, false),
            ("rng_state_1.pth", false, false, true),
            ("scheduler.pt", false, false, true),
            ("labels.pkl", false, false, true),
            ("data.bin", false, false, false),
            ("pytorch_model.bin.index.json", false, false, false),
            ("pytorch_model.bin/notes.txt", false, false, false),
            (".pt", false, false, false),
            ("", false, false, false),
        ];
        for (path, weights, pickle, beside) in cases {
            assert_eq!(is_weights(path), weights, "{path}");
            assert_eq!(pickled([path]).len(), usize::from(pickle), "{path}");
            assert_eq!(pickled_beside([path]).len(), usize::from(beside), "{path}");
        }
    }
}
