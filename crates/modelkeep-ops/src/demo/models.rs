//! Small but real models: a Llama-shaped base and two LoRA adapters that `transformers` and `peft` load.
//!
//! Made from a fixed seed, so that the same demo stores the same content everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

const HIDDEN: usize = 64;
const INTERMEDIATE: usize = 128;
const LAYERS: usize = 2;
const VOCAB: usize = 320;
const RANK: usize = 8;
/// The Hub repository that the base stands for.
pub const BASE_SOURCE: &str = "meta-llama/Llama-2-7b-hf";

/// Numbers that look random and are the same everywhere (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = u16::try_from((z ^ (z >> 31)) >> 48).unwrap_or_default();
        (f32::from(unit) / f32::from(u16::MAX) - 0.5) * 0.1
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn add(tensors: &mut Tensors, numbers: &mut Numbers, name: impl Into<String>, shape: &[usize]) {
    let values = (0..shape.iter().product::<usize>()).map(|_| numbers.next()).collect();
    tensors.insert(name.into(), (shape.to_vec(), values));
}

fn write_tensors(path: &Path, tensors: &Tensors) -> Result<()> {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let broken = |error| Error::internal("a demo tensor").because(error);
    let views = tensors
        .iter()
        .map(|(name, (shape, _))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).map_err(broken)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    fs::write(path, file).map_err(|error| failed("writing", path, error))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    fs::write(path, text).map_err(|error| failed("writing", path, error))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))
}

/// Writes the base model.
pub fn write_base(folder: &Path) -> Result<()> {
    make_folder(folder)?;
    write_json(
        &folder.join("config.json"),
        &json!({
            "_name_or_path": BASE_SOURCE, "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
            "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCAB, "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "float32",
            "bos_token_id": 1, "eos_token_id": 2
        }),
    )?;
    write_json(&folder.join("generation_config.json"), &json!({"bos_token_id": 1, "eos_token_id": 2}))?;
    write_tokenizer(folder)?;
    let mut tensors = Tensors::new();
    let mut numbers = Numbers(7);
    let mut tensor = |name: String, shape: &[usize]| add(&mut tensors, &mut numbers, name, shape);
    tensor("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN]);
    for layer in 0..LAYERS {
        let at = format!("model.layers.{layer}");
        for projection in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            tensor(format!("{at}.self_attn.{projection}.weight"), &[HIDDEN, HIDDEN]);
        }
        tensor(format!("{at}.mlp.gate_proj.weight"), &[INTERMEDIATE, HIDDEN]);
        tensor(format!("{at}.mlp.up_proj.weight"), &[INTERMEDIATE, HIDDEN]);
        tensor(format!("{at}.mlp.down_proj.weight"), &[HIDDEN, INTERMEDIATE]);
        tensor(format!("{at}.input_layernorm.weight"), &[HIDDEN]);
        tensor(format!("{at}.post_attention_layernorm.weight"), &[HIDDEN]);
    }
    tensor("model.norm.weight".into(), &[HIDDEN]);
    tensor("lm_head.weight".into(), &[VOCAB, HIDDEN]);
    write_tensors(&folder.join("model.safetensors"), &tensors)
}

fn write_tokenizer(folder: &Path) -> Result<()> {
    let words = ["<unk>", "<s>", "</s>"].into_iter().map(str::to_owned);
    let vocab: BTreeMap<String, usize> =
        words.chain((3..VOCAB).map(|n| format!("token{n}"))).enumerate().map(|(id, word)| (word, id)).collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    write_json(
        &folder.join("tokenizer.json"),
        &json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        }),
    )?;
    write_json(
        &folder.join("tokenizer_config.json"),
        &json!({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}),
    )?;
    write_json(
        &folder.join("special_tokens_map.json"),
        &json!({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}),
    )
}

/// What one training run came to.
pub struct Run {
    /// Seeds its weights.
    pub seed: u64,
    /// LoRA's alpha.
    pub alpha: u32,
    /// The day it ended.
    pub trained: &'static str,
    /// Evaluation loss.
    pub eval_loss: f64,
    /// Accuracy.
    pub accuracy: f64,
    /// F1.
    pub f1: f64,
}

/// The two runs.
pub const RUNS: [(&str, Run); 2] = [
    ("banking-v1", Run { seed: 101, alpha: 16, trained: "2026-02-05", eval_loss: 0.124, accuracy: 0.938, f1: 0.935 }),
    ("banking-v2", Run { seed: 202, alpha: 32, trained: "2026-02-10", eval_loss: 0.098, accuracy: 0.952, f1: 0.950 }),
];

/// Writes the output directory of a training run, as `Trainer` and `save_pretrained` leave it.
pub fn write_adapter(folder: &Path, run: &Run) -> Result<()> {
    make_folder(folder)?;
    write_json(
        &folder.join("adapter_config.json"),
        &json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": BASE_SOURCE,
            "revision": "01c7f73d771dfac7d292323805ebc428287df4f9",
            "r": RANK, "lora_alpha": run.alpha, "lora_dropout": 0.05, "bias": "none", "inference_mode": true,
            "target_modules": ["q_proj", "v_proj"]
        }),
    )?;
    let mut tensors = Tensors::new();
    let mut numbers = Numbers(run.seed);
    for layer in 0..LAYERS {
        for projection in ["q_proj", "v_proj"] {
            let at = format!("base_model.model.model.layers.{layer}.self_attn.{projection}");
            add(&mut tensors, &mut numbers, format!("{at}.lora_A.weight"), &[RANK, HIDDEN]);
            add(&mut tensors, &mut numbers, format!("{at}.lora_B.weight"), &[HIDDEN, RANK]);
        }
    }
    write_tensors(&folder.join("adapter_model.safetensors"), &tensors)?;
    write_tokenizer(folder)?;
    write_json(
        &folder.join("benchmark.json"),
        &json!({"eval_loss": run.eval_loss, "accuracy": run.accuracy, "f1": run.f1, "training_date": run.trained}),
    )?;
    let step = |step: u32, share: f64| {
        json!({"step": step, "epoch": f64::from(step) / 100.0, "loss": run.eval_loss + (1.0 - share) * 0.9,
               "learning_rate": 2e-4 * (1.0 - share)})
    };
    write_json(
        &folder.join("trainer_state.json"),
        &json!({
            "global_step": 300, "epoch": 3.0, "best_metric": run.eval_loss,
            "log_history": [step(100, 0.4), step(200, 0.8), step(300, 1.0),
                {"step": 300, "epoch": 3.0, "eval_loss": run.eval_loss, "eval_runtime": 4.2}]
        }),
    )?;
    let card = format!("---\nbase_model: {BASE_SOURCE}\nlibrary_name: peft\n---\n\n# A LoRA adapter for banking77\n");
    let path = folder.join("README.md");
    fs::write(&path, card).map_err(|error| failed("writing", &path, error))
}
