//! Checkpoints that a training writes while it runs: when one is finished, of which step it is, what it is called.
//!
//! A checkpoint is finished when what its framework writes last is there, every file of weights is whole by its own
//! format, and nothing changed between two looks; never because some time went by. Opens no file: what a look saw is
//! given.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::tensors::{self, Header};
use super::{json, trainer};
use crate::name::{Label, nearest_id};

/// A file as a look saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: i64,
}

/// Everything in a checkpoint's directory as a look saw it, by path from there with `/`.
pub type Look = BTreeMap<String, Seen>;

/// What is read of the files of a look before it is judged.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The JSON documents that [`is_told`] names, whole.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// Of each file of weights its first bytes (of a safetensors file the whole header), and its last [`TAIL`].
    pub edges: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

/// So many of the last bytes of a file of weights are looked at.
pub const TAIL: usize = 22;

/// What a directory is, as far as a look can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds no weights.
    NoCheckpoint,
    /// Something is still missing, and what.
    Unfinished(String),
    /// All of it is there.
    Finished,
}

/// Ends of names of files that hold weights.
const WEIGHTS: [&str; 12] =
    [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".distcp", ".h5", ".keras", ".msgpack", ".npz", ".onnx"];
/// Names like these are of files that are being written.
const BEGUN: [&str; 5] = [".tmp", ".part", ".partial", ".incomplete", ".lock"];
/// What transformers' `Trainer` leaves in a checkpoint before [`trainer::FILE`], which it writes last:
/// `Trainer._save_checkpoint` in <https://github.com/huggingface/transformers/blob/main/src/transformers/trainer.py>.
/// `scaler.pt` is no sign: `accelerate` writes one too.
const OF_TRAINER: [&str; 4] = ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state"];
/// What `accelerate.Accelerator.save_state` writes last, one a process. The first process also writes everything else;
/// the others are done early.
/// <https://github.com/huggingface/accelerate/blob/main/src/accelerate/checkpointing.py>.
const OF_ACCELERATE: &str = "random_states_0.pkl";
/// What it leaves before, as far as others do not: `optimizer.bin`, `optimizer_1.bin` and so on.
const BEFORE_ACCELERATE: [(&str, &str); 4] =
    [("optimizer", ".bin"), ("scheduler", ".bin"), ("sampler", ".bin"), ("random_states_", ".pkl")];
/// What `torch.distributed.checkpoint` writes last beside its parts, once every rank has written its own:
/// <https://docs.pytorch.org/docs/stable/distributed.checkpoint.html>.
const OF_DISTRIBUTED: &str = ".metadata";

/// Whether a file is one of weights.
pub fn is_weights(path: &str) -> bool {
    WEIGHTS.iter().any(|end| path.ends_with(end))
}

/// Whether a document tells what belongs to a checkpoint.
pub fn is_told(path: &str) -> bool {
    path == trainer::FILE || path.ends_with(".index.json")
}

/// Whether a look at a directory, or a file, of this name can show a checkpoint at all; contents are read only then.
pub fn may_be(name: &str, look: &Look) -> bool {
    !name.starts_with('.') && !name.starts_with("tmp-") && look.keys().any(|path| is_weights(path))
}

/// Judges a directory. `last` names a file that its framework is known to write last, over what is known here.
pub fn judge(name: &str, look: &Look, contents: &Contents, last: Option<&str>) -> Verdict {
    if !may_be(name, look) {
        return Verdict::NoCheckpoint;
    }
    match missing(name, look, contents, last) {
        Some(what) => Verdict::Unfinished(what),
        None => Verdict::Finished,
    }
}

