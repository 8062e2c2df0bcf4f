//! Watch a directory of checkpoints, and store each as soon as it is finished.
//!
//! Knows when to look and in what order to store. What finished means is in `modelkeep_core::inspect::checkpoint`;
//! what is done with a finished one in `checkpoint`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use modelkeep_core::inspect::JSON_LIMIT;
use modelkeep_core::inspect::checkpoint::{self as judging, Contents, Look, Seen, TAIL, Verdict};
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Kind, Result};
use modelkeep_remote::folder::failed;
use serde::Deserialize;

use crate::checkpoint::{self, Report, name_of};
use crate::context::Context;
use crate::drive::OnDrive;
use crate::learn::header_end;
use crate::local::Stat;
use crate::observe::UNSENT;

/// What to watch.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The directory that training writes its checkpoints into.
    pub dir: PathBuf,
    /// The model that is being trained.
    pub model: String,
    /// Two looks, then the end.
    pub once: bool,
    /// Seconds from one look to the next.
    pub interval: f64,
    /// A file in each checkpoint that its framework writes last, where modelkeep does not know the framework.
    pub last: Option<String>,
    /// Only checkpoints of later steps than this.
    pub after: Option<u64>,
    /// So many of the newest checkpoints stay on the store, and the best one; none means all.
    pub keep_last: Option<u64>,
    /// Store the optimizer's state too.
    pub optimizer: bool,
    /// Only files that match one of these, when there are any.
    pub include: Vec<String>,
    /// No file that matches one of these.
    pub exclude: Vec<String>,
    /// The base model, over what the adapter says.
    pub base: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            model: String::new(),
            once: false,
            interval: 5.0,
            last: None,
            after: None,
            keep_last: None,
            optimizer: true,
            include: Vec::new(),
            exclude: Vec::new(),
            base: None,
        }
    }
}

/// How often a pause looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);

/// A checkpoint, or what may become one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    name: String,
    look: Look,
}

/// Watches until it is stopped, or with `once` looks twice. Each checkpoint that was stored is told at once.
pub async fn watch(ctx: &Context, request: &Request, mut tell: impl FnMut(&Report) -> Result<()>) -> Result<()> {
    request.model.parse::<ModelId>()?;
    checkpoint::check_keep(request.keep_last)?;
    let pause = Duration::try_from_secs_f64(request.interval)
        .map_err(|error| Error::usage(format!("{} is no time between looks", request.interval)).because(error))?;
    let dir = ctx.absolute(&request.dir);
    if request.once || dir.exists() {
        check_dir(&dir)?;
    } else {
        ctx.note(format!("{} is not there yet; waiting for it", dir.display()));
    }
    // A store that cannot be reached, or a model that cannot be written, is said now and not in an hour.
    checkpoint::begin(ctx, &request.model, |next| format!("modelkeep watch {} {next}", request.dir.display())).await?;
    if !request.once {
        ctx.note(format!("watching {} (Ctrl-C ends it)", request.dir.display()));
    }
    let mut watched = Watched { before: BTreeMap::new(), done: BTreeMap::new(), said: BTreeMap::new() };
    let mut looks = 0;
    loop {
        ctx.check_stop()?;
        let mut now = candidates(&dir)?;
        now.retain(|_, seen| {
            request.after.is_none_or(|after| judging::step(&seen.name).is_some_and(|step| step > after))
        });
        for path in watched.settled(&now) {
            let Some(candidate) = now.get(&path) else { continue };
            if let Some(why) = unfinished(candidate, &path, request)? {
                watched.wait(&path, why, |why| ctx.note(format!("{}: {why}", candidate.name)));
                continue;
            }
            match checkpoint::store(ctx, &of(request, &path)).await {
                Ok(report) => {
                    watched.done.insert(path, candidate.clone());
                    tell(&report)?;
                    ctx.opened().and_then(|store| store.on_drive()).into_iter().for_each(OnDrive::save);
                }
                // The training has taken it away or gone on writing it, or the store may answer again: the next look.
                Err(error) if !request.once && may_pass(error.kind()) => {
                    watched.wait(&path, error.full_message(), |why| {
                        ctx.warn(format!("{}: {why}; it is tried again", candidate.name));
                    });
                }
                Err(error) => return Err(error),
            }
        }
        looks += 1;
        watched.before = now;
        if request.once && looks == 2 {
            return Ok(());
        }
        wait(ctx, pause).await?;
    }
}

fn may_pass(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::Conflict | Kind::Unavailable | Kind::Local)
}

fn check_dir(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::usage(format!("{} is a file", dir.display()))
            .hint("name the directory that training writes its checkpoints into; one file: modelkeep push FILE MODEL")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::not_found(format!("{} is not there", dir.display()))
                .hint("check the path; without --once it is waited for"))
        }
        Err(error) => Err(failed("looking at", dir, error)),
    }
}

