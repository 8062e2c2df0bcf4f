//! Digests and random identities as types: content (`Sha256`), revisions, transactions.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// Text that should have been a digest but is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseDigestError {
    text: String,
    expected: &'static str,
}

/// Reads a value from text without keeping the text.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseDigestError>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lower-case hex digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// From its raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Its raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // A manifest has one of these for each of its files: no text of its own is made for it.
                let mut text = [0; 2 * $bytes];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                let wrong = || ParseDigestError { text: text.to_owned(), expected: $expected };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong());
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(PhantomData))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "description": $expected})
            }
        }
    };
}

hex_type!(
    /// The SHA-256 of some content, 64 lower-case hex digits as text.
    Sha256, 32, "a SHA-256 (64 lower-case hex digits)"
);
hex_type!(
    /// One content: the first 40 hex digits of the SHA-256 of its canonical manifest.
    ///
    /// Forty digits because that is what the Hugging Face cache takes for a commit.
    RevisionId, 20, "a revision id (40 lower-case hex digits)"
);
hex_type!(
    /// One act of pushing: random, never used twice.
    Txn, 16, "a push transaction (32 lower-case hex digits)"
);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl RevisionId {
    /// The revision whose canonical manifest hashes to `digest`.
    pub fn from_manifest_digest(digest: Sha256) -> Self {
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&digest.0[..20]);
        Self(bytes)
    }

    /// The twelve digits shown to people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_upper_case_is_refused() {
        let sha = Sha256::of(b"abc");
        assert_eq!(sha.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha.to_string().parse(), Ok(sha));
        assert!(sha.to_string().to_uppercase().parse::<Sha256>().is_err());
        assert!("abc".parse::<RevisionId>().is_err());
    }
}
