//! What one file is, judged by its first bytes and, where these leave it open, by its name.
//!
//! A model that somebody called `notes.txt` is a model; a text that somebody called `model.bin` is none. Reads no file:
//! the caller brings the first [`HEAD`] bytes and the size.

use serde_json::Value;

use super::{InspectError, json, kind, tensors};

/// So many first bytes of a file are enough to tell what it is.
pub const HEAD: usize = 4096;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Nothing in it.
    Empty,
    /// A pointer of Git LFS: a few lines that stand for a file kept elsewhere.
    LfsPointer,
    /// A pointer of ours.
    Pointer,
    /// Weights as safetensors.
    Safetensors,
    /// Weights for llama.cpp.
    Gguf,
    /// A zip or pickle written by `torch.save`.
    Torch,
    /// Another Python pickle.
    Pickle,
    /// A graph with weights for ONNX Runtime.
    Onnx,
    /// HDF5, as Keras keeps its weights.
    Hdf5,
    /// Weights of another kind: TensorFlow Lite, or what is only called like weights and is no text.
    Weights,
    /// A Jupyter notebook.
    Notebook,
    /// A table of columns: Parquet, Arrow, ORC.
    Parquet,
    /// A table of text: CSV, TSV, JSON lines.
    Csv,
    /// An array or a database: `NumPy`, SQLite.
    Array,
    /// A run of MLflow (said of its folder), or a log of `TensorBoard`.
    Run,
    /// Text of any other kind.
    Text,
    /// Bytes of any other kind.
    Binary,
}

/// The names that rules use, with what each stands for.
const NAMES: [(&str, &[Content]); 16] = {
    use Content::{
        Array, Binary, Csv, Gguf, Hdf5, Notebook, Onnx, Parquet, Pickle, Run, Safetensors, Text, Torch, Weights,
    };
    [
        ("model", &[Safetensors, Gguf, Torch, Pickle, Onnx, Hdf5, Weights]),
        ("table", &[Parquet, Csv, Array]),
        ("safetensors", &[Safetensors]),
        ("gguf", &[Gguf]),
        ("torch", &[Torch]),
        ("pickle", &[Pickle]),
        ("onnx", &[Onnx]),
        ("hdf5", &[Hdf5]),
        ("weights", &[Weights]),
        ("notebook", &[Notebook]),
        ("parquet", &[Parquet]),
        ("csv", &[Csv]),
        ("array", &[Array]),
        ("run", &[Run]),
        ("text", &[Text]),
        ("binary", &[Binary]),
    ]
};

impl Content {
    /// What a name in a rule stands for: `model`, `table`, `gguf`…
    pub fn named(name: &str) -> Option<&'static [Self]> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, contents)| *contents)
    }

    /// Every name that a rule may use.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// Whether it is a model, or a part of one.
    pub fn is_model(self) -> bool {
        NAMES[0].1.contains(&self)
    }

    /// In words, as the end of `it is …`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::LfsPointer => "a Git LFS pointer",
            Self::Pointer => "a pointer to a model",
            Self::Safetensors => "a safetensors model",
            Self::Gguf => "a GGUF model",
            Self::Torch => "a PyTorch model",
            Self::Pickle => "a Python pickle",
            Self::Onnx => "an ONNX model",
            Self::Hdf5 => "an HDF5 model",
            Self::Weights => "a model's weights",
            Self::Notebook => "a notebook",
            Self::Parquet => "a table (Parquet, Arrow or ORC)",
            Self::Csv => "a table of text",
            Self::Array => "an array or a database",
            Self::Run => "a training run's log",
            Self::Text => "text",
            Self::Binary => "binary data",
        }
    }
}

/// What a file is: `head` are its first bytes ([`HEAD`], or all of a smaller one), `size` is all of it in bytes.
pub fn sniff(path: &str, head: &[u8], size: u64) -> Content {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = extension(&name);
    if size == 0 {
        return Content::Empty;
    }
    by_magic(&name, head, size).unwrap_or_else(|| match as_text(head, size) {
        Some(text) => by_text(&name, extension, text),
        None if extension == "ipynb" => Content::Notebook,
        None if name.contains(".tfevents.") => Content::Run,
        None if kind::is_weights(&name) => Content::Weights,
        None if compressed_table(&name) => Content::Csv,
        None => Content::Binary,
    })
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// What the first bytes of a format say. Sources: the formats' own descriptions
/// (<https://huggingface.co/docs/safetensors>, <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>,
/// <https://parquet.apache.org/docs/file-format/>, <https://docs.hdfgroup.org/hdf5/>, Python's `pickletools`).
fn by_magic(name: &str, head: &[u8], size: u64) -> Option<Content> {
    let magics: [(&[u8], Content); 12] = [
        (b"GGUF", Content::Gguf),
        (b"lmgg", Content::Gguf),
        (b"tjgg", Content::Gguf),
        (b"\x89HDF\r\n\x1a\n", Content::Hdf5),
        (b"PAR1", Content::Parquet),
        (b"ARROW1", Content::Parquet),
        (b"FEA1", Content::Parquet),
        (b"ORC", Content::Parquet),
        (b"\x93NUMPY", Content::Array),
        (b"SQLite format 3\0", Content::Array),
        // The number with which `torch.save` began before it wrote zips (`torch/serialization.py`).
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", Content::Torch),
        (b"version https://git-lfs.github.com/spec/", Content::LfsPointer),
    ];
    let by_start = magics.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, content)| *content);
    match by_start {
        // Four letters may begin a text, too.
        Some(Content::Gguf | Content::Parquet) if as_text(head, size).is_some() => None,
        Some(Content::LfsPointer) if size > 1024 => None,
        Some(content) => Some(content),
        None if head.get(4..8) == Some(b"TFL3") => Some(Content::Weights),
        None if is_safetensors(head, size) => Some(Content::Safetensors),
        None if head.starts_with(b"PK\x03\x04") => in_zip(name, head),
        None if is_pickle(head) => Some(if holds(head, b"torch") { Content::Torch } else { Content::Pickle }),
        None if is_onnx(name, head, size) => Some(Content::Onnx),
        None => None,
    }
}

