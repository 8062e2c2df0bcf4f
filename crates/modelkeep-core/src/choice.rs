//! Which files of a Hub repository are worth bringing: one format of weights, and what belongs to it.
//!
//! Many repositories hold the same weights several times: for PyTorch as safetensors and pickled, for TensorFlow, Flax,
//! ONNX, and as their authors trained them (`original/`). `transformers` and `peft` load one of these.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A file that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LeftOut {
    /// Its path.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Why, as the end of a sentence.
    pub reason: String,
}

/// A format of weights; the first that a repository has is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Format {
    Safetensors,
    Torch,
    Gguf,
    TensorFlow,
    Flax,
    Onnx,
    Other,
}

impl Format {
    /// Of one file, by its name; `None`: no weights.
    fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let name = name.strip_suffix(".index.json").unwrap_or(&name);
        let (stem, extension) = name.rsplit_once('.')?;
        Some(match extension {
            "safetensors" => Self::Safetensors,
            // Other files of this name are no weights: `training_args.bin`.
            "bin"
                if ["pytorch_model", "model", "adapter_model", "diffusion_pytorch_model", "consolidated"]
                    .iter()
                    .any(|begin| stem.starts_with(begin)) =>
            {
                Self::Torch
            }
            "pt" | "pth" | "ckpt" if !is_of_training(stem) => Self::Torch,
            "gguf" | "ggml" => Self::Gguf,
            "h5" | "pb" | "tflite" => Self::TensorFlow,
            "msgpack" => Self::Flax,
            "onnx" | "onnx_data" => Self::Onnx,
            "ot" | "mlmodel" | "mlpackage" | "xml" if stem.contains("model") => Self::Other,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch",
            Self::Gguf => "GGUF",
            Self::TensorFlow => "TensorFlow",
            Self::Flax => "Flax",
            Self::Onnx => "ONNX",
            Self::Other => "other",
        }
    }
}

/// States of a training run, which say nothing of the model.
fn is_of_training(stem: &str) -> bool {
    ["optimizer", "scheduler", "rng_state", "scaler"].iter().any(|begin| stem.starts_with(begin))
}

/// Folders that hold the same model again, for other programs.
const AGAIN: [&str; 7] = ["original", "onnx", "openvino", "coreml", "tflite", "flax", "tf"];

/// Of these files, each with its size, those that are left out.
///
/// What is left is never without weights when the repository has some.
pub fn left_out<'a>(files: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<LeftOut> {
    let files: Vec<(&str, u64)> = files.into_iter().collect();
    let again = |path: &str| {
        let folder = path.split_once('/').map(|(folder, _)| folder.to_ascii_lowercase())?;
        AGAIN.into_iter().find(|name| *name == folder)
    };
    let formats = |of: &dyn Fn(&str) -> bool| -> BTreeSet<Format> {
        files.iter().filter(|(path, _)| of(path)).filter_map(|(path, _)| Format::of(path)).collect()
    };
    // Folders of copies count only where there is nothing else.
    let proper = formats(&|path| again(path).is_none());
    let best = proper.first().or(formats(&|_| true).first()).copied();
    let consolidated = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("consolidated."));
    let other_shape = files
        .iter()
        .any(|(path, _)| again(path).is_none() && !consolidated(path) && best.is_some() && Format::of(path) == best);
    let why = |path: &str| -> Option<String> {
        if let Some(folder) = again(path).filter(|_| !proper.is_empty()) {
            return Some(format!("{folder}/ holds the same model for other programs"));
        }
        let (format, best) = (Format::of(path)?, best?);
        if format != best {
            return Some(format!("{} weights are brought, not {} ones too", best.as_str(), format.as_str()));
        }
        (consolidated(path) && other_shape).then(|| "the same weights are there in pieces".to_owned())
    };
    let left = files
        .iter()
        .filter_map(|(path, size)| Some(LeftOut { path: (*path).to_owned(), size_bytes: *size, reason: why(path)? }));
    left.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(files: &[&'static str]) -> Vec<&'static str> {
        let left: Vec<String> =
            left_out(files.iter().map(|path| (*path, 1))).into_iter().map(|left| left.path).collect();
        files.iter().copied().filter(|path| !left.iter().any(|left| left == path)).collect()
    }

    #[test]
    fn one_format_of_weights_is_enough() {
        let rest = ["README.md", "config.json", "tokenizer.json", "training_args.bin"];
        let with = |weights: &[&'static str]| taken(&[&rest[..], weights].concat());
        let got = |weights: &[&'static str]| with(weights)[rest.len()..].to_vec();
        assert_eq!(with(&[]), rest);
        assert_eq!(
            got(&["model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx"]),
            ["model.safetensors"]
        );
        assert_eq!(got(&["pytorch_model.bin", "tf_model.h5", "model.onnx"]), ["pytorch_model.bin"]);
        assert_eq!(got(&["adapter_model.bin", "adapter_model.safetensors"]), ["adapter_model.safetensors"]);
        assert_eq!(got(&["tf_model.h5", "flax_model.msgpack"]), ["tf_model.h5"]);
        assert_eq!(got(&["q4.gguf", "q8.gguf"]), ["q4.gguf", "q8.gguf"]);
    }

    #[test]
    fn shards_keep_their_index_and_copies_go() {
        assert_eq!(
            taken(&[
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "pytorch_model-00001-of-00002.bin",
                "pytorch_model.bin.index.json",
                "original/consolidated.00.pth",
                "original/params.json",
                "consolidated.safetensors",
            ]),
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
        );
        assert_eq!(taken(&["consolidated.safetensors", "params.json"]), ["consolidated.safetensors", "params.json"]);
    }

    #[test]
    fn what_is_only_there_once_is_brought() {
        assert_eq!(taken(&["onnx/model.onnx", "config.json"]), ["onnx/model.onnx", "config.json"]);
        assert_eq!(taken(&["original/consolidated.00.pth"]), ["original/consolidated.00.pth"]);
        let left = left_out([("model.safetensors", 5), ("pytorch_model.bin", 7)]);
        assert_eq!((left.len(), left[0].size_bytes), (1, 7));
        assert!(left[0].reason.contains("PyTorch"), "{left:?}");
    }

    #[test]
    fn diffusers_keep_each_part() {
        assert_eq!(
            taken(&["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin", "vae/config.json"]),
            ["unet/diffusion_pytorch_model.safetensors", "vae/config.json"]
        );
    }
}
