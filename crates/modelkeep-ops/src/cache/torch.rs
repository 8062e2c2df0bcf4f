//! Checkpoints that `torch.hub` downloaded.
//!
//! It calls them `resnet50-0676ba61.pth`: the digits are the first of the content's SHA-256, checked when it is
//! downloaded (`torch/hub.py`, `HASH_REGEX`). One that still has that content is what the same call fetches again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use modelkeep_core::Result;
use modelkeep_core::evict::{Again, Back, Item, Keep};
use modelkeep_hub::in_use;

use super::proof::{Known, hash};
use super::shelf::{Observed, Thing, cannot};
use crate::context::Context;

/// Puts every checkpoint on the shelf.
pub(super) async fn observe(ctx: &Context, known: &Known, hub: &Path, observed: &mut Observed) -> Result<()> {
    let folder = hub.join("checkpoints");
    let open = in_use::open_below(&folder);
    let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
    for path in files(&folder)? {
        ctx.check_stop()?;
        let metadata = path.metadata().map_err(cannot("looking at", &path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let said = digest_in(&name);
        let mut again = Again::Nowhere;
        let (mut keep, mut stored) = (None, None);
        if said.is_some() || known.may_have(metadata.len()) {
            let digest = hash(path.clone()).await?;
            keep = known.keep_files(&BTreeSet::from([digest]));
            if said.is_some_and(|said| digest.to_string().starts_with(said)) {
                again = Again::Named;
            } else if known.has(&digest) {
                stored = Some(BTreeSet::from([digest]));
            }
        }
        if open.contains(&real.join(&name)) {
            keep = Some(Keep::InUse("a process has it open".to_owned()));
        }
        let used = metadata.accessed().ok().into_iter().chain(metadata.modified().ok()).max();
        let item = Item {
            name: format!("torch/{name}"),
            parts: Vec::new(),
            back: Back { files: 1, bytes: metadata.len() },
            last_used: used.and_then(|used| Timestamp::try_from(used).ok()),
            again,
            keep,
        };
        let (thing, bytes) = (Thing::Checkpoint(path), metadata.len());
        match stored {
            Some(content) => observed.add_stored(content, thing, bytes, item),
            None => observed.add(thing, bytes, item),
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(cannot("listing", folder))?,
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|e| e.path())
        .collect();
    files.sort();
    Ok(files)
}

/// The digits between the last `-` and the extension, when there are at least eight.
fn digest_in(name: &str) -> Option<&str> {
    let (stem, _) = name.split_once('.')?;
    let (_, digits) = stem.rsplit_once('-')?;
    let hex = digits.len() >= 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_beginning_of_a_digest() {
        assert_eq!(digest_in("resnet50-0676ba61.pth"), Some("0676ba61"));
        assert_eq!(digest_in("vgg-16-0676ba61.pth.tar"), Some("0676ba61"));
        for name in ["model.pth", "resnet-50.pth", "resnet50-0676ba6.pth", "resnet50-0676BA61.pth", "0676ba61"] {
            assert_eq!(digest_in(name), None, "{name}");
        }
    }
}
