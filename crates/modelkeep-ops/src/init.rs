//! Make a workspace and the tree on its remote. Safe to run again: what is there stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use modelkeep_core::manifest::FORMAT;
use modelkeep_core::registry::{State, docs, json};
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::folder::failed;
use modelkeep_remote::{Mode, NoMeter, Object, Remote, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Env, Observer, Options};
use crate::git::Git;
use crate::gitignore;
use crate::pins::replace_file;
use crate::remotes::{setting_of, write_remote};
use crate::report::Spent;
use crate::store::{Address, Content, DEFAULT_NAME, Format, Pointers, read_format};
use crate::workspace::SETTINGS_FILE;

/// What to make.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The workspace's folder; default the current one.
    pub dir: Option<PathBuf>,
    /// Its store; without, it is left unset.
    pub remote: Option<String>,
    /// Its name; default the folder's.
    pub name: Option<String>,
    /// Write `src/cloud`, the Python face.
    pub python: bool,
    /// On Drive: the account whose access is used.
    pub account: Option<String>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The workspace.
    #[schemars(with = "String")]
    pub workspace: PathBuf,
    /// Its name.
    pub name: String,
    /// The store's URL, when one is set.
    pub remote: Option<String>,
    /// The tree's own id.
    pub remote_id: Option<String>,
    /// Files and folders that were made or changed.
    pub created: Vec<String>,
    /// Commands that are worth a thought next: what keeps models out of git, and upkeep that runs by itself.
    pub offers: Vec<String>,
    /// Folders under `models/` on the remote that nobody has told the registry of.
    pub adoptable: u64,
    /// Whether the store is the simulation.
    pub simulated: bool,
    /// On Drive: whose access is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// On Drive: the folder's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// What was asked of Google for it, where the store is a Drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// The workspace's folders; models never go to git, the folders do.
const FOLDERS: [&str; 6] = ["models/base", "models/cache", "src", "data", "notebooks", "requirements"];
const KEPT: [&str; 2] = ["models/.gitkeep", "models/base/.gitkeep"];

/// Makes a workspace, and the tree on the remote when one is given.
pub async fn init(env: &Env, options: &Options, observer: &Arc<dyn Observer>, request: &Request) -> Result<Report> {
    let root = match &request.dir {
        Some(dir) => env.cwd.join(dir),
        None => env.cwd.clone(),
    };
    let mut created = Vec::new();
    let python = if request.python { Some(check_python(&root)?) } else { None };
    fs::create_dir_all(&root).map_err(|error| failed("creating", &root, error))?;
    make_settings(&root, request.name.as_deref(), &mut created)?;
    make_folders(&root, &mut created)?;
    if gitignore::keep_block(&root)? {
        created.push(gitignore::FILE.to_owned());
    }
    if let Some(file) = python {
        make_python(&root, &file, &mut created)?;
    }

    let options = Options { workspace: Some(root.clone()), remote: None, ..options.clone() };
    // A path given on the command line is seen from where it was typed.
    let ctx = Context::open(env.clone(), options, Arc::clone(observer))?;
    let mut report = Report {
        workspace: root.clone(),
        name: ctx.settings.name.clone(),
        remote: None,
        remote_id: None,
        offers: offers(env, &root, &created),
        created,
        adoptable: 0,
        simulated: false,
        account: None,
        folder: None,
        spent: None,
    };
    let given = match (&request.remote, ctx.settings.remotes.contains_key(DEFAULT_NAME)) {
        (Some(url), _) => url.clone(),
        (None, true) => DEFAULT_NAME.to_owned(),
        (None, false) => return Ok(report),
    };
    let mut address = Address::named_or_url(&ctx, &given)?;
    address.account = request.account.clone().or(address.account);
    refuse_another_tree(&ctx, &address, &given).await?;
    let opened = address.open(&ctx, true).await?;
    let format = make_tree(&ctx, &*opened.remote, Some(&ctx.settings.name)).await?;
    let setting = setting_of(&ctx, &address, &opened, &format);
    let url = setting.url.clone();
    if ctx.settings.remotes.get(DEFAULT_NAME) != Some(&setting) {
        crate::config::edit(&ctx, |document| {
            write_remote(document, DEFAULT_NAME, &setting);
            Ok(())
        })?;
        // A file that was made just now is named once.
        if !report.created.iter().any(|made| made == SETTINGS_FILE) {
            report.created.push(format!("{SETTINGS_FILE} (remote {url})"));
        }
    }
    report.adoptable = count_adoptable(&*opened.remote).await?;
    report.simulated = opened.remote.capabilities().simulated;
    if let Some(drive) = opened.drive {
        report.spent = Some(drive.spent());
        (report.account, report.folder) = (Some(drive.account), Some(drive.folder));
    }
    report.remote = Some(url);
    report.remote_id = Some(format.remote_id);
    Ok(report)
}

