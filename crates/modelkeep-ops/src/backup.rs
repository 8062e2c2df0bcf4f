//! Notebooks of the store and of the workspace as a dated tar on a disk of one's own, with a manifest of what is in it.
//!
//! An archive is made when it would hold something that no whole one has. It is written beside, read back against its
//! manifest, and only then given its name; what was fetched before an interruption is not fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use modelkeep_core::backup::{self, Contents, Entry, FORMAT, MANIFEST, Origin};
use modelkeep_core::digest::Sha256;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::words::count;
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;

use crate::context::{Context, day};
use crate::file::pack::Hashed;
use crate::file::pull::discard;
use crate::log::View;
use crate::observe::{self, Filter, blocking};
use crate::pull::{self, destination};
use crate::report::Step;
use crate::store::Store;
use crate::{lock, tree};

/// The folder that what is fetched waits in.
const STAGING: &str = ".modelkeep-fetched";
/// Ends the name of an archive that is being written.
const PART: &str = ".part";
/// Where Jupyter keeps its own copies.
const COPIES: &str = ".ipynb_checkpoints";
/// The longest manifest, in bytes.
const LONGEST: u64 = 1 << 28;

/// Where an entry comes from.
enum Source<'a> {
    /// A file of something filed.
    Filed(&'a Model, &'a Push, String),
    /// A file of this machine.
    Local(PathBuf),
}

/// Makes an archive when one is needed; the step that was done, or would be.
pub(crate) async fn backup(ctx: &Context, store: &Store, view: &View, dry_run: bool) -> Result<Vec<Step>> {
    let folder = folder(ctx, store)?;
    let local = store.local(ctx)?;
    let _alone = if dry_run {
        None
    } else {
        Some(lock::hold(ctx, local.folder(), "backup", "another backup of notebooks is at work").await?)
    };
    let sources = sources(ctx, store, view).await?;
    let (wanted, sources): (Vec<Entry>, Vec<Source<'_>>) = sources.into_iter().unzip();
    let (names, archives) = archives(ctx, &folder)?;
    let new = backup::missing(&wanted, &archives).len();
    if new == 0 {
        return Ok(Vec::new());
    }
    let made_at = ctx.now();
    let archive = folder.join(backup::name(day(made_at), &names));
    let reason = format!("{new} of {} in no archive yet", count(wanted.len() as u64, "file"));
    let size = wanted.iter().map(|file| file.size).sum();
    let step = Step::new("archive", archive.display().to_string(), reason).bytes(size);
    if dry_run {
        return Ok(vec![step]);
    }
    let staging = folder.join(STAGING);
    let mut files = Vec::with_capacity(wanted.len());
    let mut fetched = BTreeMap::new();
    for source in &sources {
        files.push(match source {
            Source::Local(path) => path.clone(),
            Source::Filed(item, push, path) => {
                ctx.check_stop()?;
                let to = staging.join(item.id.as_str());
                if !fetched.contains_key(&item.id) {
                    let manifest = tree::manifest(ctx, store, item, push).await?;
                    pull::bring(ctx, store, view, item, push, &manifest, &to, &pull::Request::default()).await?;
                    fetched.insert(item.id.clone(), to.clone());
                }
                to.join(path)
            }
        });
    }
    forget_parts(&folder)?;
    let contents = Contents { format: FORMAT, made_at, store: store.id().to_owned(), files: wanted };
    blocking(move || write(&archive, &contents, &files)).await?;
    for to in fetched.values() {
        discard(local, to)?;
    }
    destination::remove_whole(&staging)?;
    Ok(vec![step])
}

/// The folder of archives: the setting's, else one of this tree's among the user's own data.
fn folder(ctx: &Context, store: &Store) -> Result<PathBuf> {
    if let Some(folder) = &ctx.settings.maintain.backup {
        return Ok(crate::placement::workspace_root(ctx).join(folder));
    }
    let data = ctx.env.data_dir().ok_or_else(|| {
        Error::local("there is no home directory to keep a backup in").hint("modelkeep config set maintain.backup DIR")
    })?;
    Ok(data.join("backup").join(format!("{}-{}", ctx.settings.namespace, store.id().get(..8).unwrap_or("store"))))
}

/// What is to be kept: the newest of every notebook on the store, and what the workspace alone has.
async fn sources<'a>(ctx: &Context, store: &Store, view: &'a View) -> Result<Vec<(Entry, Source<'a>)>> {
    let mut found = Vec::new();
    let on_store = view.state.filed.values().filter_map(|item| Some((item, item.place.as_ref()?, item.latest()?)));
    for (item, place, push) in on_store.filter(|(_, place, _)| place.as_str().starts_with("notebooks/")) {
        let base = push.shape.map_or_else(|| place.path(), |shape| place.base(shape));
        for file in tree::manifest(ctx, store, item, push).await?.files() {
            let path = base.join(file.path.as_str()).to_string();
            let entry = Entry { path, size: file.size, sha256: file.sha256, from: Origin::Store };
            found.push((entry, Source::Filed(item, push, file.path.to_string())));
        }
    }
    let stored: BTreeSet<Sha256> = found.iter().map(|(entry, _)| entry.sha256).collect();
    let notebooks = ctx.workspace.as_ref().map(|workspace| workspace.root.join("notebooks"));
    let here = match notebooks.filter(|folder| folder.is_dir()) {
        Some(folder) => of_workspace(ctx, store, &folder).await?,
        None => Vec::new(),
    };
    for (path, size, sha256, file) in here {
        if !stored.contains(&sha256) {
            let path = format!("workspace/notebooks/{path}");
            found.push((Entry { path, size, sha256, from: Origin::Workspace }, Source::Local(file)));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Notebooks below a folder, with their digests; known ones are not read again.
async fn of_workspace(ctx: &Context, store: &Store, folder: &Path) -> Result<Vec<(String, u64, Sha256, PathBuf)>> {
    let is_copy = |file: &Path| file.components().any(|part| part.as_os_str() == COPIES);
    let is_notebook = |file: &Path| file.extension().is_some_and(|extension| extension == "ipynb") && !is_copy(file);
    if !crate::placement::files_below(folder)?.iter().any(|file| is_notebook(file)) {
        return Ok(Vec::new());
    }
    let filter = Filter { include: vec!["*.ipynb".to_owned()], exclude: vec![COPIES.to_owned()] };
    let mut found = Vec::new();
    for file in observe::directory(folder, &filter, store.local(ctx)?)?.files {
        let sha256 = match file.sha256 {
            Some(known) => known,
            None => observe::hash(&file, ctx.meter()).await?,
        };
        found.push((file.path.to_string(), file.stat.size, sha256, file.local));
    }
    Ok(found)
}

/// The names that are taken, and what the whole archives hold.
fn archives(ctx: &Context, folder: &Path) -> Result<(BTreeSet<String>, Vec<Contents>)> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((BTreeSet::new(), Vec::new())),
        Err(error) => return Err(failed("reading", folder, error)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names: BTreeSet<String> = names.filter(|name| backup::is_archive(name)).collect();
    let mut whole = Vec::new();
    for name in &names {
        ctx.check_stop()?;
        match check(&folder.join(name)) {
            Ok(contents) => whole.push(contents),
            Err(error) => ctx.warn(format!("an archive is damaged, and does not count: {}", error.full_message())),
        }
    }
    Ok((names, whole))
}

/// Takes away what a run that was killed had begun to write.
fn forget_parts(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let begun = name.to_str().and_then(|name| name.strip_suffix(PART)).is_some_and(backup::is_archive);
        if begun {
            fs::remove_file(entry.path()).map_err(|error| failed("removing", &entry.path(), error))?;
        }
    }
    Ok(())
}

/// Writes an archive beside its name, reads it back, and gives it the name.
fn write(archive: &Path, contents: &Contents, files: &[PathBuf]) -> Result<()> {
    let writing = |error| failed("writing", archive, error);
    let folder = archive.parent().unwrap_or(archive);
    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
    let mut part = archive.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    let mut manifest = serde_json::to_vec_pretty(contents)
        .map_err(|error| Error::internal("a manifest cannot be written").because(error))?;
    manifest.push(b'\n');
    let mut tar = tar::Builder::new(std::io::BufWriter::new(fs::File::create(&part).map_err(writing)?));
    let header = |size| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(contents.made_at.as_second()).unwrap_or_default());
        header.set_entry_type(tar::EntryType::Regular);
        header
    };
    tar.append_data(&mut header(manifest.len() as u64), MANIFEST, &*manifest).map_err(writing)?;
    for (entry, file) in contents.files.iter().zip(files) {
        let open = fs::File::open(file).map_err(|error| failed("reading", file, error))?;
        // One that changed since it was looked at is found out when the archive is read back.
        tar.append_data(&mut header(entry.size), &entry.path, open.take(entry.size)).map_err(writing)?;
    }
    let file = tar.into_inner().map_err(writing)?.into_inner().map_err(|error| writing(error.into_error()))?;
    file.sync_all().map_err(writing)?;
    drop(file);
    if let Err(error) = check(&part) {
        let _ = fs::remove_file(&part);
        return Err(error.hint("a notebook may have been saved meanwhile: modelkeep maintain quarterly"));
    }
    fs::rename(&part, archive).map_err(writing)
}

