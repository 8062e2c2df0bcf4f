//! Upkeep that runs by itself: put where this machine, or this repository, runs things; shown; taken out again.
//!
//! What is written where is `core/schedule.rs`. What people wrote beside it is theirs and stays. Stopped anywhere it is run
//! again: every step is one file replaced whole, or one call of the program that keeps the schedule.

mod observe;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use modelkeep_core::schedule::{self, Job, Place, Standing, cron, devcontainer, systemd, workflow};
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::observe::{Machine, Run};
use crate::context::Context;
use crate::pins::replace_file;
use crate::report::Step;
use crate::settings::{KNOWN, variable_of};
use crate::store::{Address, Location};

/// What to do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Where; by default where it is already, else what fits the machine.
    pub place: Option<Place>,
    /// Take it out again; without a place, wherever it is.
    pub remove: bool,
    /// Only show what would be written: nothing has to be there that could run it.
    pub print: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The program that is to be run; by default the `modelkeep` of the search path.
    pub program: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// Where it was to go; none when it was taken out wherever it was.
    pub place: Option<Place>,
    /// Why there; empty when it was taken out.
    pub why: String,
    /// What is written, or would be.
    pub files: Vec<Text>,
    /// What was done, or would be; nothing when all was as it should be.
    pub steps: Vec<Step>,
    /// Where upkeep is scheduled now.
    pub scheduled: Vec<Place>,
    /// Whether anything was changed.
    pub changed: bool,
    /// What is still to be known, or done by a person.
    pub notes: Vec<String>,
}

/// What is written somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Text {
    /// The file; `crontab` for our lines in it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What is to be done, with what is said about it.
#[derive(Debug, Default)]
struct Plan {
    files: Vec<Text>,
    changes: Vec<(Step, Change)>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Change {
    /// A file gets this text; none: it goes.
    File(PathBuf, Option<String>),
    /// The crontab, whole.
    Crontab(String),
    /// `systemctl --user` is called so.
    Systemctl(Vec<String>),
}

/// Puts upkeep where it runs by itself, or takes it out.
pub fn schedule(ctx: &Context, request: &Request) -> Result<Report> {
    let machine = Machine::look(ctx)?;
    let job = job(ctx, &machine, request)?;
    let seen = machine.seen(&job)?;
    let mut report = Report {
        place: request.place,
        why: String::new(),
        files: Vec::new(),
        steps: Vec::new(),
        scheduled: Vec::new(),
        changed: false,
        notes: Vec::new(),
    };
    let mut plan = Plan::default();
    if request.remove {
        let places = request.place.map_or_else(|| seen.scheduled.clone(), |place| [place].into());
        for place in places.intersection(&seen.scheduled) {
            take(&machine, *place, &job, &mut plan)?;
        }
    } else {
        let (place, why) = match (request.place, schedule::choose(&seen)) {
            (Some(place), _) => (place, "asked for"),
            (None, Some(chosen)) => chosen,
            (None, None) if request.print => (Place::Cron, "what most machines have; this one runs nothing by itself"),
            (None, None) => return Err(nothing_runs_here(&machine)),
        };
        (report.place, report.why) = (Some(place), why.to_owned());
        put(&machine, place, &job, &mut plan)?;
        if !request.print {
            machine.check(place)?;
            plan.notes.extend(way_in(ctx, place)?);
        }
        for other in seen.scheduled.iter().filter(|other| **other != place) {
            let name = other.as_str();
            plan.notes.push(format!("it is scheduled by {name} too: modelkeep maintain schedule --remove --{name}"));
        }
    }
    report.steps = plan.changes.iter().map(|(step, _)| step.clone()).collect();
    (report.files, report.notes) = (plan.files, plan.notes);
    if request.print || request.dry_run || plan.changes.is_empty() {
        report.scheduled = seen.scheduled.into_iter().collect();
        return Ok(report);
    }
    let of_cron = plan.changes.iter().any(|(_, change)| matches!(change, Change::Crontab(_)));
    for (_, change) in plan.changes {
        ctx.check_stop()?;
        apply(&machine.run, change)?;
    }
    let now = Machine::look(ctx)?.seen(&job)?.scheduled;
    // Files are as they were written; who keeps the crontab may take a text and not keep it.
    if of_cron && now.contains(&Place::Cron) == request.remove {
        return Err(Error::local("crontab took the change, and lists what it had before").hint("crontab -l"));
    }
    report.scheduled = now.into_iter().collect();
    report.changed = true;
    Ok(report)
}

fn nothing_runs_here(machine: &Machine) -> Error {
    let why = &machine.no_crontab;
    Error::local(format!("nothing on this machine runs things by itself: {why}, and no systemd answers for this user"))
        .hint("modelkeep maintain schedule --github, or install cron")
}

/// What is to be run, as this machine would.
fn job(ctx: &Context, machine: &Machine, request: &Request) -> Result<Job> {
    let root = ctx.workspace()?.root.clone();
    let root = root.canonicalize().unwrap_or(root);
    let below = root.strip_prefix(&machine.repository).ok().map(crate::placement::slashed).unwrap_or_default();
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::usage(format!("{} is no text, which a schedule is", path.display())).hint("give it another name")
        })
    };
    let name = modelkeep_core::name::nearest_id(&ctx.settings.name);
    let job = Job {
        program: text(&program(ctx, request.program.as_deref()))?,
        workspace: text(&root)?,
        below,
        name: name.map_or_else(|| "models".to_owned(), |id| id.to_string()),
        variables: variables(ctx),
    };
    job.check()?;
    Ok(job)
}

