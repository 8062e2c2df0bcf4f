//! What lies in the caches, as the plan of an eviction sees it: things, what each needs, and what is known of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use modelkeep_core::Result;
use modelkeep_core::budget::Need;
use modelkeep_core::digest::Sha256;
use modelkeep_core::evict::{self, Again, Back, Chosen, Item, Keep, Plan, Rate, Shelf};
use modelkeep_hub::access::Access;
use modelkeep_hub::client::Hub;
use modelkeep_hub::in_use;
use modelkeep_hub::repo::RepoKind;
use modelkeep_hub::scan::{Cache, CachedFile, Loose, Repo, Revision};
use modelkeep_remote::folder::failed;

use super::places::{self, Cleaner, Name, Place};
use super::proof::{Known, ask_hub, may_be_at_hub};
use super::{pulled, scan_hf, torch, used};
use crate::context::Context;
use crate::room::disk_of;
use crate::{hub, walk};

/// What an item of the shelf is, to whoever takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A revision in the HF cache.
    Revision { folder: String, commit: String },
    /// Files in a repository's `blobs/` that nothing leads to.
    Loose { folder: String, blobs: Vec<String> },
    /// Shared payloads that no repository links to any more.
    Payloads(Vec<PathBuf>),
    /// What an eviction that was stopped had begun.
    Begun,
    /// The whole of a cache that can be emptied.
    Whole(Place),
    /// A checkpoint of `torch.hub`.
    Checkpoint(PathBuf),
    /// A folder that a pull wrote.
    Pulled(pulled::Pulled),
}

/// The shelf with what its items are.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// For the plan.
    pub shelf: Shelf,
    /// For whoever carries it out; one an item.
    pub things: Vec<Thing>,
    /// The HF cache.
    pub hf: Cache,
    /// Revisions that only the Hub could vouch for, by item: repository and revision by their places in `hf`.
    asks: HashMap<usize, (usize, usize)>,
    /// What the remote has by the log, by item, and was not looked at there yet: its content.
    stored: HashMap<usize, Stored>,
    /// In a box, for whatever makes room holds it while it waits.
    known: Box<Known>,
}

/// What the remote has by the log.
#[derive(Debug)]
struct Stored {
    content: BTreeSet<Sha256>,
    /// What is known of it when the remote does not have it after all.
    otherwise: Again,
    /// Whom to ask then: as in [`Observed::asks`].
    at_hub: Option<(usize, usize)>,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// Caches besides the HF cache.
    pub include: &'a [Name],
    /// Repositories' folders that stay.
    pub keep: &'a [String],
    /// The Hub's word is taken for granted.
    pub assume_hub: bool,
}

/// A file that nothing leads to is let be for so long: it may be about to be linked.
const YOUNG: i64 = 3600;

/// Looks at the caches. The Hub is not asked yet, and nobody has looked whether the remote still has what its log says.
pub(crate) async fn observe(ctx: &Context, scope: Scope<'_>) -> Result<Observed> {
    let known = Known::read(ctx).await?;
    let mut observed = Observed { hf: scan_hf(ctx).await?, ..Observed::default() };
    observe_hf(ctx, scope, &known, &mut observed).await?;
    for place in places::find(ctx)? {
        if !place.path.exists() || !(place.name.is_default() || scope.include.contains(&place.name)) {
            continue;
        }
        match place.name {
            Name::HuggingFace => {}
            Name::Torch => torch::observe(ctx, &known, &place.path, &mut observed).await?,
            Name::Models => pulled::observe(ctx, &known, &mut observed)?,
            Name::Xet | Name::Datasets | Name::Pip | Name::Uv | Name::Conda => whole(ctx, place, &mut observed),
        }
    }
    observed.known = Box::new(known);
    Ok(observed)
}

impl Observed {
    /// One more item whose files nobody else needs.
    pub fn add(&mut self, thing: Thing, bytes: u64, item: Item) {
        self.shelf.parts.push(bytes);
        let parts = vec![self.shelf.parts.len() - 1];
        self.push(thing, Item { parts, ..item });
    }

