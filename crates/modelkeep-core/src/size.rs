//! Sizes in bytes, as people type and read them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// A number of bytes. `35MB` is 35·10⁶, `35MiB` is 35·2²⁰.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 12] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
    ("g", 1_000_000_000),
];

/// As a number of bytes, or as people type it.
impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Typed {
            Bytes(u64),
            Text(String),
        }
        match Typed::deserialize(deserializer)? {
            Typed::Bytes(bytes) => Ok(Self(bytes)),
            Typed::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::usage(format!("`{text}` is not a size")).hint("write it as 500MB, 2GB or 35MiB");
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        let unit = unit.trim().to_ascii_lowercase();
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        if let Ok(whole) = digits.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(wrong);
        }
        let value: f64 = digits.parse().map_err(|_| wrong())?;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes = (value * factor as f64).round() as u64;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    /// Decimal units, as file managers and Google Drive show them: `1.2 GB`, `87 MB`, `512 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes @ 0..1_000 => format!("{bytes} B"),
            bytes => {
                #[allow(clippy::cast_precision_loss)]
                let mut value = bytes as f64 / 1_000.0;
                let mut unit = "kB";
                for next in ["MB", "GB", "TB", "PB"] {
                    if value < 999.5 {
                        break;
                    }
                    value /= 1_000.0;
                    unit = next;
                }
                if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
            }
        };
        f.pad(&text)
    }
}

/// Bytes as the registry's `size_mb`: 10⁶, one decimal.
pub fn megabytes(bytes: u64) -> f64 {
    rounded(bytes, 1_000_000)
}

/// Bytes as the registry's `size_gb`: 10⁹, one decimal.
pub fn gigabytes(bytes: u64) -> f64 {
    rounded(bytes, 1_000_000_000)
}

fn rounded(bytes: u64, unit: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let tenths = (bytes as f64 / (unit as f64 / 10.0)).round();
    tenths / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_sizes_in_many_ways() {
        for (text, bytes) in [
            ("35MB", 35_000_000),
            ("35MiB", 35 << 20),
            ("2 GB", 2_000_000_000),
            ("1.5GB", 1_500_000_000),
            ("0", 0),
            ("512", 512),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes), "{text}");
        }
        for text in ["", "GB", "12 parsecs", "-1GB", "99999999999TB", "1.2.3MB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1_234, "1.2 kB"), (87_000_000, "87 MB"), (999_900_000, "1.0 GB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!((megabytes(92_340_000), gigabytes(1_500_000_000)), (92.3, 1.5));
    }
}
