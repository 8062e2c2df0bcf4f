//! Where Hugging Face's programs keep things on this machine, by the same variables that they read.
//!
//! `huggingface_hub/constants.py`: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub`; `HF_HOME` is
//! `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`.

use std::path::{Component, Path, PathBuf};

use crate::shared::lexical;

/// The folders and settings of Hugging Face's programs, as this process would find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HfHome {
    /// `HF_HOME`: token, hub cache, xet cache.
    pub root: PathBuf,
    /// The cache of repositories: `models--*`, `datasets--*`.
    pub hub: PathBuf,
    /// Chunks of Xet downloads: `HF_XET_CACHE`, else `xet` in the root.
    pub xet: PathBuf,
    /// Prepared data sets of the `datasets` library: `HF_DATASETS_CACHE`, else `datasets` in the root.
    pub datasets: PathBuf,
    /// The file that holds the user's token: `HF_TOKEN_PATH`, else `token` in the root.
    pub token: PathBuf,
}

impl HfHome {
    /// Finds them, given the environment and the user's home.
    pub fn find<'a>(var: impl Fn(&str) -> Option<&'a str>, home: Option<&Path>) -> Option<Self> {
        let at = |name: &str| var(name).and_then(|value| expand(value, &var, home));
        let root = at("HF_HOME").or_else(|| {
            let cache = at("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")))?;
            Some(cache.join("huggingface"))
        })?;
        Some(Self {
            hub: at("HF_HUB_CACHE").or_else(|| at("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| root.join("hub")),
            xet: at("HF_XET_CACHE").unwrap_or_else(|| root.join("xet")),
            datasets: at("HF_DATASETS_CACHE").unwrap_or_else(|| root.join("datasets")),
            token: at("HF_TOKEN_PATH").unwrap_or_else(|| root.join("token")),
            root,
        })
    }
}

/// A path without `..`, leading where the system would go: through what stands there already, and by its text from there on.
pub fn plain(path: &Path) -> PathBuf {
    if !path.components().any(|part| part == Component::ParentDir) {
        return path.to_owned();
    }
    let real = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    real.map_or_else(|| lexical(path), |(real, below)| lexical(&real.join(below)))
}

/// A path as Python's `expandvars` and `expanduser` read it: `~` in front, `$NAME` and `${NAME}` anywhere. A variable
/// that is not set stays as it is written.
fn expand<'a>(text: &str, var: &impl Fn(&str) -> Option<&'a str>, home: Option<&Path>) -> Option<PathBuf> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, end) = braced.map_or_else(
            || {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], end)
            },
            |(name, _)| (name, name.len() + 2),
        );
        expanded.push_str(var(name).unwrap_or(&rest[at..=at + end]));
        rest = &after[end..];
    }
    expanded.push_str(rest);
    match expanded.strip_prefix('~') {
        Some("") => home.map(Path::to_owned),
        Some(below) if below.starts_with('/') => home.map(|home| home.join(&below[1..])),
        _ => Some(PathBuf::from(expanded)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(vars: &[(&str, &'static str)]) -> HfHome {
        let get = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        HfHome::find(get, Some(Path::new("/home/me"))).expect("there is a home")
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let hub = |vars: &[(&str, &'static str)]| found(vars).hub;
        assert_eq!(hub(&[]), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(hub(&[("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        assert_eq!(hub(&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        assert_eq!(hub(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/new"));
    }

    #[cfg(unix)]
    #[test]
    fn steps_up_go_where_the_system_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        assert_eq!(plain(&root.join("link/../hub")), root.join("a/hub"));
        assert_eq!(plain(&root.join("a/b/../new/../hub")), root.join("a/hub"));
        assert_eq!(plain(&root.join("link/hub")), root.join("link/hub"));
    }

    #[test]
    fn home_and_variables_are_expanded_as_in_python() {
        let root = |value| found(&[("HF_HOME", value), ("WORK", "/w")]).root;
        assert_eq!(root("~/hf"), Path::new("/home/me/hf"));
        assert_eq!(root("~"), Path::new("/home/me"));
        assert_eq!(root("$WORK/hf"), Path::new("/w/hf"));
        assert_eq!(root("${WORK}hf"), Path::new("/whf"));
        assert_eq!(root("/a/$NOT_SET/b"), Path::new("/a/$NOT_SET/b"));
        assert_eq!(root("/a/${NOT_SET}/b"), Path::new("/a/${NOT_SET}/b"));
    }
}
