//! What a machine and a repository have that runs things by itself, and what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use modelkeep_core::schedule::{self, Job, Place, Seen, Standing, cron, devcontainer, systemd, workflow};
use modelkeep_core::{Error, Result};
use modelkeep_remote::folder::failed;

use crate::context::Context;
use crate::git::Git;
use crate::host;

/// What was seen.
#[derive(Debug)]
pub struct Machine {
    /// Runs the programs that keep schedules.
    pub run: Run,
    /// The crontab of the user; none without `crontab`, or one that cannot be read.
    pub crontab: Option<String>,
    /// Why there is none.
    pub no_crontab: String,
    /// The user's systemd answers.
    pub systemd: bool,
    /// The git repository that the workspace is in, else the workspace.
    pub repository: PathBuf,
    /// Settings of development containers, with their text; the first place when there is none.
    pub devcontainers: Vec<(PathBuf, Option<String>)>,
    /// Where the workflow is, or would be.
    pub workflow: PathBuf,
    in_git: bool,
    codespace: bool,
    /// The folder of the user's units.
    units: Option<PathBuf>,
}

/// Runs programs as the process was started.
#[derive(Debug)]
pub struct Run {
    variables: BTreeMap<String, String>,
}

impl Machine {
    /// Looks; changes nothing.
    pub fn look(ctx: &Context) -> Result<Self> {
        let root = ctx.workspace()?.root.clone();
        let root = root.canonicalize().unwrap_or(root);
        let git = Git::find(&ctx.env, &root)?.and_then(|git| git.root());
        let repository = git.clone().unwrap_or(root);
        let run = Run { variables: ctx.env.vars.clone() };
        let (crontab, no_crontab) = match run.crontab() {
            Ok(Some(text)) => (Some(text), String::new()),
            Ok(None) => (None, "there is no crontab on this machine".to_owned()),
            Err(error) => (None, error.full_message()),
        };
        Ok(Self {
            crontab,
            no_crontab,
            systemd: run.answers(),
            devcontainers: devcontainers(&repository)?,
            workflow: repository.join(workflow::FILE),
            in_git: git.is_some(),
            codespace: host::kind(&ctx.env) == modelkeep_core::event::HostKind::Codespaces,
            units: ctx.env.config_dir().and_then(|dir| Some(dir.parent()?.join("systemd/user"))),
            repository,
            run,
        })
    }

    /// What a place is chosen by.
    pub fn seen(&self, job: &Job) -> Result<Seen> {
        let mut seen = Seen {
            codespace: self.codespace,
            systemd: self.systemd,
            crontab: self.crontab.is_some(),
            devcontainer: self.devcontainers.iter().any(|(_, text)| text.is_some()),
            scheduled: [].into(),
        };
        // Lines whose end is missing are ours all the same.
        if self.crontab.as_deref().is_some_and(|text| !matches!(cron::take(text, job), Ok(None))) {
            seen.scheduled.insert(Place::Cron);
        }
        let is_ours = |file: &Path| -> Result<bool> {
            Ok(read(file)?.is_some_and(|text| schedule::standing(&text) != Standing::Foreign))
        };
        if let Some(folder) = &self.units
            && is_ours(&folder.join(systemd::timer_name(job)))?
        {
            seen.scheduled.insert(Place::Systemd);
        }
        // One that cannot be read is told of where it would be changed.
        let asks = |text: &String| devcontainer::is_scheduled(text).unwrap_or(false);
        if self.devcontainers.iter().any(|(_, text)| text.as_ref().is_some_and(asks)) {
            seen.scheduled.insert(Place::Codespaces);
        }
        if is_ours(&self.workflow)? {
            seen.scheduled.insert(Place::Github);
        }
        Ok(seen)
    }