    /// One more whose content the remote has by the log.
    pub fn add_stored(&mut self, content: BTreeSet<Sha256>, thing: Thing, bytes: u64, item: Item) {
        let stored = Stored { content, otherwise: Again::Unknown, at_hub: None };
        self.stored.insert(self.shelf.items.len(), stored);
        self.add(thing, bytes, Item { again: Again::Remote, ..item });
    }

    /// Repository and commit of a revision in the HF cache.
    pub fn revision(&self, item: usize) -> Option<(String, String)> {
        let Thing::Revision { folder, commit } = &self.things[item] else { return None };
        let repo = self.hf.repos.iter().find(|repo| repo.folder == *folder)?;
        Some((repo.id.clone(), commit.clone()))
    }

    /// Whether a process has a file of this revision open by now.
    pub fn is_open(&self, folder: &str, commit: &str) -> bool {
        let repo = self.hf.repos.iter().find(|repo| repo.folder == folder);
        let revision = repo.and_then(|repo| repo.revisions.iter().find(|revision| revision.commit == commit));
        let (Some(repo), Some(revision), Ok(real)) = (repo, revision, self.hf.hub.canonicalize()) else { return false };
        open_file(&real.join(folder), repo, revision, &in_use::open_below(&real)).is_some()
    }

    /// What lies on another disk than this one stays; without one, nothing is said of disks.
    pub fn only_on(&mut self, disk: Option<u64>) {
        let Some(disk) = disk else { return };
        for (item, thing) in self.shelf.items.iter_mut().zip(&self.things) {
            let path = match thing {
                Thing::Revision { folder, .. } | Thing::Loose { folder, .. } => &self.hf.hub.join(folder),
                Thing::Payloads(_) | Thing::Begun => &self.hf.hub,
                Thing::Whole(Place { path, .. }) | Thing::Checkpoint(path) => path,
                Thing::Pulled(pulled) => &pulled.path,
            };
            if item.keep.is_none() && disk_of(path).is_some_and(|own| own != disk) {
                item.keep = Some(Keep::Elsewhere);
            }
        }
    }

    /// Whether an item is of this cache.
    pub fn is_of(&self, item: usize, name: Name) -> bool {
        match &self.things[item] {
            Thing::Whole(place) => place.name == name,
            Thing::Checkpoint(_) => name == Name::Torch,
            Thing::Pulled(_) => name == Name::Models,
            _ => name == Name::HuggingFace,
        }
    }

    fn push(&mut self, thing: Thing, item: Item) {
        self.shelf.items.push(item);
        self.things.push(thing);
    }

    /// Plans; looks at the remote and asks the Hub about exactly what would go if they had it, until they have vouched for
    /// all of the plan. What a stopped eviction had begun is finished whether it is needed or not.
    pub async fn plan(&mut self, ctx: &Context, need: Need) -> Plan {
        let mut plan = self.plan_asking(ctx, need).await;
        let begun = self.things.iter().position(|thing| *thing == Thing::Begun);
        if let Some(item) = begun.filter(|begun| plan.chosen.iter().all(|one| one.item != *begun)) {
            let frees = self.shelf.items[item].parts.iter().map(|part| self.shelf.parts[*part]).sum();
            let reason = Again::NotNeeded.as_str().to_owned();
            plan.chosen.insert(0, Chosen { item, frees, reason, back_seconds: 0.0 });
            plan.frees += frees;
            plan.short = plan.short.saturating_sub(frees);
        }
        plan
    }

