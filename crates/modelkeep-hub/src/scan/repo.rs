//! One repository's folder: `refs/`, `snapshots/`, `blobs/`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{Blob, Broken, CachedFile, Loose, Place, Repo, Revision, is_litter};
use crate::cache::GATHERING;
use crate::evict::GOING;
use crate::folder::{Folder, Kind, LinkBuffer, Stat};
use crate::shared::{self, lexical};

/// No ref is longer; what is, is none.
const LONGEST_REF: u64 = 1024;
/// Folders nested deeper than this are taken for a loop.
const DEEPEST: usize = 64;

/// Reads the folder into `repo`.
pub(super) fn read(path: &Path, folder: &Folder, repo: &mut Repo) {
    repo.modified = folder.own_stat().map_or(0, |stat| stat.modified);
    let mut refs = refs(path, folder, repo);
    let mut found = Found { in_blobs: blobs(path, folder, repo), ..Found::default() };
    repo.gathered = gathered(path);
    let going = folder.open_in(GOING.as_ref()).and_then(|mut going| going.names());
    repo.going = going.into_iter().flatten().map(|name| name.name.to_string_lossy().into_owned()).collect();
    let Some(mut snapshots) = open(folder, "snapshots", repo, Broken::NoSnapshots) else {
        found.into(repo);
        return;
    };
    let names = snapshots.names().unwrap_or_else(|error| {
        repo.broken.push(Broken::Unreadable("snapshots".to_owned(), error.to_string()));
        Vec::new()
    });
    for name in names.iter().filter(|name| !is_litter(&name.name)) {
        let commit = name.name.to_string_lossy().into_owned();
        let through = || snapshots.stat_through(&name.name).map_or(Kind::Other, |stat| stat.kind);
        let kind = if matches!(name.kind, Kind::Link | Kind::Unknown) { through() } else { name.kind };
        match kind {
            Kind::Folder => {}
            Kind::File => {
                repo.broken.push(Broken::FileInSnapshots(commit));
                continue;
            }
            _ => {
                repo.broken.push(Broken::BrokenLink(commit, String::new()));
                continue;
            }
        }
        let opened = match name.kind {
            Kind::Link => Folder::open(&path.join("snapshots").join(&name.name)),
            _ => snapshots.open_in(&name.name),
        };
        let mut revision =
            Revision { refs: refs.remove(&commit).unwrap_or_default(), commit, files: Vec::new(), modified: 0 };
        match opened {
            Ok(mut opened) => {
                revision.modified = opened.own_stat().map_or(0, |stat| stat.modified);
                let mut reader = Reader { path, repo, found: &mut found, revision: &mut revision };
                reader.folder(&mut opened, "", 0);
            }
            Err(error) => {
                repo.broken.push(Broken::Unreadable(format!("snapshots/{}", revision.commit), error.to_string()));
            }
        }
        revision.refs.sort();
        repo.revisions.push(revision);
    }
    for (commit, names) in refs {
        repo.broken.extend(names.into_iter().map(|name| Broken::LostRef(name, commit.clone())));
    }
    repo.revisions.sort_by(|a, b| a.commit.cmp(&b.commit));
    found.into(repo);
}

/// A folder of the repository; one that is not there, or is something else, is what `otherwise` says.
fn open(folder: &Folder, name: &str, repo: &mut Repo, otherwise: Broken) -> Option<Folder> {
    match folder.open_in(name.as_ref()) {
        Ok(open) => Some(open),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            repo.broken.push(Broken::Unreadable(name.to_owned(), error.to_string()));
            None
        }
        Err(_) => {
            repo.broken.push(otherwise);
            None
        }
    }
}

/// Names by the commit that they lead to.
fn refs(path: &Path, folder: &Folder, repo: &mut Repo) -> BTreeMap<String, Vec<String>> {
    let mut refs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open = match folder.stat(OsStr::new("refs")) {
        Err(_) => return refs,
        Ok(stat) if stat.kind == Kind::File => {
            repo.broken.push(Broken::RefsIsFile);
            return refs;
        }
        Ok(_) => vec![PathBuf::from("refs")],
    };
    while let Some(below) = open.pop() {
        let opened =
            if below == Path::new("refs") { folder.open_in(below.as_ref()) } else { Folder::open(&path.join(&below)) };
        let names = opened.and_then(|mut folder| folder.names());
        let names = names.unwrap_or_else(|error| {
            repo.broken.push(Broken::Unreadable(below.display().to_string(), error.to_string()));
            Vec::new()
        });
        for name in names {
            let at = below.join(&name.name);
            if name.kind == Kind::Folder {
                if at.components().count() < DEEPEST {
                    open.push(at);
                }
            } else if !is_litter(&name.name) {
                let called = at.strip_prefix("refs").unwrap_or(&at).to_string_lossy().replace('\\', "/");
                match short_text(&path.join(&at)) {
                    Ok(commit) => refs.entry(commit).or_default().push(called),
                    Err(error) => repo.broken.push(Broken::Unreadable(format!("refs/{called}"), error.to_string())),
                }
            }
        }
    }
    refs
}

