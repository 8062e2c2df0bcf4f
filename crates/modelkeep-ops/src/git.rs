//! A git repository as far as we read it: what is staged, tracked, or in its history. No git program is needed.
//!
//! Knows how git keeps things. Does not know what belongs in it, and writes nothing.

mod object;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::{Mode, Stage};
use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use modelkeep_core::{Error, Result};

use self::object::Packs;
use crate::context::Env;

/// A repository.
pub struct Git {
    repo: Repository,
    /// Another index than the repository's own, as git hands to hooks of a commit of some files alone.
    index_file: Option<PathBuf>,
    packs: Packs,
}

/// A file that git has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is in the repository.
    pub path: String,
    /// Its content.
    pub id: ObjectId,
}

/// Commits whose files are looked at.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    tips: Vec<ObjectId>,
    hidden: Vec<ObjectId>,
}

/// One line that git gives to a pre-push hook (`githooks(5)`).
const PUSH_FIELDS: usize = 4;

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn failed(doing: &str, error: gix::Error) -> Error {
    Error::local(doing.to_owned()).because(error.to_string()).hint("git fsck")
}

impl std::fmt::Debug for Git {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git").field("dir", &self.repo.git_dir()).finish_non_exhaustive()
    }
}

impl Git {
    /// The repository that a folder is in; `None` when it is in none.
    pub fn find(env: &Env, at: &Path) -> Result<Option<Self>> {
        // Hooks are told which repository they are for.
        let named = env.get("GIT_DIR").map(|dir| env.cwd.join(dir));
        let found = match &named {
            Some(dir) => gix::open(dir.as_path()),
            None => gix::discover(at),
        };
        let repo = match found {
            Ok(repo) => repo,
            Err(_) if named.is_none() && !in_repository(at) => return Ok(None),
            Err(error) => return Err(failed("the git repository cannot be read", error)),
        };
        let index_file = env.get("GIT_INDEX_FILE").map(|file| env.cwd.join(file));
        Ok(Some(Self { packs: Packs::default(), index_file, repo }))
    }

    /// The same, where there must be one.
    pub fn open(env: &Env, at: &Path) -> Result<Self> {
        Self::find(env, at)?.ok_or_else(|| {
            Error::not_found(format!("{} is in no git repository", at.display())).hint("git init, or go to the project")
        })
    }

    /// The top of the working tree; none in a bare repository.
    pub fn root(&self) -> Option<PathBuf> {
        let root = self.repo.workdir()?;
        Some(root.canonicalize().unwrap_or_else(|_| root.to_owned()))
    }

    /// What is shared by all working trees of it.
    pub fn common_dir(&self) -> PathBuf {
        let dir = self.repo.common_dir();
        dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
    }

    /// A setting, and whether the repository itself has it (rather than the user or the machine).
    pub fn setting(&self, key: &str) -> Option<(String, bool)> {
        let config = self.repo.config_snapshot();
        let value = config.string(key)?.to_string();
        let own = config
            .plumbing()
            .string_filter(key, |meta| meta.source.kind() == gix::config::source::Kind::Repository)
            .is_some();
        Some((value, own))
    }

    /// Whether its history is cut off.
    pub fn is_shallow(&self) -> bool {
        self.repo.is_shallow().unwrap_or(false)
    }

    /// Files in the index that are not in HEAD, or are there with another content.
    pub fn staged(&self) -> Result<Vec<File>> {
        let Some(index) = self.index()? else { return Ok(Vec::new()) };
        let mut known = HashMap::new();
        let mut same = HashSet::new();
        if let Some(tree) = self.head_tree()? {
            self.compare(tree, index.tree(), &BString::default(), &mut known, &mut same)?;
        }
        Ok(files(&index, |path, id| {
            let untouched = same.contains(b"".as_bstr())
                || !same.is_empty() && path.find_iter("/").any(|at| same.contains(path[..at].as_bstr()));
            !untouched && known.get(path) != Some(id)
        }))
    }