    async fn plan_asking(&mut self, ctx: &Context, need: Need) -> Plan {
        let rate = Rate { bytes: ctx.settings.rate.0 };
        loop {
            let mut hopeful = self.shelf.clone();
            for item in self.asks.keys() {
                hopeful.items[*item].again = Again::Hub;
            }
            let plan = evict::plan(&hopeful, need, ctx.now(), rate);
            let chosen = || plan.chosen.iter().map(|one| one.item);
            let stored: Vec<usize> = chosen().filter(|item| self.stored.contains_key(item)).collect();
            let asked: Vec<usize> = chosen().filter(|item| self.asks.contains_key(item)).collect();
            if asked.is_empty() && stored.is_empty() {
                return plan;
            }
            self.look(ctx, stored).await;
            self.ask(ctx, asked).await;
        }
    }

    /// Looks and asks about everything.
    pub async fn ask_all(&mut self, ctx: &Context) {
        let all = self.stored.keys().copied().collect();
        self.look(ctx, all).await;
        let all = self.asks.keys().copied().collect();
        self.ask(ctx, all).await;
    }

    /// Looks whether these items are on the remote as its log says. What is not, or cannot be looked at, is not proven by it.
    async fn look(&mut self, ctx: &Context, items: Vec<usize>) {
        for item in items {
            let Some(stored) = self.stored.remove(&item) else { continue };
            let stands = self.known.stands(ctx, &stored.content).await.unwrap_or_else(|error| {
                ctx.warn(format!("the remote could not be asked what it holds: {}", error.full_message()));
                false
            });
            if !stands {
                self.shelf.items[item].again = stored.otherwise;
                self.asks.extend(stored.at_hub.map(|places| (item, places)));
            }
        }
    }

    async fn ask(&mut self, ctx: &Context, items: Vec<usize>) {
        let places: Vec<_> = items.iter().filter_map(|item| Some((*item, *self.asks.get(item)?))).collect();
        // Who does not answer once is not asked again and again.
        let silent = AtomicBool::new(false);
        let (hf, hub) = (&self.hf, quick_hub(ctx));
        let answers: Vec<(usize, Again)> = stream::iter(places)
            .map(async |(item, (repo, revision))| {
                let repo = &hf.repos[repo];
                let Some(hub) = hub.as_ref().filter(|_| !silent.load(Ordering::Relaxed)) else {
                    return (item, Again::Unknown);
                };
                let answer = ask_hub(hub, repo, &repo.revisions[revision], &hf.hub.join(&repo.folder)).await;
                if answer.is_none() && repo.kind == RepoKind::Model {
                    silent.store(true, Ordering::Relaxed);
                }
                (item, answer.unwrap_or(Again::Unknown))
            })
            .buffer_unordered(8)
            .collect()
            .await;
        for (item, again) in answers {
            self.asks.remove(&item);
            self.shelf.items[item].again = again;
        }
    }
}

/// The Hub, asked twice at most: making room must not wait for one that is away. A server of ours in its place hands on
/// what lies in this very cache, and proves nothing.
fn quick_hub(ctx: &Context) -> Option<Hub> {
    let change = |access: &mut Access| {
        access.retry.attempts = 2;
        access.first_hand = true;
    };
    hub::open_with(ctx, change).ok().flatten()
}

