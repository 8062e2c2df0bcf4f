//! Is everything there, and is it what it should be? Reads content only where the store has no checksums.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use modelkeep_core::digest::{Sha256, Txn};
use modelkeep_core::manifest::{FileEntry, Manifest};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::{ContentPath, RemotePath};
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::Entry;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::{Context, Progress};
use crate::log::{self, View};
use crate::store::Store;
use crate::{project, tree};

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Files looked at.
    pub checked: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The model it belongs to.
    pub model: Option<ModelId>,
    /// Where.
    pub path: String,
    /// What.
    pub kind: ProblemKind,
    /// What to do.
    pub hint: String,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// It is there with other bytes.
    Corrupt,
    /// It is there and nobody knows why.
    Extra,
    /// What is shown is not what the log says.
    StaleProjection,
}

impl Report {
    /// Whether content is missing or wrong.
    pub fn damaged(&self) -> bool {
        self.problems.iter().any(|problem| matches!(problem.kind, ProblemKind::Missing | ProblemKind::Corrupt))
    }
}

/// Checks one model, or everything. `deep` reads every byte.
pub async fn verify(ctx: &Context, model: Option<&str>, deep: bool) -> Result<Report> {
    let store = ctx.store().await?;
    let mut view = log::refresh(ctx, &store).await?;
    log::look_ahead(ctx, &store, &mut view).await?;
    let only = model.map(|name| view.state.named_any(name).map(|(model, _)| model.id.clone())).transpose()?;
    let mut report = Report { checked: 0, bytes: 0, problems: Vec::new(), notes: Vec::new() };
    report.notes.extend(view.problems.iter().map(ToString::to_string));
    ctx.observer.tell(Progress::Stage { name: "verifying", bytes: None });
    let mut rotten = if only.is_none() { BTreeSet::new() } else { rotten(ctx, &store)? };
    for model in view.state.kept().filter(|model| only.as_ref().is_none_or(|only| *only == model.id)) {
        for push in model.pushes.iter().filter(|push| push.removed.is_none()) {
            ctx.check_stop()?;
            if check(ctx, &store, model, push, deep, &mut report).await? {
                rotten.insert(push.txn);
            }
        }
    }
    if deep {
        let bytes = serde_json::to_vec(&rotten).unwrap_or_default();
        store.local(ctx)?.put(store.id(), ROTTEN, &bytes)?;
    }
    if only.is_none() {
        let lost = log::absent(ctx, &store, &view).await?;
        report.problems.extend(lost.iter().map(|name| Problem {
            model: None,
            path: layout::event(name).to_string(),
            kind: ProblemKind::Missing,
            hint: "modelkeep repair writes it again from this machine's memory".to_owned(),
        }));
        if !view.pending.is_empty() {
            let n = view.pending.len();
            report.notes.push(format!("{n} event(s) came through a mount and were not seen in the store itself yet"));
        }
    }
    let stale = project::stale(ctx, &store, &view).await?;
    let stale = stale.into_iter().filter(|(model, _)| only.is_none() || *model == only);
    report.problems.extend(stale.map(|(model, path)| Problem {
        model,
        path: path.to_string(),
        kind: ProblemKind::StaleProjection,
        hint: "modelkeep repair".to_owned(),
    }));
    Ok(report)
}

/// Files of one push that are not as they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where the push stands; `None`: nowhere.
    pub folder: Option<RemotePath>,
    /// What is wrong with the marker, though the files are there.
    pub marker: Option<ProblemKind>,
    /// Files that are not there.
    pub missing: Vec<FileEntry>,
    /// Files with other bytes.
    pub corrupt: Vec<FileEntry>,
    /// Those of them that only reading every byte could find.
    pub hidden: BTreeSet<ContentPath>,
    /// What is there besides.
    pub extra: Vec<RemotePath>,
    /// How many files were looked at.
    pub checked: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Damage {
    /// Whether anything is missing or wrong.
    pub fn any(&self) -> bool {
        self.folder.is_none() || self.marker.is_some() || !self.missing.is_empty() || !self.corrupt.is_empty()
    }
}

async fn check(
    ctx: &Context,
    store: &Store,
    model: &Model,
    push: &Push,
    deep: bool,
    report: &mut Report,
) -> Result<bool> {
    let damage = examine(ctx, store, model, push, deep).await?;
    report.checked += damage.checked;
    report.bytes += damage.bytes;
    let mut tell_with = |path: String, kind, hint: &str| {
        let model = model.place.is_none().then(|| model.id.clone());
        report.problems.push(Problem { model, path, kind, hint: hint.to_owned() });
    };
    let mut tell = |path: String, kind| tell_with(path, kind, "modelkeep repair");
    let Some(folder) = &damage.folder else {
        tell(layout::version(&model.id, &push.txn).to_string(), ProblemKind::Missing);
        return Ok(false);
    };
    if let Some(kind) = damage.marker {
        tell(folder.join(layout::MARKER).to_string(), kind);
    }
    damage.missing.iter().for_each(|file| tell(folder.join_content(&file.path).to_string(), ProblemKind::Missing));
    for file in &damage.corrupt {
        let hint = if damage.hidden.contains(&file.path) { "modelkeep repair --deep" } else { "modelkeep repair" };
        tell_with(folder.join_content(&file.path).to_string(), ProblemKind::Corrupt, hint);
    }
    let extra = "nobody needs it; look at it before you delete it";
    damage.extra.iter().for_each(|path| tell_with(path.to_string(), ProblemKind::Extra, extra));
    Ok(!damage.corrupt.is_empty())
}

