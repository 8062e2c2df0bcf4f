//! The header of a safetensors file: which tensors it has, and how two files differ.
//!
//! The format (<https://huggingface.co/docs/safetensors/index#format>): 8 bytes, little-endian, give the length N of
//! the header; N bytes of JSON name each tensor's dtype, shape and place; the rest is the tensors, without gaps. Never
//! sees a weight: a difference is one of names, shapes and dtypes.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{InspectError, Problem};

/// Longest header the format allows, in bytes (`MAX_HEADER_SIZE` in the reference implementation).
pub const HEADER_LIMIT: u64 = 100_000_000;

/// The bytes before the header.
const PREFIX: u64 = 8;

const FILE: &str = "safetensors file";

/// One tensor, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tensor {
    /// Type of an element in the format's capitals: `F32`, `BF16`, `I8`, …
    pub dtype: String,
    /// Length of each dimension, outermost first; empty for a single number.
    pub shape: Vec<u64>,
    /// Size in the file, in bytes.
    pub bytes: u64,
}

/// A header that agrees with itself and with the size of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the writer added (`__metadata__`), often `format: pt`.
    pub metadata: BTreeMap<String, String>,
}

/// The length of the header in bytes, from the first 8 bytes of a file.
///
/// # Errors
/// If the length is less than `{}` takes or more than [`HEADER_LIMIT`], so that no caller reserves what a damaged file
/// asks for.
pub fn header_len(first: [u8; 8]) -> Result<u64, InspectError> {
    let bytes = u64::from_le_bytes(first);
    if (2..=HEADER_LIMIT).contains(&bytes) {
        return Ok(bytes);
    }
    let limit = HEADER_LIMIT;
    Err(InspectError::new(FILE, Problem::HeaderLength { bytes, limit }))
}

impl Header {
    /// Reads a header: `json` is all of it, without the 8 bytes before; `file_size` is of the whole file, in bytes.
    ///
    /// # Errors
    /// If it is not a JSON object of tensors, names one twice, or if the tensors overlap, leave a gap, do not end where
    /// the file ends, or are not as large as their shape and dtype say. The size is not checked for a dtype unknown
    /// here.
    pub fn parse(json: &[u8], file_size: u64) -> Result<Self, InspectError> {
        let damaged = |why: String| InspectError::new(FILE, Problem::Header { why });
        if json.first() != Some(&b'{') {
            return Err(damaged("it does not begin with `{`".into()));
        }
        let raw: Raw = serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        let data = file_size
            .checked_sub(PREFIX + json.len() as u64)
            .ok_or_else(|| damaged(format!("it is longer than the file, which has {file_size} bytes")))?;
        check_places(&raw.tensors, data)?;
        let mut tensors = BTreeMap::new();
        for (name, raw) in raw.tensors {
            let tensor = raw.checked().map_err(|why| {
                let name = name.clone();
                InspectError::new(FILE, Problem::Tensor { name, why })
            })?;
            tensors.insert(name, tensor);
        }
        let metadata = raw.metadata.unwrap_or_default();
        Ok(Self { tensors, metadata })
    }

    /// How many numbers the tensors hold. Packed formats (4-bit weights kept as `U8`) hold more than this says.
    pub fn parameters(&self) -> u64 {
        let elements = self.tensors.values().map(|tensor| {
            // `parse` has refused what does not fit; a `Header` made by hand may still say anything.
            elements(&tensor.shape).unwrap_or(u64::MAX)
        });
        elements.fold(0, u64::saturating_add)
    }

    /// How many tensors there are of each dtype.
    pub fn dtypes(&self) -> BTreeMap<String, u64> {
        let mut dtypes = BTreeMap::new();
        for tensor in self.tensors.values() {
            *dtypes.entry(tensor.dtype.clone()).or_default() += 1;
        }
        dtypes
    }
}

/// The tensors of a model in a few numbers, over all of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How many tensors.
    pub tensors: u64,
    /// How many numbers they hold; see [`Header::parameters`].
    pub parameters: u64,
    /// How many tensors of each dtype.
    pub dtypes: BTreeMap<String, u64>,
}

impl Summary {
    /// Counts one more file.
    pub fn add(&mut self, header: &Header) {
        self.tensors += header.tensors.len() as u64;
        self.parameters = self.parameters.saturating_add(header.parameters());
        for (dtype, tensors) in header.dtypes() {
            *self.dtypes.entry(dtype).or_default() += tensors;
        }
    }
}

/// How the tensors of two models differ; each list is in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorDiff {
    /// Names only the second has.
    pub added: Vec<String>,
    /// Names only the first has.
    pub removed: Vec<String>,
    /// Tensors of another shape or dtype.
    pub changed: Vec<TensorChange>,
}

/// A tensor that has another shape or dtype than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorChange {
    /// Its name.
    pub name: String,
    /// As the first model has it.
    pub before: Tensor,
    /// As the second model has it.
    pub after: Tensor,
}