async fn observe_hf(ctx: &Context, scope: Scope<'_>, known: &Known, observed: &mut Observed) -> Result<()> {
    let hf = std::mem::take(&mut observed.hf);
    let real = hf.hub.canonicalize().unwrap_or_else(|_| hf.hub.clone());
    let open = in_use::open_below(&hf.hub);
    let (keeps_access, noted) = (used::keeps_access(&hf.hub), used::noted(ctx)?);
    let mut shared: HashMap<&Path, usize> = HashMap::new();
    for (repo_at, repo) in hf.repos.iter().enumerate() {
        let root = hf.hub.join(&repo.folder);
        let locked = in_use::is_locked(&hf.hub, &repo.folder);
        let mut parts: HashMap<usize, usize> = HashMap::new();
        for (revision_at, revision) in repo.revisions.iter().enumerate() {
            let mut own = BTreeSet::new();
            for file in &revision.files {
                let blob = &repo.blobs[file.blob];
                let new = |parts: &mut Vec<u64>, bytes| {
                    parts.push(bytes);
                    parts.len() - 1
                };
                let payload = blob.payload.as_deref().and_then(|path| hf.shared.iter().find(|one| one.path == path));
                own.insert(match payload {
                    Some(payload) => {
                        *shared.entry(&payload.path).or_insert_with(|| new(&mut observed.shelf.parts, payload.size))
                    }
                    None => *parts.entry(file.blob).or_insert_with(|| new(&mut observed.shelf.parts, blob.frees)),
                });
            }
            let keep = keep(&real, repo, revision, &open, locked, scope, known);
            let may_be_at_hub = may_be_at_hub(ctx, known, repo, revision);
            let mut again = match (may_be_at_hub, scope.assume_hub) {
                (true, true) => Again::AssumedHub,
                (true, false) => Again::Unknown,
                (false, _) => Again::Nowhere,
            };
            if let Some(content) = known.holds(&root, repo, revision).await? {
                let at_hub = (again == Again::Unknown).then_some((repo_at, revision_at));
                let otherwise = if may_be_at_hub { again } else { Again::Unknown };
                observed.stored.insert(observed.shelf.items.len(), Stored { content, otherwise, at_hub });
                again = Again::Remote;
            }
            if revision.files.is_empty() && revision.refs.is_empty() {
                again = Again::NotNeeded;
            }
            if again == Again::Unknown && keep.is_none() {
                observed.asks.insert(observed.shelf.items.len(), (repo_at, revision_at));
            }
            let (folder, commit) = (repo.folder.clone(), revision.commit.clone());
            let item = Item {
                name: format!("{}@{}", repo.called(), short(&revision.commit)),
                parts: own.into_iter().collect(),
                back: Back { files: revision.files.len() as u64, bytes: repo.size_of(revision) },
                last_used: used::last(repo, revision, keeps_access, &noted),
                again,
                keep,
            };
            observed.push(Thing::Revision { folder, commit }, item);
        }
        loose(ctx, &real, repo, &open, locked, observed);
    }
    let payloads: Vec<_> = hf.shared.iter().filter(|payload| payload.unreferenced).collect();
    if !payloads.is_empty() {
        let bytes = payloads.iter().map(|payload| payload.size).sum();
        let paths = payloads.iter().map(|payload| payload.path.clone()).collect();
        observed.add(Thing::Payloads(paths), bytes, junk("shared files that no repository links to".to_owned()));
    }
    let mut begun = modelkeep_hub::evict::left_behind(&hf.hub);
    begun.extend(pulled::left_behind(ctx));
    let begun_here = hf.repos.iter().any(|repo| !repo.going.is_empty());
    if begun_here || !begun.is_empty() {
        let bytes = begun.iter().map(|path| walk::size(path).bytes).sum();
        observed.add(Thing::Begun, bytes, junk("what an eviction that was stopped had begun".to_owned()));
    }
    observed.hf = hf;
    Ok(())
}

/// The first digits of a commit; anything else as it is.
pub(crate) fn short(commit: &str) -> &str {
    if commit.len() == 40 && commit.is_ascii() { &commit[..12] } else { commit }
}

fn junk(name: String) -> Item {
    let back = Back::default();
    Item { name, parts: Vec::new(), back, last_used: None, again: Again::NotNeeded, keep: None }
}

fn keep(
    hub: &Path,
    repo: &Repo,
    revision: &Revision,
    open: &HashSet<PathBuf>,
    locked: bool,
    scope: Scope<'_>,
    known: &Known,
) -> Option<Keep> {
    let root = hub.join(&repo.folder);
    if scope.keep.contains(&repo.folder) {
        return Some(Keep::Wanted);
    }
    if locked {
        return Some(Keep::InUse("something is downloading to this repository".to_owned()));
    }
    if let Some(file) = open_file(&root, repo, revision, open) {
        return Some(Keep::InUse(format!("a process has {} open", file.path)));
    }
    if let Some(broken) = repo.broken.first() {
        return Some(Keep::Broken(broken.to_string()));
    }
    if repo.elsewhere {
        return Some(Keep::Elsewhere);
    }
    known.keep(repo, revision)
}