/// The program by the name that a person calls it by: an update replaces what stands behind it.
fn program(ctx: &Context, given: Option<&Path>) -> PathBuf {
    let given = given.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let file = if cfg!(windows) { "modelkeep.exe" } else { "modelkeep" };
    let paths = ctx.env.get("PATH").map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let named = paths.into_iter().map(|folder| ctx.env.cwd.join(folder).join(file)).find(|path| {
        let real = path.canonicalize().ok().filter(|path| path.is_file());
        real.is_some() && given.as_ref().is_none_or(|given| real.as_ref() == Some(given))
    });
    named.or(given).unwrap_or_else(|| PathBuf::from(file))
}

/// Variables that say where things are: without them another cache would be looked after, or another store.
const PLACES: [&str; 15] = [
    "CONDA_PKGS_DIRS",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HF_DATASETS_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_XET_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "MAMBA_ROOT_PREFIX",
    "MODELKEEP_CREDENTIALS",
    "PIP_CACHE_DIR",
    "TORCH_HOME",
    "UV_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
];

/// What of the environment a schedule has to know. Never a token: schedules are read by others.
fn variables(ctx: &Context) -> BTreeMap<String, String> {
    let place = |name: &&str| {
        let value = ctx.env.get(name)?;
        // Others expand `~` and `$NAME` themselves; what runs by itself has no other folder to begin from.
        let fixed = value.starts_with(['~', '$']).then(|| value.to_owned());
        Some(((*name).to_owned(), fixed.unwrap_or_else(|| ctx.absolute(Path::new(value)).display().to_string())))
    };
    let settings = KNOWN.iter().map(|known| variable_of(known.key)).chain(["MODELKEEP_GDRIVE_ACCOUNT".to_owned()]);
    let setting = |name: String| ctx.env.get(&name).map(str::to_owned).map(|value| (name, value));
    let mut found: BTreeMap<_, _> = PLACES.iter().filter_map(place).chain(settings.filter_map(setting)).collect();
    if ctx.options.remote.is_some()
        && let Ok(address) = Address::resolve(ctx)
    {
        let remote = match &address.location {
            // A path was typed from here.
            Location::Folder(folder) if !ctx.settings.remotes.contains_key(&address.name) => {
                folder.canonicalize().as_ref().unwrap_or(folder).display().to_string()
            }
            _ => address.name,
        };
        found.insert(variable_of("remote"), remote);
    }
    found
}

