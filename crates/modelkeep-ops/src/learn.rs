//! What a push learns by itself from the files it stores: base model, LoRA parameters, metrics, dates, tensors.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use jiff::Timestamp;
use modelkeep_core::inspect::adapter::{self, Adapter};
use modelkeep_core::inspect::kind;
use modelkeep_core::inspect::metrics::{self, Source};
use modelkeep_core::inspect::tensors::{self, Header, Summary};
use modelkeep_core::inspect::{JSON_LIMIT, date, trainer};
use modelkeep_core::manifest::Facts;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use serde_json::Value;

use crate::context::day;
use crate::observe::{Directory, LocalFile};

/// What flags say, over what files say.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--base`.
    pub base: Option<String>,
    /// `--metric K=V`, in order.
    pub metrics: Vec<String>,
    /// `--metrics-file`: its name and content.
    pub metrics_file: Option<(String, Vec<u8>)>,
    /// Where a base model was just taken from.
    pub origin: Option<Origin>,
    /// The commit of the base model that was trained on, which adapters seldom say themselves.
    pub base_commit: Option<String>,
}

/// Where a base model was taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The Hub repository.
    pub repo: String,
    /// The commit.
    pub commit: String,
    /// What the card says of the licence.
    pub license: Option<String>,
}

/// What was learnt.
#[derive(Debug)]
pub struct Learnt {
    /// For the marker and the event.
    pub facts: Facts,
    /// What to tell the person.
    pub warnings: Vec<String>,
}