fn missing(name: &str, look: &Look, contents: &Contents, last: Option<&str>) -> Option<String> {
    if let Some(begun) = look.keys().find(|path| BEGUN.iter().any(|end| path.ends_with(end))) {
        return Some(format!("{begun} is being written"));
    }
    if let Some(last) = last.filter(|last| !look.contains_key(*last)) {
        return Some(format!("{last} is not there yet"));
    }
    if last.is_none()
        && let Some(file) = written_last(name, look)
    {
        return Some(format!("{file} is not there yet"));
    }
    for (path, bytes) in &contents.documents {
        let Ok(document) = json::object(path, bytes) else { return Some(format!("{path} is not whole yet")) };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let shards = document.get("weight_map").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
        let shards: BTreeSet<&str> = shards.filter_map(Value::as_str).collect();
        let place = |shard: &str| if folder.is_empty() { shard.to_owned() } else { format!("{folder}/{shard}") };
        if let Some(shard) = shards.into_iter().map(place).find(|shard| !look.contains_key(shard)) {
            return Some(format!("{shard} is not there yet, and {path} names it"));
        }
    }
    let cut = contents
        .edges
        .iter()
        .find(|(path, (head, tail))| look.get(*path).is_some_and(|seen| !is_whole(path, seen.size, head, tail)));
    cut.map(|(path, _)| format!("{path} is not whole yet"))
}

/// The file that a known framework writes last, when it is not there.
fn written_last(name: &str, look: &Look) -> Option<String> {
    let parts = look.keys().filter(|path| path.ends_with(".distcp"));
    let whole = |part: &String| format!("{}{OF_DISTRIBUTED}", &part[..part.rfind('/').map_or(0, |slash| slash + 1)]);
    if let Some(missing) = parts.map(whole).find(|last| !look.contains_key(last)) {
        return Some(missing);
    }
    if look.contains_key(trainer::FILE) || look.contains_key(OF_ACCELERATE) {
        return None;
    }
    if look.keys().any(|path| OF_TRAINER.iter().any(|begin| path.starts_with(begin))) {
        return Some(trainer::FILE.to_owned());
    }
    let of_accelerate = |path: &String| BEFORE_ACCELERATE.iter().any(|(begin, end)| is_numbered(path, begin, end));
    if look.keys().any(of_accelerate) {
        return Some(OF_ACCELERATE.to_owned());
    }
    // Early in a save a checkpoint of the Trainer shows nothing but weights; what it is called tells it.
    let named = name.strip_prefix("checkpoint-").is_some_and(|step| step.bytes().all(|b| b.is_ascii_digit()));
    named.then(|| trainer::FILE.to_owned())
}

/// Whether a file is called `begin`, a number or none, and `end`.
fn is_numbered(path: &str, begin: &str, end: &str) -> bool {
    let number = path.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
    number.is_some_and(|number| number.bytes().all(|b| b == b'_' || b.is_ascii_digit()))
}

/// Whether a file of weights ends where its own format says: a safetensors file where its header says, a zip (what
/// `torch.save` writes) with its directory. Of other formats an empty file alone is known not to be whole.
fn is_whole(path: &str, size: u64, head: &[u8], tail: &[u8]) -> bool {
    if size == 0 {
        return false;
    }
    if path.ends_with(".safetensors") {
        let Some((first, header)) = head.split_first_chunk::<8>() else { return false };
        let Ok(length) = tensors::header_len(*first) else { return false };
        let Some(header) = usize::try_from(length).ok().and_then(|length| header.get(..length)) else { return false };
        return Header::parse(header, size).is_ok();
    }
    // "End of central directory", 22 bytes without a comment, which torch does not write:
    // https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16.
    !head.starts_with(b"PK\x03\x04") || tail.starts_with(b"PK\x05\x06")
}

/// Words that a step's number follows in the names of checkpoints.
const STEPS: [&str; 7] = ["checkpoint", "ckpt", "step", "steps", "epoch", "iter", "iteration"];

/// The step of a checkpoint of this name: `checkpoint-500`, `epoch=1-step=200`, `global_step40`.
pub fn step(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".ckpt").unwrap_or(name);
    let word = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = stem[word.len()..].parse().ok()?;
    let word = word.trim_end_matches(['-', '_', '=', '.']).to_ascii_lowercase();
    let word = word.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    STEPS.contains(&word).then_some(number)
}