impl TensorDiff {
    /// Whether the names, shapes and dtypes are the same. The values may differ all the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// How `after` differs from `before`. A model in several files is the union of their [`Header::tensors`].
pub fn diff(before: &BTreeMap<String, Tensor>, after: &BTreeMap<String, Tensor>) -> TensorDiff {
    let only = |one: &BTreeMap<String, Tensor>, other: &BTreeMap<String, Tensor>| {
        let names = one.keys().filter(|name| !other.contains_key(*name));
        names.cloned().collect()
    };
    let changed = before.iter().filter_map(|(name, before)| {
        let after = after.get(name)?;
        let same = before.dtype == after.dtype && before.shape == after.shape;
        (!same).then(|| TensorChange { name: name.clone(), before: before.clone(), after: after.clone() })
    });
    TensorDiff { added: only(after, before), removed: only(before, after), changed: changed.collect() }
}

/// The header as it is written, before it is believed.
struct Raw {
    tensors: BTreeMap<String, RawTensor>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Raw {
    /// As a map, but a name that stands twice is an error: the format forbids it, serde would keep the last.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Raw;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == "__metadata__" {
                        metadata.replace(map.next_value()?).is_some()
                    } else {
                        tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if twice {
                        return Err(A::Error::custom(format_args!("`{name}` stands twice")));
                    }
                }
                Ok(Raw { tensors, metadata })
            }
        }
        deserializer.deserialize_map(Names)
    }
}

impl RawTensor {
    /// The tensor, if its place is as large as its shape and dtype say; else what is wrong.
    fn checked(self) -> Result<Tensor, String> {
        let [begin, end] = self.data_offsets;
        let bytes = end - begin;
        let too_large = || format!("has a shape that overflows: {:?}", self.shape);
        let elements = elements(&self.shape).ok_or_else(too_large)?;
        if let Some(bits) = bits(&self.dtype) {
            let needed = elements.checked_mul(bits).ok_or_else(too_large)?;
            if bytes.checked_mul(8) != Some(needed) {
                let (dtype, shape) = (&self.dtype, &self.shape);
                return Err(format!("has {bytes} bytes, which is not {dtype} {shape:?}"));
            }
        }
        Ok(Tensor { dtype: self.dtype, shape: self.shape, bytes })
    }
}

/// Checks that the tensors follow each other from the first byte of the data to the last.
fn check_places(tensors: &BTreeMap<String, RawTensor>, data: u64) -> Result<(), InspectError> {
    let wrong = |name: &str, why: String| {
        let name = name.to_owned();
        InspectError::new(FILE, Problem::Tensor { name, why })
    };
    let mut places: Vec<_> = tensors.iter().map(|(name, raw)| (raw.data_offsets, name)).collect();
    places.sort_unstable();
    let mut expected = 0;
    for ([begin, end], name) in places {
        if end < begin {
            return Err(wrong(name, format!("ends at byte {end}, before its begin at {begin}")));
        }
        if end > data {
            return Err(wrong(name, format!("ends at byte {end} of data that has {data}")));
        }
        if begin != expected {
            let what = if begin < expected { "overlaps the one before" } else { "leaves a gap before it" };
            return Err(wrong(name, format!("{what}: it begins at byte {begin}, not {expected}")));
        }
        expected = end;
    }
    if expected == data {
        return Ok(());
    }
    let why = format!("the tensors end at byte {expected} of data that has {data}");
    Err(InspectError::new(FILE, Problem::Header { why }))
}

/// How many elements a shape has, if that is a number of 64 bits.
fn elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1, |product: u64, length| product.checked_mul(*length))
}

