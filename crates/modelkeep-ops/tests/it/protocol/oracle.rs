//! What must be so, whatever clients do: seen from above, by nobody's view.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use modelkeep_core::digest::{RevisionId, Sha256, Txn};
use modelkeep_core::event::{Body, Event, EventName};
use modelkeep_core::layout::{self, MARKER};
use modelkeep_core::manifest::{Manifest, Marker, ModelKind};
use modelkeep_core::name::ModelId;
use modelkeep_core::path::RemotePath;
use modelkeep_core::registry::{Push, State};
use modelkeep_remote::memory::Snapshot;
use modelkeep_remote::{EntryKind, Inline, MemoryRemote, Object, Remote};

/// What the log has said so far, and what it must therefore mean.
#[derive(Debug, Default)]
pub struct Oracle {
    events: BTreeMap<EventName, Event>,
    state: State,
    manifests: BTreeMap<Txn, Manifest>,
    markers: BTreeMap<Sha256, Txn>,
    /// Pushes that were removed at some time.
    removed: BTreeSet<Txn>,
    /// Models that were deployed at some time.
    deployed: BTreeSet<ModelId>,
}

impl Oracle {
    /// Looks at the whole store. The error says what is not so any more.
    pub fn look(&mut self, store: &MemoryRemote) -> Result<(), String> {
        let all = store.snapshot();
        self.learn(store, &all)?;
        for (model, push) in self.pushes() {
            if push.removed.is_none() && !self.stands_whole(&all, model, push) {
                return Err(format!("push #{} of {model} ({}) is nowhere whole", push.number, push.txn));
            }
        }
        Ok(())
    }

    /// At the very end: the tree is what the log says.
    pub fn look_at_the_end(&mut self, store: &MemoryRemote) -> Result<(), String> {
        self.look(store)?;
        let all = store.snapshot();
        if let Some((path, entries)) = all.iter().find(|(_, entries)| entries.len() > 1) {
            return Err(format!("{} of the name {path}", entries.len()));
        }
        let mut shown: BTreeMap<String, Vec<Txn>> = BTreeMap::new();
        for (path, entries) in &all {
            let Ok(path) = path.parse::<RemotePath>() else { continue };
            let folder = path.parent();
            if path.name() == MARKER && folder.parent() == layout::models(ModelKind::Finetuned) {
                let txns = entries.iter().filter_map(|(_, sha256)| self.markers.get(sha256.as_ref()?).copied());
                shown.entry(folder.name().to_owned()).or_default().extend(txns);
            }
        }
        let wanted = self.state.models.values().filter_map(|model| {
            let push = self.state.shown(model)?;
            Some((model.id.to_string(), vec![push.txn]))
        });
        let wanted: BTreeMap<String, Vec<Txn>> = wanted.collect();
        if shown != wanted {
            return Err(format!("shown is {shown:?}, the log says {wanted:?}"));
        }
        for (model, push) in self.pushes().filter(|(_, push)| push.removed.is_none()) {
            if self.places(&all, model, push).iter().all(|place| place.below(&layout::trash()).is_some()) {
                return Err(format!("push #{} of {model} is in the trash", push.number));
            }
        }
        Ok(())
    }

    /// Every push that nobody removed, as something to pull.
    pub fn pullable(&self) -> Vec<(String, RevisionId)> {
        let unremoved = self.pushes().filter(|(_, push)| push.removed.is_none());
        unremoved.map(|(model, push)| (format!("{model}@{}", push.revision), push.revision)).collect()
    }

    /// The files of a revision.
    pub fn files(&self, revision: RevisionId) -> BTreeMap<String, Sha256> {
        let manifest = self.manifests.values().find(|manifest| manifest.revision() == revision);
        let files = manifest.into_iter().flat_map(Manifest::files);
        files.map(|file| (file.path.to_string(), file.sha256)).collect()
    }

    /// Whether a pull of this model must succeed: it has pushes, and no removal ever touched it.
    pub fn must_come(&self, model: &str) -> bool {
        let mut pushes = self.pushes().filter(|(id, _)| id.as_str() == model).peekable();
        pushes.peek().is_some() && pushes.all(|(_, push)| !self.removed.contains(&push.txn))
    }

    /// How many pushes were ever removed.
    pub fn removals(&self) -> usize {
        self.removed.len()
    }

    /// Whether a model has an unremoved push of these files.
    pub fn holds(&self, model: &str, content: &BTreeMap<String, Sha256>) -> bool {
        let mut pushes = self.pushes().filter(|(id, push)| id.as_str() == model && push.removed.is_none());
        pushes.any(|(_, push)| self.files(push.revision) == *content)
    }