fn short_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST_REF).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Everything in `blobs/`, by name; unfinished downloads go to the repository at once.
fn blobs(path: &Path, folder: &Folder, repo: &mut Repo) -> HashMap<String, InBlobs> {
    let mut found = HashMap::new();
    // There are none where links cannot be made.
    let Ok(mut blobs) = folder.open_in(OsStr::new("blobs")) else { return found };
    while let Some(Ok(name)) = blobs.next_name() {
        let Ok(stat) = blobs.stat(&name.name) else { continue };
        if stat.kind == Kind::Folder || is_litter(&name.name) {
            continue;
        }
        let mut blob = Some(blob_of(unnamed(), &stat, &stat));
        if stat.kind == Kind::Link {
            let payload = payload(path, &blobs, &name.name);
            let through = blobs.stat_through(&name.name).ok();
            blob = through.map(|through| Blob { payload, ..blob_of(unnamed(), &through, &stat) });
        }
        let text = name.name.into_string().unwrap_or_else(|name| name.to_string_lossy().into_owned());
        if text.ends_with(".incomplete") {
            repo.incomplete.push(Loose { name: text, size: stat.size, modified: stat.modified });
        } else {
            found.insert(text, InBlobs { blob, number: None });
        }
    }
    repo.incomplete.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// What pulls of ours have left.
fn gathered(path: &Path) -> Vec<Loose> {
    let names = Folder::open(path).and_then(|mut folder| folder.names()).unwrap_or_default();
    let folders = names.into_iter().filter(|name| name.kind == Kind::Folder);
    let mut gathered: Vec<Loose> = folders
        .filter_map(|folder| folder.name.into_string().ok().filter(|name| name.starts_with(GATHERING)))
        .map(|name| {
            let (size, modified) = sum_below(&path.join(&name), 0);
            Loose { name, size, modified }
        })
        .collect();
    gathered.sort_by(|a, b| a.name.cmp(&b.name));
    gathered
}

/// Bytes below a folder that have no other name, and when the last was written.
fn sum_below(path: &Path, depth: usize) -> (u64, i64) {
    let Ok(mut folder) = Folder::open(path) else { return (0, 0) };
    let (mut size, mut modified) = (0, folder.own_stat().map_or(0, |stat| stat.modified));
    for name in folder.names().unwrap_or_default() {
        let Ok(stat) = folder.stat(&name.name) else { continue };
        let inner = match stat.kind {
            Kind::Folder if depth < DEEPEST => sum_below(&path.join(&name.name), depth + 1),
            Kind::File if stat.links <= 1 => (stat.size, stat.modified),
            _ => (0, stat.modified),
        };
        size += inner.0;
        modified = modified.max(inner.1);
    }
    (size, modified)
}

/// Its name is given to it at the end: very many are read, and each is kept once.
fn unnamed() -> Place {
    Place::Blobs(String::new())
}

fn payload(path: &Path, blobs: &Folder, name: &OsStr) -> Option<PathBuf> {
    let (link, hub) = (path.join("blobs").join(name), path.parent()?);
    shared::target(hub, &link, blobs.link(name, &mut LinkBuffer::default()).ok()?)
}

fn blob_of(place: Place, through: &Stat, own: &Stat) -> Blob {
    let frees = if own.kind == Kind::File && own.links <= 1 { own.size } else { 0 };
    Blob { place, size: through.size, frees, payload: None, accessed: through.accessed, modified: through.modified }
}

/// Something in `blobs/`.
struct InBlobs {
    /// `None`: a link to nowhere, or in the list already.
    blob: Option<Blob>,
    /// Where it stands in the list, once something links to it.
    number: Option<usize>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    in_blobs: HashMap<String, InBlobs>,
    /// Where each file that is linked and lies elsewhere stands in the list.
    elsewhere: HashMap<Place, usize>,
    list: Vec<Blob>,
    link: LinkBuffer,
}

impl Found {
    fn into(mut self, repo: &mut Repo) {
        for (name, found) in self.in_blobs {
            if let Some(number) = found.number {
                self.list[number].place = Place::Blobs(name);
            } else {
                let (size, modified) = found.blob.map_or((0, 0), |blob| (blob.frees, blob.modified));
                repo.orphans.push(Loose { name, size, modified });
            }
        }
        repo.orphans.sort_by(|a, b| a.name.cmp(&b.name));
        repo.blobs = self.list;
    }

    /// The place in the list of a file of `blobs/`.
    fn named(in_blobs: &mut HashMap<String, InBlobs>, list: &mut Vec<Blob>, name: &str) -> Option<usize> {
        let found = in_blobs.get_mut(name)?;
        if let Some(blob) = found.blob.take() {
            list.push(blob);
            found.number = Some(list.len() - 1);
        }
        found.number
    }

    /// The place in the list of any other file.
    fn other(&mut self, blob: Blob) -> usize {
        *self.elsewhere.entry(blob.place.clone()).or_insert_with(|| {
            self.list.push(blob);
            self.list.len() - 1
        })
    }
}

struct Reader<'a> {
    path: &'a Path,
    repo: &'a mut Repo,
    found: &'a mut Found,
    revision: &'a mut Revision,
}

