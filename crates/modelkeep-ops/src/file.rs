//! Data sets, notebooks, results, configs and documents: filed on the store, versioned like models, shown as plain files.

pub mod list;
pub(crate) mod pack;
pub mod pull;
pub mod push;
pub mod remove;

use std::path::{Path, PathBuf};

use modelkeep_core::filed::{Place, Shape};

/// Folders on the store, and what they are called in a workspace.
const HERE: [(&str, &str); 5] = [
    ("docs/configs", "configs"),
    ("datasets", "data"),
    ("notebooks", "notebooks"),
    ("results", "results"),
    ("docs", "docs"),
];

/// Where what is filed at a place is in a workspace, below it; a packed folder is unpacked there.
pub(crate) fn local_path(place: &Place, shape: Shape) -> PathBuf {
    let text = place.as_str();
    let below = HERE.iter().find_map(|(there, here)| {
        let rest = text.strip_prefix(there)?.strip_prefix('/')?;
        Some(Path::new(here).join(rest))
    });
    let path = below.unwrap_or_else(|| PathBuf::from(text));
    match shape {
        Shape::Packed => path.with_file_name(unpacked_name(place.name())),
        Shape::File | Shape::Folder => path,
    }
}

/// Ends the name of a packed folder.
pub(crate) const TAR: &str = ".tar";

fn unpacked_name(name: &str) -> &str {
    name.strip_suffix(TAR).unwrap_or(name)
}