/// Pushes in which reading every byte found damage, for `repair` to read again: no date need tell of it.
const ROTTEN: &str = "rotten";

pub(crate) fn rotten(ctx: &Context, store: &Store) -> Result<BTreeSet<Txn>> {
    let kept = store.local(ctx)?.get(store.id(), ROTTEN)?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Looks at one push: sizes and the store's checksums; content is read when `deep`, or when a file is younger than
/// the marker, which was written last.
pub(crate) async fn examine(ctx: &Context, store: &Store, model: &Model, push: &Push, deep: bool) -> Result<Damage> {
    let mut damage = look(ctx, store, model, push, deep).await?;
    // Folders move while they are looked at: damage is what two looks in a row see alike.
    for _ in 0..LOOKS {
        if !damage.any() {
            break;
        }
        let again = look(ctx, store, model, push, deep).await?;
        if again == damage {
            break;
        }
        damage = again;
    }
    Ok(damage)
}

/// So often is a push looked at again that others move at the same time.
const LOOKS: usize = 8;

async fn look(ctx: &Context, store: &Store, model: &Model, push: &Push, deep: bool) -> Result<Damage> {
    let mut damage = Damage {
        folder: None,
        marker: None,
        missing: Vec::new(),
        corrupt: Vec::new(),
        hidden: BTreeSet::new(),
        extra: Vec::new(),
        checked: 0,
        bytes: 0,
    };
    let (folder, files, ids) = match tree::find(store, model, push).await? {
        Some(found) => (found.folder.path, found.marker.files, found.marker.ids),
        None => match unmarked(ctx, store, model, push).await? {
            Some((folder, files, kind)) => {
                damage.marker = Some(kind);
                (folder, files, BTreeMap::new())
            }
            None => return Ok(damage),
        },
    };
    let compared = tree::compare_by_id(store, &folder, &files, &ids).await?;
    damage.checked = files.files().len() as u64;
    damage.bytes = files.size();
    damage.missing = compared.missing;
    damage.corrupt = compared.wrong;
    damage.extra = compared.extra;
    let marked = compared.marker.map(|marker| marker.modified);
    let doubtful = |entry: &Entry| entry.sha256.is_none() && marked.is_none_or(|marked| entry.modified > marked);
    let good = compared.good.into_iter().map(|(path, entry)| (path, doubtful(&entry), entry));
    let wrong = stream::iter(good.filter(|(_, doubtful, _)| deep || *doubtful))
        .map(async |(path, doubtful, entry)| {
            ctx.check_stop()?;
            let digest = match tree::digest(store, &entry.object(), entry.size).await {
                // It has moved since; the next look finds it where it is now. What cannot be read is damaged.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Local) => None,
                digest => Some(digest?),
            };
            ctx.observer.tell(Progress::Bytes(entry.size));
            Ok::<_, Error>((path, doubtful, digest))
        })
        .buffer_unordered(ctx.jobs)
        .try_filter_map(async |(path, doubtful, digest): (ContentPath, bool, Option<Sha256>)| {
            let wrong = files.get(path.as_str()).filter(|file| Some(file.sha256) != digest);
            Ok(wrong.map(|file| (file.clone(), doubtful)))
        })
        .try_collect::<Vec<(FileEntry, bool)>>()
        .await?;
    for (file, doubtful) in wrong {
        if !doubtful {
            damage.hidden.insert(file.path.clone());
        }
        damage.corrupt.push(file);
    }
    damage.folder = Some(folder);
    Ok(damage)
}

/// A folder without a marker that can be read, but which stands where this push must be, with its files.
async fn unmarked(
    ctx: &Context,
    store: &Store,
    model: &Model,
    push: &Push,
) -> Result<Option<(RemotePath, Manifest, ProblemKind)>> {
    let Ok(files) = tree::manifest(ctx, store, model, push).await else { return Ok(None) };
    for folder in tree::own_places(model, push) {
        let kind = match tree::marker_in(store, &folder).await {
            Ok(Some(_)) => continue,
            Ok(None) => ProblemKind::Missing,
            Err(error) if error.kind() == Kind::Integrity => ProblemKind::Corrupt,
            Err(error) => return Err(error),
        };
        // One file that fits makes nobody's folder a push; all of them do.
        let compared = tree::compare(store, &folder, &files).await?;
        if compared.missing.is_empty() && compared.wrong.is_empty() {
            return Ok(Some((folder, files, kind)));
        }
    }
    Ok(None)
}

/// Transactions that the log knows, with their models; whether removed.
pub(crate) fn known(view: &View) -> BTreeSet<Txn> {
    view.state.kept().flat_map(|model| model.pushes.iter().map(|push| push.txn)).collect()
}
