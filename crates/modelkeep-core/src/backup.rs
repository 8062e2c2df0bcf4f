//! Notebooks kept on a disk of one's own: what an archive holds, and whether another one is needed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

/// Where a file was when it was archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Filed on the store.
    Store,
    /// In the workspace alone.
    Workspace,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the archive: as on the store, or below `workspace/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its content.
    pub sha256: Sha256,
    /// Where it was.
    pub from: Origin,
}

/// What an archive holds: its first entry, [`MANIFEST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The version of this format.
    pub format: u32,
    /// When it was made.
    pub made_at: Timestamp,
    /// The id of the tree that it is of.
    pub store: String,
    /// Every file, in the order of the archive.
    pub files: Vec<Entry>,
}

/// The newest format that is read.
pub const FORMAT: u32 = 1;
/// The name of an archive's first entry.
pub const MANIFEST: &str = "manifest.json";

/// The files that no archive has in this place with this content. None: another archive would hold nothing new.
pub fn missing<'a>(wanted: &'a [Entry], archives: &[Contents]) -> Vec<&'a Entry> {
    let kept: BTreeSet<(&str, &Sha256)> =
        archives.iter().flat_map(|archive| &archive.files).map(|file| (&*file.path, &file.sha256)).collect();
    wanted.iter().filter(|file| !kept.contains(&(&*file.path, &file.sha256))).collect()
}

/// The name of an archive made on this day, when these names are taken.
pub fn name(date: Date, taken: &BTreeSet<String>) -> String {
    let nth = |n: u32| if n == 1 { format!("notebooks-{date}.tar") } else { format!("notebooks-{date}.{n}.tar") };
    let mut n = 1;
    while taken.contains(&nth(n)) {
        n += 1;
    }
    nth(n)
}

/// Whether a file of this name is an archive.
pub fn is_archive(name: &str) -> bool {
    name.strip_prefix("notebooks-").and_then(|rest| rest.strip_suffix(".tar")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: &[u8]) -> Entry {
        Entry { path: path.to_owned(), size: 1, sha256: Sha256::of(content), from: Origin::Store }
    }

    #[test]
    fn an_archive_is_needed_for_what_none_has() {
        let archive = |files: &[Entry]| Contents {
            format: FORMAT,
            made_at: Timestamp::UNIX_EPOCH,
            store: "s".to_owned(),
            files: files.to_vec(),
        };
        let (a, b, changed) = (entry("notebooks/a", b"a"), entry("notebooks/b", b"b"), entry("notebooks/a", b"c"));
        let wanted = [a.clone(), b.clone()];
        assert_eq!(missing(&wanted, &[]).len(), 2);
        let archives = [archive(std::slice::from_ref(&a)), archive(std::slice::from_ref(&b))];
        assert!(missing(&wanted, &archives).is_empty(), "each is in one");
        assert!(missing(&[], &[]).is_empty());
        assert_eq!(missing(&[changed.clone(), b], &archives), [&changed]);
        // The same content elsewhere is another file.
        assert_eq!(missing(&[entry("workspace/a", b"a")], &archives).len(), 1);
    }

    #[test]
    fn a_name_is_the_day_and_never_taken() {
        let day = jiff::civil::date(2026, 2, 11);
        let first = name(day, &BTreeSet::new());
        assert_eq!(first, "notebooks-2026-02-11.tar");
        let second = name(day, &[first.clone()].into());
        assert_eq!(second, "notebooks-2026-02-11.2.tar");
        assert!(is_archive(&first) && is_archive(&second) && !is_archive("notebooks-2026-02-11.tar.part"));
    }
}