/// What is read of a run's files before anything is learnt: small JSON files whole, safetensors headers.
#[derive(Debug, Default)]
pub struct Material {
    /// Every file's path and the time of its last write.
    pub files: Vec<(String, Timestamp)>,
    /// The JSON files at the top of the run that may say something.
    pub json: BTreeMap<&'static str, Vec<u8>>,
    /// The headers of its own safetensors files, as their first bytes and the file's size.
    pub headers: Vec<(String, Vec<u8>, u64)>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// JSON files that may say something.
pub const JSON_FILES: [&str; 8] = [
    adapter::FILES[0],
    adapter::FILES[1],
    "config.json",
    "benchmark.json",
    "metadata.json",
    "eval_results.json",
    "all_results.json",
    trainer::FILE,
];
/// Of these, where metrics are.
const METRICS: [&str; 4] = ["benchmark.json", "eval_results.json", "all_results.json", trainer::FILE];
/// Of these, what may say when training ended.
const DATED: [&str; 3] = ["benchmark.json", "metadata.json", "all_results.json"];

/// Whether a file's safetensors header says what the run is. Checkpoints inside a run hold the same tensors again.
pub fn is_headed(path: &str) -> bool {
    path.ends_with(".safetensors") && !path.contains('/')
}

impl Material {
    /// Reads it from local files.
    pub fn gather(directory: &Directory) -> Result<Self> {
        let mut material = Self::default();
        for file in &directory.files {
            let path = file.path.as_str();
            let written = Timestamp::from_nanosecond(i128::from(file.stat.modified)).unwrap_or_default();
            material.files.push((path.to_owned(), written));
            if let Some(name) = JSON_FILES.into_iter().find(|name| *name == path) {
                if file.stat.size > JSON_LIMIT {
                    material.warnings.push(format!("{name} is too large to be read for facts"));
                } else {
                    let bytes = fs::read(&file.local).map_err(|error| failed("reading", &file.local, error))?;
                    material.json.insert(name, bytes);
                }
            }
            if is_headed(path) {
                material.headers.push((path.to_owned(), first_bytes(file)?, file.stat.size));
            }
        }
        Ok(material)
    }
}

impl Material {
    /// What an adapter says of itself.
    pub fn adapter(&self) -> Option<Adapter> {
        adapter::FILES.iter().find_map(|name| Adapter::parse(self.json.get(name)?).ok())
    }
}

/// The length of a safetensors file's header, with the eight bytes that say so; what is no header is read as far.
pub fn header_end(first: &[u8]) -> u64 {
    first.first_chunk::<8>().and_then(|first| tensors::header_len(*first).ok()).map_or(8, |length| 8 + length)
}

fn first_bytes(file: &LocalFile) -> Result<Vec<u8>> {
    let fail = |error| failed("reading", &file.local, error);
    let mut open = fs::File::open(&file.local).map_err(fail)?;
    let mut bytes = Vec::new();
    open.by_ref().take(8).read_to_end(&mut bytes).map_err(fail)?;
    let rest = header_end(&bytes).saturating_sub(bytes.len() as u64);
    open.take(rest).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Learns from what was read. A file that cannot be understood is a warning, never a failed push.
pub fn learn(material: Material, given: &Given) -> Result<Learnt> {
    let Material { files, json, headers, mut warnings } = material;
    let adapter = adapter::FILES.iter().find_map(|name| Some((*name, json.get(name)?)));
    let adapter = adapter.and_then(|(name, bytes)| match Adapter::parse(bytes) {
        Ok(adapter) => Some(adapter),
        Err(error) => {
            warnings.push(error.in_file(name).to_string());
            None
        }
    });
    let mut found = Vec::new();
    for name in METRICS {
        match json.get(name).map(|bytes| metrics::parse(name, bytes)) {
            None => {}
            Some(Ok(metrics)) => found.push(metrics),
            Some(Err(error)) => warnings.push(error.in_file(name).to_string()),
        }
    }
    if !given.metrics.is_empty() {
        let flags = metrics::parse_flags(given.metrics.iter().map(String::as_str));
        found.push(flags.map_err(|error| Error::usage(error.to_string()).hint("--metric eval_loss=0.098"))?);
    }
    if let Some((name, bytes)) = &given.metrics_file {
        let mut metrics = metrics::parse(name, bytes)
            .map_err(|error| Error::usage(error.in_file(name).to_string()).hint("--metrics-file takes a flat JSON"))?;
        metrics.source = Source::MetricsFile;
        found.push(metrics);
    }
    let merged = metrics::merge(found);
    let tensors = summarise(&headers, &mut warnings);

    let paths = || files.iter().map(|(path, _)| path.as_str());
    let model_type = kind::classify(paths(), adapter.as_ref());
    let pickled = kind::pickled(paths());
    if let Some(first) = pickled.first() {
        let more = if pickled.len() > 1 { format!(" and {} more", pickled.len() - 1) } else { String::new() };
        warnings.push(format!(
            "{first}{more}: pickled weights can run code when loaded; save_pretrained(…, safe_serialization=True) \
             writes safetensors"
        ));
    }
    let base_model = given.base.clone().or_else(|| adapter.as_ref()?.base_model_name_or_path.clone());
    let said = adapter.as_ref().and_then(|adapter| adapter.revision.clone());
    let base_revision = given.base_commit.clone().or(said);
    if given.base.is_none()
        && base_revision.is_none()
        && let Some(base) = &base_model
        && adapter.as_ref().is_some_and(Adapter::lacks_revision)
    {
        warnings.push(format!("the adapter names its base model {base} without a revision; recorded as such"));
    }
    let dated = DATED.iter().filter_map(|name| json.get(name).map(Vec::as_slice));
    let facts = Facts {
        model_type: Some(model_type.to_string()),
        base_model,
        base_revision,
        source: given
            .origin
            .as_ref()
            .map(|origin| origin.repo.clone())
            .or_else(|| json.get("config.json").and_then(|bytes| source_of(bytes))),
        source_commit: given.origin.as_ref().map(|origin| origin.commit.clone()),
        license: given.origin.as_ref().and_then(|origin| origin.license.clone()),
        training_date: date::training_date(dated).or_else(|| {
            // Of what was just taken from the Hub the files' times say when that was.
            if given.origin.is_none() { newest_weights(&files) } else { None }
        }),
        metrics: merged.metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        adapter,
        tensors,
        notes: merged.notes.iter().map(|(name, note)| format!("{name}: {note}")).collect(),
    };
    Ok(Learnt { facts, warnings })
}

/// The Hub repository that a `config.json` was saved from, when it names one (`_name_or_path`).
fn source_of(config: &[u8]) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let name = config.get("_name_or_path")?.as_str()?;
    let is_repo = name.split('/').count() == 2 && !name.starts_with(['.', '/', '~']) && !name.contains('\\');
    is_repo.then(|| name.to_owned())
}

/// The day the newest weights file was written.
fn newest_weights(files: &[(String, Timestamp)]) -> Option<jiff::civil::Date> {
    let weights = files.iter().filter(|(path, _)| kind::is_weights(path));
    weights.map(|(_, written)| *written).max().map(day)
}

fn summarise(headers: &[(String, Vec<u8>, u64)], warnings: &mut Vec<String>) -> Option<Summary> {
    let mut summary = Summary::default();
    let mut any = false;
    for (path, bytes, size) in headers {
        let json = bytes.get(8..).unwrap_or_default();
        let length = bytes.first_chunk::<8>().map_or(Ok(0), |first| tensors::header_len(*first));
        match length.and_then(|_| Header::parse(json, *size)) {
            Ok(header) => {
                summary.add(&header);
                any = true;
            }
            Err(error) => warnings.push(error.in_file(path).to_string()),
        }
    }
    any.then_some(summary)
}