    /// Whether a model was ever deployed.
    pub fn was_deployed(&self, model: &str) -> bool {
        self.deployed.iter().any(|id| id.as_str() == model)
    }

    fn pushes(&self) -> impl Iterator<Item = (&ModelId, &Push)> {
        self.state.models.values().flat_map(|model| model.pushes.iter().map(move |push| (&model.id, push)))
    }

    /// Reads what is new in the log, and the markers.
    fn learn(&mut self, store: &MemoryRemote, all: &Snapshot) -> Result<(), String> {
        let names = all.keys().filter_map(|path| {
            let below = path.parse::<RemotePath>().ok()?;
            EventName::from_file_name(below.below(&layout::log())?).map(|(name, _)| name)
        });
        let new: Vec<EventName> = names.filter(|name| !self.events.contains_key(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let above = store.fork();
        above.settle();
        let read = |path: RemotePath| {
            let read = above.read(&Object::at(path), 0..1 << 20).now_or_never();
            read.and_then(Result::ok).ok_or_else(|| "what the snapshot shows can be read".to_owned())
        };
        for name in new {
            let bytes = read(layout::event(&name))?;
            if !name.matches(&bytes) {
                return Err(format!("event {name} holds something else"));
            }
            let event = Event::parse(&bytes).map_err(|error| format!("event {name}: {error}"))?;
            match &event.body {
                Body::Pushed(pushed) => {
                    let manifest = pushed.manifest.clone().ok_or("small events carry their manifest")?;
                    self.manifests.insert(pushed.txn, manifest);
                }
                Body::Removed { txns, .. } => self.removed.extend(txns),
                Body::Deployed { model, .. } => drop(self.deployed.insert(model.clone())),
                _ => {}
            }
            self.events.insert(name, event);
        }
        self.state = State::fold(&self.events);
        // Markers never change; each is read once.
        for (path, entries) in all.iter().filter(|(path, _)| path.ends_with(MARKER)) {
            if entries.iter().all(|(_, sha256)| sha256.is_some_and(|sha256| self.markers.contains_key(&sha256))) {
                continue;
            }
            let path: RemotePath = path.parse().map_err(|error| format!("{error}"))?;
            let wants = |name: &str| name == MARKER;
            let listed = above.list(&path.parent(), Inline::UpTo(1 << 20, &wants)).now_or_never();
            for entry in listed.and_then(Result::ok).into_iter().flatten().filter(|entry| entry.path == path) {
                if let Some(bytes) = entry.content
                    && let Ok(marker) = Marker::parse(&bytes)
                {
                    self.markers.insert(Sha256::of(&bytes), marker.txn);
                }
            }
        }
        Ok(())
    }

    /// Where readers look.
    fn places(&self, all: &Snapshot, model: &ModelId, push: &Push) -> Vec<RemotePath> {
        let ours = |sha256: &Option<Sha256>| sha256.and_then(|sha256| self.markers.get(&sha256)) == Some(&push.txn);
        let folders = all
            .iter()
            .filter(|(path, entries)| path.ends_with(MARKER) && entries.iter().any(|(_, sha256)| ours(sha256)));
        let folders = folders.filter_map(|(path, _)| Some(path.parse::<RemotePath>().ok()?.parent()));
        let (shown, kept) = (layout::models(ModelKind::Finetuned), layout::versions_of(model));
        let looked_at = |home: &RemotePath| {
            *home == shown || *home == kept || layout::is_twin(home, &kept) || home.parent() == layout::trash()
        };
        folders.filter(|folder| looked_at(&folder.parent())).collect()
    }

    fn stands_whole(&self, all: &Snapshot, model: &ModelId, push: &Push) -> bool {
        let Some(manifest) = self.manifests.get(&push.txn) else { return false };
        self.places(all, model, push).iter().any(|place| {
            manifest.files().iter().all(|file| {
                let path = place.join_content(&file.path).to_string();
                let standing = all.get(&path).into_iter().flatten();
                standing.clone().any(|(kind, sha256)| *kind == EntryKind::File && *sha256 == Some(file.sha256))
            })
        })
    }

    /// Whether the trash holds what nobody removed. (A clean-up may take an aborted push that is committed just then;
    /// readers look in the trash, and it comes back.)
    pub fn trashed_unremoved(&self, store: &MemoryRemote) -> bool {
        let all = store.snapshot();
        let mut unremoved = self.pushes().filter(|(_, push)| !self.removed.contains(&push.txn));
        unremoved.any(|(model, push)| {
            self.places(&all, model, push).iter().any(|place| place.below(&layout::trash()).is_some())
        })
    }
}