/// Eight bytes of header length, then the header: a JSON object.
fn is_safetensors(head: &[u8], size: u64) -> bool {
    let Some((length, header)) = head.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    (2..=tensors::HEADER_LIMIT).contains(&length) && length.saturating_add(8) <= size && header.starts_with(b"{")
}

/// `torch.save` puts `<name>/data.pkl` first; `numpy.savez` puts arrays.
fn in_zip(name: &str, head: &[u8]) -> Option<Content> {
    if holds(head, b"/data.pkl") {
        return Some(Content::Torch);
    }
    if extension(name) == "keras" {
        return Some(Content::Hdf5);
    }
    let first = head.get(30..head.len().min(256)).unwrap_or_default();
    if holds(first, b".npy") {
        return Some(Content::Array);
    }
    kind::is_weights(name).then_some(Content::Torch)
}

/// Protocols 2 to 5 begin with `PROTO n`; then an instruction that a pickle can begin with.
fn is_pickle(head: &[u8]) -> bool {
    match head {
        [0x80, 4 | 5, 0x95, ..] => true,
        [0x80, 2..=5, next, ..] => b"}](c)XUKJMNGIqBC\x8a\x8c\x88\x89\x8e".contains(next),
        _ => false,
    }
}

/// A `ModelProto` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>): field 1 is the version, field 2 the
/// producer's name, field 7 the graph, field 8 the operators.
fn is_onnx(name: &str, head: &[u8], size: u64) -> bool {
    let [0x08, 1..=32, rest @ ..] = head else { return false };
    if extension(name) == "onnx" && rest.first().is_some_and(|tag| b"\x12\x1a\x22\x28\x32\x3a\x42".contains(tag)) {
        return true;
    }
    match rest {
        [0x12, length @ 1..=64, rest @ ..] => {
            let (length, producer) = (usize::from(*length), rest);
            let printable = producer.get(..length).is_some_and(|name| name.iter().all(u8::is_ascii_graphic));
            printable && producer.get(length).is_some_and(|tag| b"\x1a\x22\x28\x32\x3a\x42".contains(tag))
        }
        [0x3a, rest @ ..] => varint(rest).is_some_and(|(length, _)| length >= 16 && length < size && length > size / 2),
        _ => false,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The first bytes as text, if they are: UTF-8 that may be cut at its end, with no NUL.
fn as_text(head: &[u8], size: u64) -> Option<&str> {
    if head.contains(&0) {
        return None;
    }
    match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && (head.len() as u64) < size => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn by_text(name: &str, extension: &str, text: &str) -> Content {
    let object = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
    let notebook = text.contains("\"cells\"") || text.contains("\"nbformat\"") || text.contains("\"cell_type\"");
    if object && (extension == "ipynb" || notebook && text.contains("\"metadata\"")) {
        return Content::Notebook;
    }
    if name.ends_with(".pointer.json") && object && text.contains("\"target\"") {
        return Content::Pointer;
    }
    match extension {
        "csv" | "tsv" | "jsonl" | "ndjson" => Content::Csv,
        "" | "txt" | "dat" | "data" if is_table(text) => Content::Csv,
        _ => Content::Text,
    }
}

/// Several lines of one number of columns.
fn is_table(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().take(8).collect();
    // The last line may be cut.
    let [first, ..] = lines[..lines.len().saturating_sub(1)] else { return false };
    let whole = &lines[..lines.len() - 1];
    [',', '\t', ';'].into_iter().any(|separator| {
        let columns = first.matches(separator).count();
        columns > 0 && whole.len() >= 3 && whole.iter().all(|line| line.matches(separator).count() == columns)
    })
}

fn compressed_table(name: &str) -> bool {
    [".csv", ".tsv", ".jsonl", ".ndjson"]
        .iter()
        .any(|table| [".gz", ".zst", ".bz2", ".xz"].iter().any(|packed| name.ends_with(&format!("{table}{packed}"))))
}

/// How many bytes of a notebook are outputs; 0 when it has none.
pub fn outputs(notebook: &[u8]) -> Result<u64, InspectError> {
    let document = json::object("the notebook", notebook)?;
    // Format 3 kept its cells in worksheets.
    let sheets = document.get("worksheets").and_then(Value::as_array).into_iter().flatten();
    let cells = sheets.filter_map(|sheet| sheet.get("cells")).chain(document.get("cells"));
    let cells = cells.filter_map(Value::as_array).flatten();
    let outputs = cells.filter_map(|cell| cell.get("outputs")?.as_array()).flatten();
    Ok(outputs.map(|output| output.to_string().len() as u64).sum())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_counts_before_the_name() {
        let safetensors = [&12u64.to_le_bytes()[..], b"{\"a\":1     }", &[0; 16]].concat();
        let zip = [b"PK\x03\x04".as_slice(), &[0; 26], b"archive/data.pkl", &[0; 8]].concat();
        let npz = [b"PK\x03\x04".as_slice(), &[0; 26], b"arr_0.npy", &[0; 8]].concat();
        let onnx = [b"\x08\x08\x12\x07pytorch\x1a\x052.1.0".as_slice(), &[0x3a, 200, 1], &[0; 200]].concat();
        let cases: [(&str, &[u8], Content); 32] = [
            ("notes.txt", &safetensors, Content::Safetensors),
            ("README", b"GGUF\x03\0\0\0", Content::Gguf),
            ("README", b"GGUF is a format", Content::Text),
            ("x.dat", &zip, Content::Torch),
            ("x.npz", &npz, Content::Array),
            ("report.docx", b"PK\x03\x04\0\0word/document.xml", Content::Binary),
            ("a.bin", b"\x80\x02}q\0.", Content::Pickle),
            ("a.pkl", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05torch", Content::Torch),
            ("photo", b"\x80\x02\xff\xff\xff", Content::Binary),
            ("m", &onnx, Content::Onnx),
            ("m.onnx", b"\x08\x07\x3a\x10aaaa\0\0", Content::Onnx),
            ("m.pb", b"\x08\x07\x3a\x10aaaa\0\0", Content::Binary),
            ("w.h5", b"\x89HDF\r\n\x1a\n\0\0", Content::Hdf5),
            ("t", b"PAR1\x15\x04\0\0", Content::Parquet),
            ("m.tflite", b"\x1c\0\0\0TFL3\0\0", Content::Weights),
            ("flax_model.msgpack", b"\x82\xa6\0\xff", Content::Weights),
            ("pytorch_model.bin", b"not weights, a note", Content::Text),
            (
                "big.safetensors",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                Content::LfsPointer,
            ),
            ("current.pointer.json", br#"{"target": "models/finetuned/b"}"#, Content::Pointer),
            ("a.ipynb", br#"{"cells": [], "nbformat": 4}"#, Content::Notebook),
            ("a.json", br#"{"cells": [{"cell_type": "code"}], "metadata": {}}"#, Content::Notebook),
            ("a.json", br#"{"cells": 3}"#, Content::Text),
            ("a.csv", b"text,label\n", Content::Csv),
            ("export", b"a,b\n1,2\n3,4\n5,6\n", Content::Csv),
            ("export.txt", b"Dear all,\nno table\nhere.\nBye", Content::Text),
            ("main.py", b"a, b\nc, d\ne, f\ng, h\n", Content::Text),
            ("train.csv.gz", b"\x1f\x8b\x08\0", Content::Csv),
            ("a.tar.gz", b"\x1f\x8b\x08\0", Content::Binary),
            ("events.out.tfevents.17", b"\x18\0\0\0", Content::Run),
            ("db", b"SQLite format 3\0\x10", Content::Array),
            ("latin", b"caf\xe9 au lait", Content::Binary),
            ("x", b"", Content::Empty),
        ];
        for (name, head, expected) in cases {
            assert_eq!(sniff(name, head, head.len() as u64), expected, "{name}");
        }
        // A text may be cut in the middle of a letter.
        assert_eq!(sniff("a.md", "caf\u{e9}".as_bytes().split_last().unwrap().1, 100), Content::Text);
    }

    #[test]
    fn outputs_of_notebooks_are_counted() {
        let empty = br#"{"cells": [{"cell_type": "code", "outputs": []}, {"cell_type": "markdown"}], "nbformat": 4}"#;
        assert_eq!(outputs(empty), Ok(0));
        let full = br#"{"cells": [{"outputs": [{"data": {"image/png": "AAAA"}}, {"x": NaN}]}]}"#;
        assert!(outputs(full).unwrap() > 20);
        let old = br#"{"worksheets": [{"cells": [{"outputs": [{"text": "hello"}]}]}], "nbformat": 3}"#;
        assert!(outputs(old).unwrap() > 10);
        assert!(outputs(b"{\"cells\": [").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(name in "[a-z.]{0,12}", head in proptest::collection::vec(any::<u8>(), 0..64), more: u32) {
            let size = head.len() as u64 + u64::from(more);
            let content = sniff(&name, &head, size);
            prop_assert_eq!(content == Content::Empty, size == 0);
            let _ = outputs(&head);
        }
    }
}
