//! What stands in a version: folders and files, as the Hub lists them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use modelkeep_hub::blob::GitSha1;
use modelkeep_hub::wire::{EntryKind, ErrorCode, TreeEntry};
use serde::{Deserialize, Serialize};

use super::lists::CommitNote;
use super::shown::Shown;
use super::{Answer, Asked, page};
use crate::app::App;
use crate::problem::Problem;

/// Bytes of a list of paths that somebody may ask about at once.
pub const LONGEST_QUESTION: usize = 8 << 20;
/// So many of them at most; no client asks about more than a repository's files.
const MOST_PATHS: usize = 20_000;
/// Entries of one page. Clients take any number; a page of everything is one round trip.
const PAGE: usize = 10_000;

/// An entry, with the version it is of when that was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(flatten)]
    entry: TreeEntry,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_commit: Option<CommitNote>,
}

/// `GET /api/models/REPO/tree/REV[/FOLDER]`.
pub async fn tree(app: &Arc<App>, asked: &Asked, repo: &str, revision: &str, folder: &str) -> Answer {
    let shown = Shown::find(app, repo, revision).await?;
    let Some(entries) = below(&shown.files(), folder, asked.is_set("recursive")) else {
        let commit = shown.commit();
        let message = format!("there is no folder `{folder}` in {repo} at {commit}");
        return Err(Problem::known(ErrorCode::EntryNotFound, message).at(&commit));
    };
    page(asked, listed(entries, &shown, asked.is_set("expand")), PAGE)
}

/// `POST /api/models/REPO/paths-info/REV`: Python sends a form, others JSON. What is not there is left out.
pub async fn paths(app: &Arc<App>, asked: &Asked, repo: &str, revision: &str, body: &[u8]) -> Answer {
    #[derive(Deserialize)]
    struct Question {
        #[serde(default)]
        paths: Vec<String>,
        #[serde(default)]
        expand: bool,
    }
    let content_type = asked.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let question = if content_type.starts_with("application/json") {
        serde_json::from_slice(body)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the question cannot be read: {error}")))?
    } else {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let expand = pairs.iter().any(|(key, value)| key == "expand" && value.eq_ignore_ascii_case("true"));
        Question { paths: pairs.into_iter().filter(|(key, _)| key == "paths").map(|(_, path)| path).collect(), expand }
    };
    if question.paths.len() > MOST_PATHS {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "that are too many paths at once"));
    }
    let shown = Shown::find(app, repo, revision).await?;
    let files = shown.files();
    let by_path: HashMap<&str, &TreeEntry> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let folders: HashSet<&str> = files.iter().flat_map(|file| above(&file.path)).collect();
    // Each is answered once, however often it is asked about.
    let mut asked_about = HashSet::new();
    let paths = question.paths.iter().map(|path| path.trim_matches('/')).filter(|path| asked_about.insert(*path));
    let entries = paths.filter_map(|path| {
        let folder = || folders.contains(path).then(|| of_folder(&files, path));
        by_path.get(path).map(|file| (*file).clone()).or_else(folder)
    });
    Ok(Json(listed(entries.collect(), &shown, question.expand)).into_response())
}

fn listed(entries: Vec<TreeEntry>, shown: &Shown, expand: bool) -> Vec<Listed> {
    let note = shown.note().filter(|_| expand);
    entries.into_iter().map(|entry| Listed { entry, last_commit: note.clone() }).collect()
}

/// The entries in a folder, or with `recursive` all below it, by path; `None` when there is no such folder.
fn below(files: &[TreeEntry], folder: &str, recursive: bool) -> Option<Vec<TreeEntry>> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let (mut entries, mut folders) = (Vec::new(), BTreeSet::new());
    let mut found = folder.is_empty();
    for file in files {
        let Some(rest) = file.path.strip_prefix(&prefix) else { continue };
        found = true;
        let above = rest.match_indices('/').map(|(at, _)| &file.path[..prefix.len() + at]);
        folders.extend(above.take(if recursive { usize::MAX } else { 1 }));
        if recursive || !rest.contains('/') {
            entries.push(file.clone());
        }
    }
    entries.extend(folders.into_iter().map(|folder| of_folder(files, folder)));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    found.then_some(entries)
}

/// The folders that a file is in, from the outermost on.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// A folder is called by what is in it, as git does; nobody compares the name with git's own.
fn of_folder(files: &[TreeEntry], folder: &str) -> TreeEntry {
    let inside = |file: &&TreeEntry| file.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let text: Vec<String> = files.iter().filter(inside).map(|file| format!("{} {}", file.blob(), file.path)).collect();
    TreeEntry {
        kind: EntryKind::Directory,
        path: folder.to_owned(),
        size: 0,
        oid: GitSha1::of(text.join("\n").as_bytes()),
        lfs: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<TreeEntry> {
        let oid = GitSha1::of(b"");
        let file = |path: &str| TreeEntry { kind: EntryKind::File, path: path.to_owned(), size: 1, oid, lfs: None };
        ["a", "d/b", "d/e/c", "d/e/f", "de/g"].map(file).to_vec()
    }

    fn names(folder: &str, recursive: bool) -> Option<Vec<String>> {
        let entries = below(&files(), folder, recursive)?;
        Some(entries.into_iter().map(|entry| entry.path).collect())
    }

    #[test]
    fn folders_hold_what_is_in_them() {
        assert_eq!(names("", false).unwrap(), ["a", "d", "de"]);
        assert_eq!(names("", true).unwrap(), ["a", "d", "d/b", "d/e", "d/e/c", "d/e/f", "de", "de/g"]);
        assert_eq!(names("d", false).unwrap(), ["d/b", "d/e"]);
        assert_eq!(names("d", true).unwrap(), ["d/b", "d/e", "d/e/c", "d/e/f"]);
        assert_eq!(names("d/e", false).unwrap(), ["d/e/c", "d/e/f"]);
        for none in ["x", "a", "..", "d/", "/d", "d/e/c"] {
            assert_eq!(names(none, true), None, "{none}");
        }
    }
}