/// What a person has to do so that what runs by itself gets into the store.
fn way_in(ctx: &Context, place: Place) -> Result<Option<String>> {
    let Ok(address) = Address::resolve(ctx) else { return Ok(None) };
    let on_drive = matches!(address.location, Location::Drive(_));
    if place == Place::Github {
        if !on_drive {
            return Err(Error::usage(format!("GitHub's machines cannot reach {}", address.url))
                .hint("modelkeep maintain schedule --cron, or a store that they can: gdrive:NAME"));
        }
        return Ok(Some(format!(
            "the workflow needs a login to the store: MODELKEEP_CREDENTIALS=login.json modelkeep login gdrive, then \
             gh secret set {} <login.json, then rm login.json",
            workflow::SECRET
        )));
    }
    let mut env = ctx.env.clone();
    let given: Vec<&str> = ["MODELKEEP_GDRIVE_TOKEN", "MODELKEEP_GDRIVE_TOKEN_COMMAND"]
        .into_iter()
        .filter(|name| env.vars.remove(*name).is_some())
        .collect();
    let lost = on_drive && !given.is_empty() && crate::drive::Access::find(&env, address.account.as_deref()).is_err();
    Ok(lost.then(|| {
        format!("what runs by itself does not get {}, which may be secret: modelkeep login gdrive", given.join(" or "))
    }))
}

/// What to write, and where.
fn put(machine: &Machine, place: Place, job: &Job, plan: &mut Plan) -> Result<()> {
    match place {
        Place::Cron => {
            let before = machine.crontab.as_deref().unwrap_or_default();
            let after = cron::put(before, job)?;
            plan.files.push(Text { path: "crontab".to_owned(), text: cron::block(job)? });
            if after != before {
                let step = Step::new("add", "crontab", "asks every 4 hours for what is due; the rest stays");
                plan.changes.push((step, Change::Crontab(after)));
            }
        }
        Place::Systemd => {
            let folder = machine.units()?;
            let reasons = ["what is run", "when: every 4 hours, and after what was missed"];
            for ((name, text), why) in systemd::units(job).into_iter().zip(reasons) {
                let file = folder.join(name);
                plan.files.push(Text { path: file.display().to_string(), text: text.clone() });
                whole(file, text, why, plan)?;
            }
            let timer = systemd::timer_name(job);
            if !plan.changes.is_empty() || !machine.is_enabled(&timer) {
                let reload = vec!["daemon-reload".to_owned()];
                plan.changes.push((Step::new("reload", "systemd", "so that it reads them"), Change::Systemctl(reload)));
                let enable = vec!["enable".to_owned(), "--now".to_owned(), timer.clone()];
                let step = Step::new("start", timer, "now, and at every login");
                plan.changes.push((step, Change::Systemctl(enable)));
                plan.notes.push(
                    "timers of a user run while that user is logged in; always with: loginctl enable-linger".to_owned(),
                );
            }
        }
        Place::Codespaces => {
            for (file, before) in &machine.devcontainers {
                let after = devcontainer::put(before.as_deref(), job).map_err(|error| about(file, error))?;
                let text = after.clone().or_else(|| before.clone()).unwrap_or_default();
                plan.files.push(Text { path: file.display().to_string(), text });
                if let Some(after) = after {
                    let action = if before.is_some() { "add" } else { "write" };
                    let step =
                        Step::new(action, file.display().to_string(), "runs what is due when the container starts");
                    plan.changes.push((step, Change::File(file.clone(), Some(after))));
                }
            }
            if !plan.changes.is_empty() {
                plan.notes.push("commit it: a container is made from what git has".to_owned());
            }
        }
        Place::Github => {
            let file = machine.workflow.clone();
            let text = workflow::file(job);
            plan.files.push(Text { path: file.display().to_string(), text: text.clone() });
            whole(file, text, "runs what is due once a day", plan)?;
            if !plan.changes.is_empty() {
                plan.notes.push("commit and push it: GitHub runs what is on the default branch".to_owned());
            }
        }
    }
    Ok(())
}