    /// Every file in the index; in a bare repository, every file of HEAD.
    pub fn tracked(&self) -> Result<Vec<File>> {
        if let Some(index) = self.index()? {
            return Ok(files(&index, |_, _| true));
        }
        let mut found = Vec::new();
        if let Some(tree) = self.head_tree()? {
            self.added(tree, &[], &BString::default(), &mut |path, id| {
                found.push(File { path: path.to_string(), id });
            })?;
        }
        Ok(found)
    }

    fn index(&self) -> Result<Option<gix::index::File>> {
        let file = self.index_file.clone().unwrap_or_else(|| self.repo.index_path());
        if self.repo.workdir().is_none() || !file.exists() {
            return Ok(None);
        }
        let opened = gix::index::File::at(&file, self.repo.object_hash(), true, gix::index::decode::Options::default());
        opened.map(Some).map_err(|error| {
            Error::local(format!("{} cannot be read", file.display())).because(error.to_string()).hint("git status")
        })
    }

    fn head_tree(&self) -> Result<Option<ObjectId>> {
        // A repository without a commit has no HEAD to go to.
        match self.repo.head_id() {
            Ok(id) => self.tree_of(id.detach()).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn tree_of(&self, commit: ObjectId) -> Result<ObjectId> {
        let commit = self.repo.find_commit(commit).map_err(|error| failed("a commit cannot be read", error))?;
        Ok(commit.tree_id().map_err(|error| failed("a commit cannot be read", error))?.detach())
    }

    /// Collects what HEAD holds; a folder that the index knows to be the same is not gone into.
    fn compare(
        &self,
        tree: ObjectId,
        cached: Option<&gix::index::extension::Tree>,
        prefix: &BString,
        known: &mut HashMap<BString, ObjectId>,
        same: &mut HashSet<BString>,
    ) -> Result<()> {
        if cached.is_some_and(|cached| cached.num_entries.is_some() && cached.id == tree) {
            same.insert(prefix.clone());
            return Ok(());
        }
        for (name, kind, id) in self.entries(tree)? {
            let path = below(prefix, name.as_ref());
            if kind == EntryKind::Tree {
                let cached = cached.and_then(|cached| cached.children.iter().find(|child| child.name[..] == name[..]));
                self.compare(id, cached, &path, known, same)?;
            } else {
                known.insert(path, id);
            }
        }
        Ok(())
    }

    fn entries(&self, tree: ObjectId) -> Result<Vec<(BString, EntryKind, ObjectId)>> {
        let tree =
            self.repo.find_tree(tree).map_err(|error| failed("a folder of the history cannot be read", error))?;
        let decoded = tree.decode().map_err(|error| failed("a folder of the history cannot be read", error))?;
        Ok(decoded.entries.iter().map(|e| (e.filename.to_owned(), e.mode.kind(), e.oid.to_owned())).collect())
    }

    /// Tells every file of a tree that none of the others has at the same path.
    fn added(
        &self,
        tree: ObjectId,
        others: &[ObjectId],
        prefix: &BString,
        tell: &mut dyn FnMut(&BStr, ObjectId),
    ) -> Result<()> {
        if others.contains(&tree) {
            return Ok(());
        }
        let mut there: HashMap<BString, Vec<(EntryKind, ObjectId)>> = HashMap::new();
        for other in others {
            for (name, kind, id) in self.entries(*other)? {
                there.entry(name).or_default().push((kind, id));
            }
        }
        for (name, kind, id) in self.entries(tree)? {
            let same = there.get(&name).map(Vec::as_slice).unwrap_or_default();
            if same.iter().any(|(_, other)| *other == id) {
                continue;
            }
            let path = below(prefix, name.as_ref());
            match kind {
                EntryKind::Tree => {
                    let folders = same.iter().filter(|(kind, _)| *kind == EntryKind::Tree).map(|(_, id)| *id);
                    self.added(id, &folders.collect::<Vec<_>>(), &path, tell)?;
                }
                EntryKind::Blob | EntryKind::BlobExecutable => tell(path.as_ref(), id),
                EntryKind::Link | EntryKind::Commit => {}
            }
        }
        Ok(())
    }

    /// The commits that `FROM..TO` names; a single name means everything up to it.
    pub fn range(&self, text: &str) -> Result<Commits> {
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => (Some(from.trim_end_matches('.')), to.trim_start_matches('.')),
            None => (None, text),
        };
        let to = self.commit(if to.is_empty() { "HEAD" } else { to })?;
        // What a push event of a new branch says it was before.
        let from = from.filter(|from| !from.is_empty() && !from.bytes().all(|byte| byte == b'0'));
        Ok(Commits { tips: vec![to], hidden: from.map(|from| self.commit(from)).transpose()?.into_iter().collect() })
    }

    fn commit(&self, name: &str) -> Result<ObjectId> {
        let missing = || {
            let shallow = if self.is_shallow() { "; this clone is shallow" } else { "" };
            Error::not_found(format!("there is no commit `{name}`{shallow}")).hint(if self.is_shallow() {
                "git fetch --unshallow (in GitHub Actions: fetch-depth: 0)"
            } else {
                "git log --oneline"
            })
        };
        let id = self.repo.rev_parse_single(name).map_err(|_| missing())?;
        let object = id.object().map_err(|_| missing())?;
        Ok(object.peel_to_kind(gix::object::Kind::Commit).map_err(|_| missing())?.id)
    }

    /// The commits that a push sends, by what git tells a pre-push hook: a line for each ref.
    pub fn pushed(&self, remote: Option<&str>, lines: &str) -> Result<Commits> {
        let mut commits = Commits::default();
        for line in lines.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.len() != PUSH_FIELDS {
                continue;
            }
            let known = |text: &str| {
                let id = ObjectId::from_hex(text.as_bytes()).ok().filter(|id| !id.is_null())?;
                let object = self.repo.find_object(id).ok()?;
                Some(object.peel_to_kind(gix::object::Kind::Commit).ok()?.id)
            };
            commits.tips.extend(known(fields[1]));
            commits.hidden.extend(known(fields[3]));
        }
        let prefix = remote.map_or("refs/remotes/".to_owned(), |remote| format!("refs/remotes/{remote}/"));
        commits.hidden.extend(self.refs()?.into_iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, id)| id));
        Ok(commits)
    }

    /// Every commit that any ref, or HEAD, leads to.
    pub fn everything(&self) -> Result<Commits> {
        let mut tips: Vec<ObjectId> = self.refs()?.into_iter().map(|(_, id)| id).collect();
        tips.extend(self.repo.head_id().ok().map(gix::Id::detach).filter(|id| self.repo.find_commit(*id).is_ok()));
        Ok(Commits { tips, hidden: Vec::new() })
    }

    fn refs(&self) -> Result<Vec<(String, ObjectId)>> {
        let unreadable = |error: gix::Error| failed("the branches and tags cannot be read", error);
        let platform = self.repo.references().map_err(unreadable)?;
        let mut found = Vec::new();
        for reference in platform.all().map_err(unreadable)? {
            // One that leads nowhere is git's own business.
            let Ok(mut reference) = reference else { continue };
            let name = reference.name().as_bstr().to_string();
            let Ok(id) = reference.peel_to_id() else { continue };
            if self.repo.find_commit(id.detach()).is_ok() {
                found.push((name, id.detach()));
            }
        }
        Ok(found)
    }

    /// What the commits brought, oldest commit first: each file with the commit, each content at a path once.
    pub fn brought(&self, commits: &Commits) -> Result<Vec<(File, ObjectId)>> {
        let walk = self
            .repo
            .rev_walk(commits.tips.iter().copied())
            .with_hidden(commits.hidden.iter().copied())
            .sorting(gix::revision::walk::Sorting::ByCommitTime(
                gix::traverse::commit::simple::CommitTimeOrder::NewestFirst,
            ))
            .all()
            .map_err(|error| failed("the history cannot be read", error))?;
        let mut order = Vec::new();
        for info in walk {
            let info = info.map_err(|error| failed("the history cannot be read", error))?;
            order.push((info.id, info.parent_ids.iter().copied().collect::<Vec<_>>()));
        }
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for (id, parents) in order.into_iter().rev() {
            // A parent that a shallow clone does not have is none.
            let parents: Vec<ObjectId> = parents.into_iter().filter_map(|parent| self.tree_of(parent).ok()).collect();
            self.added(self.tree_of(id)?, &parents, &BString::default(), &mut |path, blob| {
                if seen.insert((path.to_owned(), blob)) {
                    found.push((File { path: path.to_string(), id: blob }, id));
                }
            })?;
        }
        Ok(found)
    }

    /// The size of a content, and its first bytes. A large one that is kept as a difference to another has none.
    pub fn beginning(&self, id: &ObjectId, bytes: usize) -> Result<(u64, Vec<u8>)> {
        if let Some(found) = object::loose(&self.common_dir(), id, bytes)? {
            return Ok(found);
        }
        let header =
            self.repo.find_header(*id).map_err(|error| failed("a file of the history cannot be read", error))?;
        let size = header.size();
        if let Some(head) = self.packs.beginning(&self.common_dir(), id, bytes)? {
            return Ok((size, head));
        }
        if size > WHOLE {
            return Ok((size, Vec::new()));
        }
        let mut whole = self.whole(id)?;
        whole.truncate(bytes);
        Ok((size, whole))
    }

    /// The size of a content.
    pub fn size(&self, id: &ObjectId) -> Result<u64> {
        let header =
            self.repo.find_header(*id).map_err(|error| failed("a file of the history cannot be read", error))?;
        Ok(header.size())
    }

    /// All of a content.
    pub fn whole(&self, id: &ObjectId) -> Result<Vec<u8>> {
        let object =
            self.repo.find_object(*id).map_err(|error| failed("a file of the history cannot be read", error))?;
        Ok(object.detach().data)
    }

    /// How many bytes each content takes in the repository, packed as it is.
    pub fn stored(&self, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, u64>> {
        self.packs.stored(&self.common_dir(), ids)
    }

    /// Takes files out of the index, as `git rm --cached` does. They stay in the working tree.
    pub fn forget(&self, paths: &[String]) -> Result<()> {
        let Some(mut index) = self.index()? else { return Ok(()) };
        let paths: HashSet<&str> = paths.iter().map(String::as_str).collect();
        index.remove_entries(|_, path, _| path.to_str().is_ok_and(|path| paths.contains(path)));
        // It said which folders are as in HEAD, and no longer fits.
        index.remove_tree();
        index.write(gix::index::write::Options::default()).map_err(|error| {
            Error::local("the index of git cannot be written").because(error.to_string()).hint("git status")
        })
    }

    /// How many bytes the whole history takes: what is in `objects/`.
    pub fn history_bytes(&self) -> Result<u64> {
        object::all_bytes(&self.common_dir().join("objects"))
    }
}

/// Contents up to here are read whole to see how they begin.
const WHOLE: u64 = 64 << 20;

/// Whether anything above looks like a repository, so that one that cannot be read is not taken for none.
fn in_repository(at: &Path) -> bool {
    let at = at.canonicalize().unwrap_or_else(|_| at.to_owned());
    at.ancestors().any(|folder| folder.join(".git").exists())
}

fn files(index: &gix::index::File, wanted: impl Fn(&BStr, &ObjectId) -> bool) -> Vec<File> {
    let backing = index.path_backing();
    let entries = index.entries().iter().filter(|entry| {
        entry.stage() == Stage::Unconflicted && matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE)
    });
    entries
        .map(|entry| (entry.path_in(backing), entry.id))
        .filter(|(path, id)| wanted(path, id))
        .map(|(path, id)| File { path: path.to_string(), id })
        .collect()
}

fn below(prefix: &BString, name: &BStr) -> BString {
    if prefix.is_empty() { name.to_owned() } else { [prefix.as_slice(), b"/", name].concat().into() }
}
