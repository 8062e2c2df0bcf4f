//! How the Hub is reached from this machine, by what Hugging Face's programs read: endpoint, token, offline.

use std::fs;
use std::time::Duration;

use modelkeep_core::error::failed;
use modelkeep_core::{Error, Result};
use modelkeep_http::{Retry, Secret};
use reqwest::Url;

use crate::home::HfHome;

/// The Hub itself.
pub const HUGGING_FACE: &str = "https://huggingface.co";

/// How the Hub is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, else the file that `hf auth login` writes.
    pub token: Option<Secret>,
    /// `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`): ask nobody.
    pub offline: bool,
    /// No byte for so long, and a request is broken off and made again.
    pub stall: Duration,
    /// How often, with which waits.
    pub retry: Retry,
    /// Only the Hub's own word counts: an answer of `modelkeep serve` is none.
    pub first_hand: bool,
}

/// Longer than `huggingface_hub` waits (ten seconds): a request that is broken off too early costs more than one that is
/// noticed late.
const STALL: Duration = Duration::from_secs(30);

impl Access {
    /// Reads the environment and the token's file.
    pub fn find<'a>(var: impl Fn(&str) -> Option<&'a str>, home: &HfHome) -> Result<Self> {
        let yes = |name: &str| var(name).is_some_and(is_true);
        let endpoint = var("HF_ENDPOINT").unwrap_or(HUGGING_FACE).trim_end_matches('/').to_owned();
        let good = Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !good {
            return Err(Error::usage(format!("HF_ENDPOINT: `{endpoint}` is no address")).hint("unset HF_ENDPOINT"));
        }
        let said = var("HF_TOKEN").or_else(|| var("HUGGING_FACE_HUB_TOKEN")).map(str::to_owned);
        let token = match said {
            Some(token) => Some(token),
            None if yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            None => match fs::read_to_string(&home.token) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed("reading", &home.token, error)),
            },
        };
        let token = token.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let stall = var("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Ok(Self {
            endpoint,
            token: token.map(Secret::new),
            offline: yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
            stall: stall.filter(|stall| !stall.is_zero()).unwrap_or(STALL),
            retry: Retry::default(),
            first_hand: false,
        })
    }

    /// Whether it is the Hub itself, whose pages people can be sent to.
    pub fn is_hugging_face(&self) -> bool {
        self.endpoint == HUGGING_FACE
    }
}

/// As `huggingface_hub` reads a switch (`constants.py`, `ENV_VARS_TRUE_VALUES`).
pub fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn access(root: &Path, vars: &[(&str, &'static str)]) -> Access {
        let home = HfHome::find(|_| None, Some(root)).unwrap();
        let get = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        Access::find(get, &home).unwrap()
    }

    #[test]
    fn tokens_come_from_the_environment_else_from_the_file() {
        let root = tempfile::tempdir().unwrap();
        let token = |vars: &[(&str, &'static str)]| access(root.path(), vars).token.map(|t| t.reveal().to_owned());
        assert_eq!(token(&[]), None);
        let file = root.path().join(".cache/huggingface/token");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "hf_file\n").unwrap();
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", "hf_env")]).as_deref(), Some("hf_env"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn the_endpoint_and_the_switches_are_theirs() {
        let root = tempfile::tempdir().unwrap();
        let plain = access(root.path(), &[]);
        assert!(plain.is_hugging_face() && !plain.offline);
        let other = access(root.path(), &[("HF_ENDPOINT", "http://localhost:8000/"), ("HF_HUB_OFFLINE", "true")]);
        assert_eq!((other.endpoint.as_str(), other.offline), ("http://localhost:8000", true));
        let home = HfHome::find(|_| None, Some(root.path())).unwrap();
        let bad = |name: &str| (name == "HF_ENDPOINT").then_some("localhost:8000");
        assert!(Access::find(bad, &home).is_err());
    }
}