/// A file of a revision that a process has open.
fn open_file<'a>(root: &Path, repo: &Repo, revision: &'a Revision, open: &HashSet<PathBuf>) -> Option<&'a CachedFile> {
    let is_open = |file: &&CachedFile| {
        let blob = &repo.blobs[file.blob];
        let real = blob.payload.as_ref().and_then(|payload| payload.canonicalize().ok());
        open.contains(&blob.path(root)) || real.is_some_and(|payload| open.contains(&payload))
    };
    if open.is_empty() { None } else { revision.files.iter().find(is_open) }
}

/// Files that nothing leads to, of one repository.
fn loose(ctx: &Context, hub: &Path, repo: &Repo, open: &HashSet<PathBuf>, locked: bool, observed: &mut Observed) {
    let now = ctx.now().as_second();
    let old = |loose: &&Loose| {
        now - loose.modified > YOUNG && !open.contains(&hub.join(&repo.folder).join("blobs").join(&loose.name))
    };
    if locked || repo.elsewhere || !repo.broken.is_empty() {
        return;
    }
    for (one, many, found) in [
        ("unfinished download", "unfinished downloads", &repo.incomplete),
        ("file that no revision links to", "files that no revision links to", &repo.orphans),
        ("unfinished pull", "unfinished pulls", &repo.gathered),
    ] {
        let found: Vec<&Loose> = found.iter().filter(old).collect();
        let kind = if found.len() == 1 { one } else { many };
        if !found.is_empty() {
            let blobs = found.iter().map(|loose| loose.name.clone()).collect();
            let bytes = found.iter().map(|loose| loose.size).sum();
            let item = junk(format!("{}: {} {kind}", repo.called(), found.len()));
            observed.add(Thing::Loose { folder: repo.folder.clone(), blobs }, bytes, item);
        }
    }
}

/// A cache that is emptied as a whole, or that nobody empties.
fn whole(ctx: &Context, place: Place, observed: &mut Observed) {
    let sum = place.size();
    if sum.files == 0 {
        return;
    }
    let keep = match place.name.cleaner() {
        Cleaner::Program { program, .. } if places::program(&ctx.env, program).is_none() => {
            Some(Keep::NoProgram(program.to_owned()))
        }
        Cleaner::Us => open_in(&place)
            .map(|path| Keep::InUse(format!("a process has {} open", path.file_name().unwrap_or_default().display()))),
        _ => None,
    };
    let item = Item {
        name: format!("{} cache", place.name.as_str()),
        parts: Vec::new(),
        back: Back { files: 0, bytes: sum.bytes },
        last_used: None,
        again: match place.name.cleaner() {
            Cleaner::Us => Again::NotNeeded,
            Cleaner::Program { .. } => Again::Program,
            Cleaner::Nobody => Again::Nowhere,
        },
        keep,
    };
    observed.add(Thing::Whole(place), sum.bytes, item);
}

/// A file of a cache that a process has open.
pub(super) fn open_in(place: &Place) -> Option<PathBuf> {
    let own: Vec<PathBuf> = place.own().iter().filter_map(|path| path.canonicalize().ok()).collect();
    in_use::open_below(&place.path).into_iter().find(|open| own.iter().any(|path| open.starts_with(path)))
}

/// An error about a path of a cache.
pub(crate) fn cannot(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> modelkeep_core::Error {
    move |error| failed(doing, path, error)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_another_disk_makes_no_room_on_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let here = disk_of(folder.path()).unwrap();
        let kept = |disk: Option<u64>| {
            let mut observed = Observed::default();
            observed.add(Thing::Checkpoint(folder.path().join("net.pth")), 1, junk("net".to_owned()));
            observed.only_on(disk);
            observed.shelf.items.remove(0).keep
        };
        assert_eq!((kept(None), kept(Some(here)), kept(Some(here + 1))), (None, None, Some(Keep::Elsewhere)));
    }
}