/// The label for a checkpoint of this name: the name itself where it is a good one, else the nearest.
pub fn label(name: &str) -> Option<Label> {
    let stem = name.strip_suffix(".ckpt").unwrap_or(name);
    let nearest = || nearest_id(stem).and_then(|id| id.as_str().parse().ok());
    let prefixed = || nearest_id(&format!("checkpoint-{stem}")).and_then(|id| id.as_str().parse().ok());
    stem.parse().ok().or_else(nearest).or_else(prefixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[(&str, u64)]) -> Look {
        files.iter().map(|(path, size)| ((*path).to_owned(), Seen { size: *size, modified: 1 })).collect()
    }

    /// A safetensors file with one tensor of four bytes.
    fn header() -> Vec<u8> {
        let json = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        [&(json.len() as u64).to_le_bytes()[..], json].concat()
    }

    fn contents(documents: &[(&str, &str)], edges: &[(&str, &[u8], &[u8])]) -> Contents {
        Contents {
            documents: documents.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect(),
            edges: edges
                .iter()
                .map(|(path, head, tail)| ((*path).to_owned(), (head.to_vec(), tail.to_vec())))
                .collect(),
        }
    }

    #[test]
    fn a_checkpoint_of_the_trainer_is_finished_by_its_state() {
        let whole = header();
        let size = whole.len() as u64 + 4;
        let edges: [(&str, &[u8], &[u8]); 1] = [("model.safetensors", &whole, b"")];
        let mut files = vec![("model.safetensors", size)];
        let no_state = Verdict::Unfinished("trainer_state.json is not there yet".into());
        assert_eq!(judge("checkpoint-500", &look(&files), &contents(&[], &edges), None), no_state);
        files.extend([("training_args.bin", 9), ("optimizer.pt", 9)]);
        for name in ["checkpoint-500", "another-name"] {
            assert_eq!(judge(name, &look(&files), &contents(&[], &edges), None), no_state, "{name}");
        }
        files.push((trainer::FILE, 9));
        for (state, expected) in [
            ("", Verdict::Unfinished("trainer_state.json is not whole yet".into())),
            (r#"{"log_history": [{"loss": Na"#, Verdict::Unfinished("trainer_state.json is not whole yet".into())),
            (r#"{"log_history": [{"loss": NaN, "why": "a \" NaN"}], "best": -Infinity}"#, Verdict::Finished),
        ] {
            let judged = judge("checkpoint-500", &look(&files), &contents(&[(trainer::FILE, state)], &edges), None);
            assert_eq!(judged, expected, "{state}");
        }
    }

    #[test]
    fn every_shard_of_the_index_is_waited_for() {
        let whole = header();
        let size = whole.len() as u64 + 4;
        let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
        let mut files = vec![("unet/model.safetensors.index.json", 9), ("unet/model-1.safetensors", size)];
        let given = contents(
            &[("unet/model.safetensors.index.json", index)],
            &[("unet/model-1.safetensors", &whole, b""), ("unet/model-2.safetensors", &whole, b"")],
        );
        let Verdict::Unfinished(what) = judge("final", &look(&files), &given, None) else { panic!("finished") };
        assert!(what.starts_with("unet/model-2.safetensors is not there yet"), "{what}");
        files.push(("unet/model-2.safetensors", size - 1));
        let cut = Verdict::Unfinished("unet/model-2.safetensors is not whole yet".into());
        assert_eq!(judge("final", &look(&files), &given, None), cut);
        files.pop();
        files.push(("unet/model-2.safetensors", size));
        assert_eq!(judge("final", &look(&files), &given, None), Verdict::Finished);
    }

    #[test]
    fn a_pickled_file_is_whole_with_its_directory() {
        let zip: (&[u8], &[u8]) = (b"PK\x03\x04rest", b"PK\x05\x06");
        for (head, tail, whole) in [(zip.0, zip.1, true), (zip.0, b"".as_slice(), false), (b"\x80\x02", b"", true)] {
            let judged = judge("epoch-1", &look(&[("m.pt", 30)]), &contents(&[], &[("m.pt", head, tail)]), None);
            assert_eq!(judged == Verdict::Finished, whole, "{head:?} {tail:?}");
        }
    }

    #[test]
    fn other_frameworks_say_it_their_own_way() {
        let of = |files: &[(&str, u64)], last| judge("checkpoint-7", &look(files), &Contents::default(), last);
        assert_eq!(of(&[("unet/m.bin", 1), ("random_states_0.pkl", 1)], None), Verdict::Finished);
        assert!(matches!(of(&[("__0_0.distcp", 1), ("trainer_state.json", 1)], None), Verdict::Unfinished(_)));
        assert_eq!(of(&[("__0_0.distcp", 1), (".metadata", 1), ("trainer_state.json", 1)], None), Verdict::Finished);
        let parts =
            [("model/__0_0.distcp", 1), ("model/.metadata", 1), ("optimizer_0/__0_0.distcp", 1), (trainer::FILE, 1)];
        let of_optimizer = Verdict::Unfinished("optimizer_0/.metadata is not there yet".into());
        assert_eq!(of(&parts, None), of_optimizer, "each folder of parts has its own");
        assert_eq!(of(&[&parts[..], &[("optimizer_0/.metadata", 1)]].concat(), None), Verdict::Finished);
        assert_eq!(of(&[("m.bin", 1)], Some("m.bin")), Verdict::Finished);
        let done = Verdict::Unfinished("DONE is not there yet".into());
        assert_eq!(of(&[("m.bin", 1), ("trainer_state.json", 1)], Some("DONE")), done);
        assert!(matches!(of(&[("m.bin", 1), ("m.bin.tmp", 1)], Some("m.bin")), Verdict::Unfinished(_)));
        assert_eq!(of(&[("events.out.tfevents", 1)], None), Verdict::NoCheckpoint);
        for name in [".staging", "tmp-checkpoint-7"] {
            assert_eq!(judge(name, &look(&[("m.bin", 1)]), &Contents::default(), None), Verdict::NoCheckpoint);
        }
    }

    #[test]
    fn a_state_of_accelerate_is_finished_by_the_random_states_of_the_first_process() {
        // As `save_state` writes them, with mixed precision.
        let files = ["pytorch_model.bin", "optimizer.bin", "scheduler.bin", "sampler.bin", "scaler.pt"];
        let last = Verdict::Unfinished("random_states_0.pkl is not there yet".into());
        for name in ["checkpoint_0", "step_500", "epoch_1", "checkpoint-500"] {
            let judged = |names: &[&str]| {
                let files: Vec<(&str, u64)> = names.iter().map(|path| (*path, 9)).collect();
                judge(name, &look(&files), &Contents::default(), None)
            };
            for written in 2..=files.len() {
                assert_eq!(judged(&files[..written]), last, "{name}, {written} files");
            }
            assert_eq!(judged(&[&files[..], &["random_states_1.pkl"]].concat()), last, "another process is done first");
            assert_eq!(judged(&[&files[..1], &["random_states_1.pkl"]].concat()), last, "{name}");
            assert_eq!(judged(&[&files[..], &["random_states_0.pkl"]].concat()), Verdict::Finished, "{name}");
        }
    }

    #[test]
    fn names_become_labels_and_steps() {
        for (name, wanted, at) in [
            ("checkpoint-500", "checkpoint-500", Some(500)),
            ("epoch=1-step=200.ckpt", "epoch-1-step-200", Some(200)),
            ("global_step40", "global_step40", Some(40)),
            ("500", "checkpoint-500", None),
            ("last.ckpt", "last", None),
            ("Final Model", "final-model", None),
            ("banking-v2", "banking-v2", None),
        ] {
            assert_eq!(label(name).map(|label| label.to_string()).as_deref(), Some(wanted), "{name}");
            assert_eq!(step(name), at, "{name}");
        }
        assert_eq!(step("checkpoint-99999999999999999999999"), None);
    }
}