/// Reads a whole archive against its manifest.
fn check(archive: &Path) -> Result<Contents> {
    let reading = |error| failed("reading", archive, error);
    let wrong = |what: &str| Error::integrity(format!("{} {what}", archive.display()));
    let mut tar = tar::Archive::new(std::io::BufReader::new(fs::File::open(archive).map_err(reading)?));
    let mut entries = tar.entries().map_err(reading)?;
    let first = entries.next().ok_or_else(|| wrong("is empty"))?.map_err(reading)?;
    if first.path_bytes() != MANIFEST.as_bytes() {
        return Err(wrong("does not begin with its manifest"));
    }
    let mut text = Vec::new();
    first.take(LONGEST).read_to_end(&mut text).map_err(reading)?;
    let contents: Contents =
        serde_json::from_slice(&text).map_err(|error| wrong("has a manifest that cannot be read").because(error))?;
    if contents.format > FORMAT {
        return Err(wrong("is of a newer format"));
    }
    for wanted in &contents.files {
        let mut entry = entries.next().ok_or_else(|| wrong("ends too early"))?.map_err(reading)?;
        let is_there = entry.path_bytes() == wanted.path.as_bytes();
        let mut hashed = Hashed::new(&mut entry);
        let size = std::io::copy(&mut hashed, &mut std::io::sink()).map_err(reading)?;
        if !is_there || size != wanted.size || hashed.digest() != wanted.sha256 {
            return Err(wrong(&format!("does not hold {} as its manifest says", wanted.path)));
        }
    }
    Ok(contents)
}