/// What looks after a workspace from now on; nothing when it was there before.
fn offers(env: &Env, root: &Path, created: &[String]) -> Vec<String> {
    if created.is_empty() {
        return Vec::new();
    }
    // One that cannot be read is told of by the command itself.
    let in_git = Git::find(env, root).ok().flatten().is_some();
    let guard = in_git.then_some("modelkeep guard install");
    guard.into_iter().chain(["modelkeep maintain schedule"]).map(str::to_owned).collect()
}

/// Fails, before anything is made, when the workspace belongs to another tree than the one that is given.
async fn refuse_another_tree(ctx: &Context, address: &Address, given: &str) -> Result<()> {
    let Some(known) = ctx.settings.remotes.get(DEFAULT_NAME) else { return Ok(()) };
    let Some(id) = &known.id else { return Ok(()) };
    let (there, folder) = match address.open(ctx, false).await {
        Ok(opened) => (read_format(&*opened.remote).await?, opened.drive.map(|drive| drive.folder)),
        // A folder that the settings know is not made again.
        Err(error) if error.kind() == Kind::NotFound && address.folder.is_none() => (None, None),
        Err(error) => return Err(error),
    };
    // The same tree may have moved to another place.
    if address.name == DEFAULT_NAME || there.is_some_and(|format| format.remote_id == *id) {
        return Ok(());
    }
    if let (Some(known), Some(folder)) = (&known.folder, folder) {
        return Err(Error::new(
            Kind::Auth,
            format!("this workspace's store is folder {known} of Drive, and {given} is folder {folder}"),
        )
        .hint(format!("modelkeep remote add ANOTHER-NAME '{given}'")));
    }
    Err(Error::conflict(format!("this workspace's store is tree {id} at {}, and {given} is another", known.url))
        .hint(format!("modelkeep remote add ANOTHER-NAME {given}")))
}

/// The URL as the settings keep it: below the workspace relative to it, else absolute.
pub(crate) fn settings_url(ctx: &Context, address: &Address) -> String {
    use crate::store::Location;
    let (Location::Folder(folder), Some(workspace)) = (&address.location, &ctx.workspace) else {
        return address.url.clone();
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
    let root = workspace.root.canonicalize().unwrap_or_else(|_| workspace.root.clone());
    let inside = folder.strip_prefix(&root).ok().map(|below| format!("./{}", below.display()));
    format!("folder:{}", inside.unwrap_or_else(|| folder.display().to_string()))
}

fn make_settings(root: &Path, name: Option<&str>, created: &mut Vec<String>) -> Result<()> {
    let file = root.join(SETTINGS_FILE);
    if file.exists() {
        return rename(&file, name, created);
    }
    let folder = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut document = toml_edit::DocumentMut::new();
    document["name"] = toml_edit::value(name.unwrap_or(&folder));
    document.decor_mut().set_prefix("# Settings of this modelkeep workspace; all there are: modelkeep config show\n");
    replace_file(&file, document.to_string().as_bytes())?;
    created.push(SETTINGS_FILE.to_owned());
    Ok(())
}

/// Gives an existing workspace the name that was asked for.
fn rename(file: &Path, name: Option<&str>, created: &mut Vec<String>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let text = fs::read_to_string(file).map_err(|error| failed("reading", file, error))?;
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error| Error::usage(format!("{} cannot be read", file.display())).because(error))?;
    if document.get("name").and_then(toml_edit::Item::as_str) != Some(name) {
        document["name"] = toml_edit::value(name);
        replace_file(file, document.to_string().as_bytes())?;
        created.push(format!("{SETTINGS_FILE} (name {name})"));
    }
    Ok(())
}

fn make_folders(root: &Path, created: &mut Vec<String>) -> Result<()> {
    for folder in FOLDERS {
        let path = root.join(folder);
        if !path.exists() {
            fs::create_dir_all(&path).map_err(|error| failed("creating", &path, error))?;
            created.push(format!("{folder}/"));
        }
    }
    for file in KEPT {
        let path = root.join(file);
        if !path.exists() {
            fs::write(&path, "").map_err(|error| failed("writing", &path, error))?;
            created.push(file.to_owned());
        }
    }
    Ok(())
}

/// The module that makes `from src.cloud import GoogleDriveManager` work.
const PYTHON: &str = "\
\"\"\"The model store of this project (https://github.com/modelkeep/modelkeep).\"\"\"

from modelkeep import GoogleDriveManager, init_drive_manager