impl Reader<'_> {
    /// Reads a folder of the snapshot; `below` is where it stands in it, with a `/` at its end.
    fn folder(&mut self, folder: &mut Folder, below: &str, depth: usize) {
        loop {
            let name = match folder.next_name() {
                None => return,
                Some(Ok(name)) => name,
                Some(Err(error)) => {
                    let what = format!("snapshots/{}/{below}", self.revision.commit);
                    return self.repo.broken.push(Broken::Unreadable(what, error.to_string()));
                }
            };
            let path = format!("{below}{}", name.name.to_string_lossy());
            let kind = match name.kind {
                Kind::Unknown => folder.stat(&name.name).map_or(Kind::Other, |stat| stat.kind),
                kind => kind,
            };
            match kind {
                Kind::Folder if depth < DEEPEST => match folder.open_in(&name.name) {
                    Ok(mut inner) => self.folder(&mut inner, &format!("{path}/"), depth + 1),
                    Err(error) => {
                        let what = format!("snapshots/{}/{path}", self.revision.commit);
                        self.repo.broken.push(Broken::Unreadable(what, error.to_string()));
                    }
                },
                Kind::Link => self.link(folder, &name.name, path, depth),
                Kind::File | Kind::Other => {
                    let place = Place::Snapshot(Path::new("snapshots").join(&self.revision.commit).join(&path));
                    let number =
                        folder.stat(&name.name).ok().map(|stat| self.found.other(blob_of(place, &stat, &stat)));
                    self.file(path, number);
                }
                Kind::Folder | Kind::Unknown => {}
            }
        }
    }

    fn link(&mut self, folder: &Folder, name: &OsStr, path: String, depth: usize) {
        let Found { in_blobs, list, link, .. } = &mut *self.found;
        let Ok(says) = folder.link(name, link) else { return };
        if let Some(blob) = name_in_blobs(says, depth) {
            let number = Found::named(in_blobs, list, blob);
            return self.file(path, number);
        }
        let through = folder.stat_through(name).ok();
        if through.is_some_and(|stat| stat.kind == Kind::Folder) {
            return;
        }
        let stands = self.path.join("snapshots").join(&self.revision.commit).join(&path);
        let number = match shared::inside(&self.path.join("blobs"), &stands, says) {
            Some(name) if name.components().count() == 1 => Found::named(in_blobs, list, &name.to_string_lossy()),
            _ => {
                let target = lexical(&stands.with_file_name("").join(says));
                let elsewhere = |stat| Blob { frees: 0, ..blob_of(Place::Elsewhere(target), &stat, &stat) };
                through.map(|stat| self.found.other(elsewhere(stat)))
            }
        };
        self.file(path, number);
    }

    fn file(&mut self, path: String, number: Option<usize>) {
        match number {
            Some(blob) => self.revision.files.push(CachedFile { path, blob }),
            None => self.repo.broken.push(Broken::BrokenLink(self.revision.commit.clone(), path)),
        }
    }
}

/// The blob's name, when the link is written as their programs write it: `../../blobs/<name>`, one `../` more for each
/// folder that the file is in.
fn name_in_blobs(says: &Path, depth: usize) -> Option<&str> {
    let mut rest = says.to_str()?;
    for _ in 0..depth + 2 {
        rest = rest.strip_prefix("../")?;
    }
    let name = rest.strip_prefix("blobs/")?;
    (!name.is_empty() && !name.contains('/') && name != "." && name != "..").then_some(name)
}