fn of(request: &Request, path: &Path) -> checkpoint::Request {
    checkpoint::Request {
        path: path.to_owned(),
        model: request.model.clone(),
        name: None,
        keep_last: request.keep_last,
        optimizer: request.optimizer,
        include: request.include.clone(),
        exclude: request.exclude.clone(),
        base: request.base.clone(),
        purpose: None,
    }
}

/// What the looks so far have shown.
struct Watched {
    before: BTreeMap<PathBuf, Candidate>,
    done: BTreeMap<PathBuf, Candidate>,
    /// Why each one is waited for, so that it is said once.
    said: BTreeMap<PathBuf, String>,
}

impl Watched {
    /// What did not change between two looks and is not done, by step, else by name.
    fn settled(&self, now: &BTreeMap<PathBuf, Candidate>) -> Vec<PathBuf> {
        let still =
            |path: &Path, seen: &Candidate| self.before.get(path) == Some(seen) && self.done.get(path) != Some(seen);
        let mut settled: Vec<_> = now.iter().filter(|(path, seen)| still(path, seen)).collect();
        settled.sort_by_key(|(path, seen)| (judging::step(&seen.name), *path));
        settled.into_iter().map(|(path, _)| path.clone()).collect()
    }

    fn wait(&mut self, path: &Path, why: String, say: impl FnOnce(&str)) {
        if self.said.get(path) != Some(&why) {
            say(&why);
            self.said.insert(path.to_owned(), why);
        }
    }
}

/// Everything directly in the directory that may be, or become, a checkpoint.
fn candidates(dir: &Path) -> Result<BTreeMap<PathBuf, Candidate>> {
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed("looking at", dir, error)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(name) = name_of(&path) else { continue };
        if name == UNSENT {
            continue;
        }
        let mut look = Look::new();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, "", &mut look),
            // Some frameworks write a checkpoint as one file.
            Ok(metadata) if path.extension().is_some_and(|end| end == "ckpt") => {
                look.insert(name.clone(), seen(&metadata));
            }
            // What goes away while it is looked at is no checkpoint of this look.
            _ => continue,
        }
        if judging::may_be(&name, &look) {
            found.insert(path, Candidate { name, look });
        }
    }
    Ok(found)
}

fn walk(folder: &Path, below: &str, look: &mut Look) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        // Links are not followed into directories: they may lead in a circle.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &path, look),
            Ok(_) => {
                if let Ok(metadata) = fs::metadata(entry.path()) {
                    look.insert(path, seen(&metadata));
                }
            }
            Err(_) => {}
        }
    }
}

fn seen(metadata: &fs::Metadata) -> Seen {
    let stat = Stat::of(metadata);
    Seen { size: stat.size, modified: stat.modified }
}

/// What is still missing of a checkpoint that has not changed lately, if anything.
fn unfinished(candidate: &Candidate, path: &Path, request: &Request) -> Result<Option<String>> {
    let place = |below: &str| if path.is_dir() { path.join(below) } else { path.to_owned() };
    let mut contents = Contents::default();
    for (below, seen) in &candidate.look {
        if judging::is_told(below) && seen.size <= JSON_LIMIT {
            let read = fs::read(place(below));
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) => return gone(below, &place(below), error),
            };
            contents.documents.insert(below.clone(), bytes);
        }
        if judging::is_weights(below) {
            match edges(&place(below), seen.size) {
                Ok(edges) => drop(contents.edges.insert(below.clone(), edges)),
                Err(error) => return gone(below, &place(below), error),
            }
        }
    }
    Ok(match judging::judge(&candidate.name, &candidate.look, &contents, request.last.as_deref()) {
        Verdict::Finished => None,
        Verdict::Unfinished(why) => Some(why),
        Verdict::NoCheckpoint => Some("it holds no weights".to_owned()),
    })
}

fn gone(below: &str, file: &Path, error: std::io::Error) -> Result<Option<String>> {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Ok(Some(format!("{below} went away")));
    }
    Err(failed("reading", file, error))
}

/// The first and the last bytes of a file of weights.
fn edges(file: &Path, size: u64) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut open = File::open(file)?;
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    open.by_ref().take(8).read_to_end(&mut head)?;
    if file.extension().is_some_and(|extension| extension == "safetensors") {
        let rest = header_end(&head).saturating_sub(head.len() as u64);
        open.by_ref().take(rest).read_to_end(&mut head)?;
    }
    open.seek(SeekFrom::Start(size.saturating_sub(TAIL as u64)))?;
    open.take(TAIL as u64).read_to_end(&mut tail)?;
    Ok((head, tail))
}

/// Waits for the next look; Ctrl-C ends it.
async fn wait(ctx: &Context, pause: Duration) -> Result<()> {
    let until = ctx.clock.monotonic() + pause;
    loop {
        ctx.check_stop()?;
        let left = until.saturating_sub(ctx.clock.monotonic());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
}