    /// Fails when a place is not to be had here.
    pub fn check(&self, place: Place) -> Result<()> {
        match place {
            Place::Cron if self.crontab.is_none() => {
                Err(Error::local(self.no_crontab.clone())
                    .hint("install cron, or modelkeep maintain schedule --systemd"))
            }
            Place::Systemd if !self.systemd => Err(Error::local("no systemd answers for this user")
                .hint("modelkeep maintain schedule --cron, or log in where one does")),
            Place::Github if !self.in_git => {
                Err(Error::not_found(format!("{} is in no git repository", self.repository.display()))
                    .hint("git init, or modelkeep maintain schedule --cron"))
            }
            _ => Ok(()),
        }
    }

    /// The folder of the user's units.
    pub fn units(&self) -> Result<&Path> {
        self.units.as_deref().ok_or_else(|| {
            Error::local("there is no home directory to keep units of systemd in").hint("set HOME or XDG_CONFIG_HOME")
        })
    }

    /// Whether a timer starts by itself.
    pub fn is_enabled(&self, timer: &str) -> bool {
        self.systemd
            && self.run.program("systemctl", &["--user", "is-enabled", timer]).is_ok_and(|it| it.status.success())
    }
}

/// A file's text; none when it is not there.
pub fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading", file, error)),
    }
}

/// Every one that is there: which of them a container is made from is chosen when it is made.
fn devcontainers(repository: &Path) -> Result<Vec<(PathBuf, Option<String>)>> {
    let mut files: Vec<PathBuf> = devcontainer::FILES.iter().map(|file| repository.join(file)).collect();
    let named = fs::read_dir(repository.join(devcontainer::FOLDER)).into_iter().flatten().flatten();
    let mut named: Vec<PathBuf> = named.map(|entry| entry.path().join("devcontainer.json")).collect();
    named.sort();
    let usual = files[0].clone();
    files.append(&mut named);
    let mut found = Vec::new();
    for file in files {
        // A file where a folder would be is no folder with one in it.
        if file.is_file() {
            let text = read(&file)?;
            found.push((file, text));
        }
    }
    if found.is_empty() {
        found.push((usual, None));
    }
    Ok(found)
}

impl Run {
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // What they say when there is nothing is read below.
        command.args(arguments).env_clear().envs(&self.variables).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn program(&self, program: &str, arguments: &[&str]) -> std::io::Result<Output> {
        self.command(program, arguments).output()
    }

    /// The crontab; empty when the user has none, and none where there is no `crontab`.
    fn crontab(&self) -> Result<Option<String>> {
        let output = match self.program("crontab", &["-l"]) {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::local("`crontab -l` cannot be run").because(error)),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let text = String::from_utf8(output.stdout);
            return text.map(Some).map_err(|_| Error::local("the crontab is no UTF-8 text; it was left alone"));
        }
        // POSIX says only that it fails; every cron, and busybox's, says so. Anything else may hide what is there.
        if said.contains("no crontab for") || said.contains("No such file") {
            return Ok(Some(String::new()));
        }
        Err(Error::local(format!("the crontab cannot be read: {}", said.trim())))
    }

    /// Replaces the crontab; an empty one goes.
    pub fn set_crontab(&self, text: &str) -> Result<()> {
        let failed = |error| Error::local("`crontab -` cannot be run").because(error);
        if text.is_empty() {
            let output = self.program("crontab", &["-r"]).map_err(failed)?;
            return succeeded("crontab -r", &output);
        }
        let mut command = self.command("crontab", &["-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends early says why.
            let _ = stdin.write_all(text.as_bytes());
        }
        succeeded("crontab -", &child.wait_with_output().map_err(failed)?)
    }

    /// Whether the user's systemd can be asked.
    fn answers(&self) -> bool {
        self.program("systemctl", &["--user", "show-environment"]).is_ok_and(|output| output.status.success())
    }

    /// Calls `systemctl --user`.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<()> {
        let all: Vec<&str> = ["--user"].iter().chain(arguments).copied().collect();
        let output = self.program("systemctl", &all);
        let output = output.map_err(|error| Error::local("`systemctl` cannot be run").because(error))?;
        succeeded(&format!("systemctl {}", all.join(" ")), &output)
    }
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::local(format!("`{what}` failed ({}): {}", output.status, said.trim())).hint(what))
}