/// A file that is ours whole: one that somebody changed, or that is somebody else's, is never replaced.
fn whole(file: PathBuf, text: String, why: &str, plan: &mut Plan) -> Result<()> {
    let shown = file.display().to_string();
    match observe::read(&file)? {
        Some(there) if there == text => {}
        Some(there) => match schedule::standing(&there) {
            Standing::Ours => {
                plan.changes.push((Step::new("replace", shown, why), Change::File(file, Some(text))));
            }
            Standing::Edited => plan.notes.push(format!("{shown} was changed by hand, and stays as it is")),
            Standing::Foreign => {
                return Err(Error::conflict(format!("{shown} is there, and not modelkeep's"))
                    .hint(format!("mv '{shown}' '{shown}.before', then run it again")));
            }
        },
        None => plan.changes.push((Step::new("write", shown, why), Change::File(file, Some(text)))),
    }
    Ok(())
}

/// What to take out.
fn take(machine: &Machine, place: Place, job: &Job, plan: &mut Plan) -> Result<()> {
    match place {
        Place::Cron => {
            if let Some(after) = cron::take(machine.crontab.as_deref().unwrap_or_default(), job)? {
                let step = Step::new("take out", "crontab", "the rest stays");
                plan.changes.push((step, Change::Crontab(after)));
            }
        }
        Place::Systemd => {
            let folder = machine.units()?;
            let timer = systemd::timer_name(job);
            if machine.systemd {
                let disable = vec!["disable".to_owned(), "--now".to_owned(), timer.clone()];
                plan.changes.push((Step::new("stop", timer, "it starts no more"), Change::Systemctl(disable)));
            }
            for (name, _) in systemd::units(job) {
                delete(folder.join(name), plan)?;
            }
            if machine.systemd {
                let reload = vec!["daemon-reload".to_owned()];
                plan.changes
                    .push((Step::new("reload", "systemd", "so that it forgets them"), Change::Systemctl(reload)));
            }
        }
        Place::Codespaces => {
            let before_these = plan.changes.len();
            for (file, before) in &machine.devcontainers {
                let Some(before) = before else { continue };
                let Some(after) = devcontainer::take(before).map_err(|error| about(file, error))? else { continue };
                let shown = file.display().to_string();
                let (step, after) = if after.is_empty() {
                    (Step::new("delete", shown, "nothing else was in it"), None)
                } else {
                    (Step::new("take out", shown, "the rest stays"), Some(after))
                };
                plan.changes.push((step, Change::File(file.clone(), after)));
            }
            if plan.changes.len() == before_these {
                plan.notes.push("what starts upkeep in the container was written by hand, and stays".to_owned());
            }
        }
        Place::Github => delete(machine.workflow.clone(), plan)?,
    }
    Ok(())
}

fn delete(file: PathBuf, plan: &mut Plan) -> Result<()> {
    let shown = file.display().to_string();
    match observe::read(&file)?.as_deref().map(schedule::standing) {
        None | Some(Standing::Foreign) => Ok(()),
        Some(Standing::Ours) => {
            plan.changes.push((Step::new("delete", shown, "nothing else was in it"), Change::File(file, None)));
            Ok(())
        }
        Some(Standing::Edited) => {
            Err(Error::conflict(format!("{shown} was changed by hand")).hint(format!("rm '{shown}'")))
        }
    }
}

fn about(file: &Path, error: Error) -> Error {
    error.context(file.display())
}

fn apply(run: &Run, change: Change) -> Result<()> {
    match change {
        Change::Crontab(text) => run.set_crontab(&text),
        Change::Systemctl(arguments) => run.systemctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()),
        Change::File(file, Some(text)) => {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).map_err(|error| failed("creating", folder, error))?;
            }
            // A link leads to where the file is kept, as those do who keep their settings in a repository.
            let file = file.canonicalize().unwrap_or(file);
            replace_file(&file, text.as_bytes())
        }
        Change::File(file, None) => fs::remove_file(&file).map_err(|error| failed("removing", &file, error)),
    }
}