__all__ = [\"GoogleDriveManager\", \"init_drive_manager\"]
";

fn check_python(root: &Path) -> Result<PathBuf> {
    let file = root.join("src/cloud/__init__.py");
    match fs::read_to_string(&file) {
        Ok(text) if text == PYTHON => Ok(file),
        Ok(text) if !text.trim().is_empty() => Err(Error::conflict(format!(
            "{} is there already. To use modelkeep, it would have to hold:\n{}",
            file.display(),
            PYTHON.lines().map(|line| format!("  + {line}")).collect::<Vec<_>>().join("\n")
        ))
        .hint("add these lines to it by hand, or move it aside")),
        _ => Ok(file),
    }
}

fn make_python(root: &Path, file: &Path, created: &mut Vec<String>) -> Result<()> {
    if fs::read_to_string(file).is_ok_and(|text| text == PYTHON) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
    let package = root.join("src/__init__.py");
    if !package.exists() {
        fs::write(&package, "").map_err(|error| failed("writing", &package, error))?;
        created.push("src/__init__.py".to_owned());
    }
    replace_file(file, PYTHON.as_bytes())?;
    created.push("src/cloud/__init__.py".to_owned());
    Ok(())
}

/// Makes the tree on a remote, and says what it uses; a tree that is there is only completed.
pub async fn make_tree(ctx: &Context, remote: &dyn Remote, name: Option<&str>) -> Result<Format> {
    for folder in layout::TREE {
        let path = folder.parse().map_err(|error| Error::internal("a fixed folder").because(error))?;
        remote.create_dir(&path).await?;
    }
    let format = if let Some(format) = read_format(remote).await? {
        format
    } else {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::internal("no randomness").because(error))?;
        let format = Format {
            format: FORMAT,
            remote_id: hex::encode(id),
            name: name.unwrap_or("models").to_owned(),
            pointers: probe_pointers(ctx, remote).await?,
            content: Content::PushFolders,
            case_folding: true,
            created_at: ctx.now(),
        };
        let mut bytes = serde_json::to_vec_pretty(&format).unwrap_or_default();
        bytes.push(b'\n');
        write_new(remote, &layout::format(), bytes).await?;
        // Of two that make the same tree at once, one wins, and both use what it wrote.
        read_format(remote).await?.ok_or_else(|| {
            Error::new(Kind::Unavailable, "the tree's format was written but cannot be read back").hint("run it again")
        })?
    };
    write_new(remote, &layout::architecture(), docs::architecture(&format.name).into_bytes()).await?;
    let empty = State::default();
    let registry = json::render(&empty);
    write_new(remote, &layout::rendering(&registry.digest), registry.bytes.clone()).await?;
    write_new(remote, &layout::registry(), registry.bytes).await?;
    write_new(remote, &layout::training_log(), docs::training_log(&empty).into_bytes()).await?;
    remote.flush(&[layout::format()]).await?;
    Ok(format)
}

/// The pointers that the store really makes: a folder's file system may have no links, whatever the system has.
async fn probe_pointers(ctx: &Context, remote: &dyn Remote) -> Result<Pointers> {
    let wanted = remote.capabilities().pointers.into();
    if wanted == Pointers::File {
        return Ok(wanted);
    }
    let probe = layout::staging().join(&format!("pointer-{:016x}", ctx.writer.0));
    let made = remote.point(&probe, &layout::log()).await;
    remote.delete(&Object::at(probe)).await?;
    Ok(if made.is_ok() { wanted } else { Pointers::File })
}

async fn write_new(remote: &dyn Remote, path: &modelkeep_core::path::RemotePath, bytes: Vec<u8>) -> Result<()> {
    if remote.find(&Object::at(path.clone())).await?.is_some() {
        return Ok(());
    }
    match remote.write(path, Source::Bytes(Bytes::from(bytes)), Mode::New, Arc::new(NoMeter)).await {
        Err(error) if error.kind() != Kind::Conflict => Err(error),
        _ => Ok(()),
    }
}

/// Folders of models that hold no marker: what `adopt` would take in.
async fn count_adoptable(remote: &dyn Remote) -> Result<u64> {
    use modelkeep_core::manifest::ModelKind;
    use modelkeep_remote::{EntryKind, Inline};
    let mut count = 0;
    for kind in [ModelKind::Base, ModelKind::Finetuned] {
        for entry in remote.list(&layout::models(kind), Inline::No).await? {
            let marker = Object::at(entry.path.join(layout::MARKER));
            if entry.kind == EntryKind::Dir && remote.find(&marker).await?.is_none() {
                count += 1;
            }
        }
    }
    Ok(count)
}