/// Bits of an element, as `Dtype::bitsize` of safetensors 0.8 has them; `None` for a dtype newer than that.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Parses a header as if its file had `data` bytes of tensors.
    fn parse(json: &str, data: u64) -> Result<Header, InspectError> {
        Header::parse(json.as_bytes(), 8 + json.len() as u64 + data)
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
        "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#;

    #[test]
    fn the_length_is_little_endian_and_bounded() {
        assert_eq!(header_len(2_u64.to_le_bytes()), Ok(2));
        assert_eq!(header_len([0x10, 0x27, 0, 0, 0, 0, 0, 0]), Ok(10_000));
        assert_eq!(header_len(HEADER_LIMIT.to_le_bytes()), Ok(HEADER_LIMIT));
        for bytes in [0, 1, HEADER_LIMIT + 1, u64::MAX] {
            assert!(header_len(bytes.to_le_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_header_is_read() {
        let header = parse(TWO, 16).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        let b = Tensor { dtype: "BF16".into(), shape: vec![2, 3], bytes: 12 };
        assert_eq!(header.tensors["b"], b);
        assert_eq!(header.parameters(), 7);
        assert_eq!(header.dtypes(), BTreeMap::from([("BF16".into(), 1), ("F32".into(), 1)]));
        assert_eq!(parse("{}", 0), Ok(Header::default()));
    }

    #[test]
    fn empty_tensors_packed_and_new_dtypes_are_read() {
        let text = r#"{"none":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},
            "none2":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615,0],"data_offsets":[3,3]},
            "packed":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]},
            "future":{"dtype":"F2","shape":[8],"data_offsets":[3,5]}}"#;
        let header = parse(text, 5).unwrap();
        assert_eq!((header.tensors.len(), header.parameters()), (4, 14));
    }

    #[test]
    fn a_damaged_header_says_why() {
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let one = tensor("F32", "[1]", "[0,4]");
        let two = |offsets: &str| {
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}}}"#
            )
        };
        let max = u64::MAX;
        let twice = r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
        let cases = [
            (String::new(), 0, "begin with `{`"),
            (" {}".into(), 0, "begin with `{`"),
            ("{".into(), 0, "EOF"),
            ("{}x".into(), 0, "trailing"),
            ("{}".into(), 1, "end at byte 0 of data that has 1"),
            (r#"{"a":1}"#.into(), 0, "invalid type"),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "invalid type"),
            (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "stands twice"),
            (twice.into(), 0, "`a` stands twice"),
            (r#"{"a":{"dtype":"U8","shape":[0]}}"#.into(), 0, "missing field `data_offsets`"),
            (format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0, "invalid type"),
            (format!(r#"{{"a":{{"x":{}"#, "[".repeat(100_000)), 0, "EOF"),
            (one.clone(), 3, "ends at byte 4 of data that has 3"),
            (one, 5, "end at byte 4 of data that has 5"),
            (tensor("F32", "[1]", "[4,0]"), 4, "before its begin"),
            (tensor("F32", "[2]", "[0,4]"), 4, "has 4 bytes, which is not F32 [2]"),
            (tensor("F4", "[3]", "[0,2]"), 2, "has 2 bytes, which is not F4 [3]"),
            (tensor("F32", "[-1]", "[0,4]"), 4, "invalid value"),
            (tensor("F32", "[1]", "[0,4,8]"), 4, "trailing"),
            (tensor("U8", "[4294967296,4294967296]", "[0,0]"), 0, "overflows"),
            (tensor("F32", &format!("[{max}]"), "[0,4]"), 4, "overflows"),
            (tensor("X1", &format!("[{max},2]"), "[0,4]"), 4, "overflows"),
            (tensor("U8", "[1]", &format!("[0,{max}]")), 1, "ends at byte 18446744073709551615"),
            (two("[2,6]"), 6, "tensor `b` overlaps the one before"),
            (two("[5,9]"), 9, "tensor `b` leaves a gap before it"),
            (two("[0,4]"), 4, "tensor `b` overlaps"),
        ];
        for (text, data, expected) in cases {
            let error = parse(&text, data).unwrap_err().to_string();
            let shown: String = text.chars().take(80).collect();
            assert!(error.contains(expected), "{shown}: {error}");
        }
        assert!(Header::parse(TWO.as_bytes(), 10).unwrap_err().to_string().contains("longer than the file"));
    }

    #[test]
    fn a_summary_adds_files() {
        let mut summary = Summary::default();
        summary.add(&parse(TWO, 16).unwrap());
        summary.add(&parse(r#"{"c":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}"#, 20).unwrap());
        let dtypes = BTreeMap::from([("BF16".into(), 1), ("F32".into(), 2)]);
        assert_eq!(summary, Summary { tensors: 3, parameters: 12, dtypes });
    }

    #[test]
    fn differences_are_of_names_shapes_and_dtypes() {
        let model = |tensors: &[(&str, &str, &[u64])]| -> BTreeMap<String, Tensor> {
            let tensor = |dtype: &str, shape: &[u64]| Tensor { dtype: dtype.into(), shape: shape.into(), bytes: 0 };
            tensors.iter().map(|(name, dtype, shape)| ((*name).into(), tensor(dtype, shape))).collect()
        };
        let before =
            model(&[("gone", "F32", &[1]), ("grown", "F32", &[8, 4]), ("same", "F32", &[2]), ("cast", "F32", &[2])]);
        let after =
            model(&[("cast", "BF16", &[2]), ("grown", "F32", &[16, 4]), ("new", "F32", &[1]), ("same", "F32", &[2])]);
        let diff_all = diff(&before, &after);
        assert_eq!((diff_all.added, diff_all.removed), (vec!["new".into()], vec!["gone".into()]));
        let names: Vec<_> = diff_all.changed.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["cast", "grown"]);
        assert_eq!(diff_all.changed[1].before.shape, [8, 4]);
        assert_eq!(diff_all.changed[1].after.shape, [16, 4]);
        assert!(diff(&before, &before).is_empty() && !diff(&before, &after).is_empty());
    }
}
