//! One run of the program: the flags, the terminal, the context when a command needs one, and how it prints.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use modelkeep_core::Result;
use modelkeep_ops::drive::OnDrive;
use modelkeep_ops::{Context, Env, Observer, Options, Progress as Told};
use serde::Serialize;

use crate::cli::{self, Globals};
use crate::output;
use crate::progress::Progress;
use crate::style::{STRONG, paint};
use crate::words;

/// One run of the program.
#[derive(Debug)]
pub struct Session {
    /// The flags that apply to every command.
    pub globals: Globals,
    /// What the process was started with.
    pub env: Env,
    /// Whether there is a person to ask.
    pub interactive: bool,
    /// Draws bars and says notes.
    pub progress: Arc<Progress>,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
    context: OnceLock<Arc<Context>>,
}

/// Set by programs that act for a person: they read text, and can answer no prompt.
const AGENTS: [&str; 7] =
    ["CLAUDECODE", "CODEX_SANDBOX", "AI_AGENT", "CURSOR_AGENT", "GEMINI_CLI", "CLINE_ACTIVE", "OPENCODE"];

impl Session {
    /// A run of the program lasts as long as the process, so it is never given back.
    pub fn new(globals: Globals) -> &'static Self {
        let env = Env::from_process();
        let agent = AGENTS.iter().any(|name| env.get(name).is_some());
        let person = std::io::stderr().is_terminal() && !agent;
        let interactive = person && std::io::stdin().is_terminal() && !globals.json;
        let progress = Arc::new(Progress::new(globals.progress, person && !globals.quiet, globals.quiet));
        let stop = Arc::new(AtomicBool::new(false));
        Box::leak(Box::new(Self { globals, env, interactive, progress, stop, context: OnceLock::new() }))
    }

    /// What the operations are opened with.
    pub fn options(&self) -> Options {
        Options {
            workspace: self.globals.workspace.clone(),
            remote: self.globals.remote.clone(),
            offline: self.globals.offline,
            ..Options::default()
        }
    }

    /// Who is told what happens.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.progress) as Arc<dyn Observer>
    }

    /// The context, opened at the first call.
    pub fn context(&self) -> Result<&Arc<Context>> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let mut context = Context::open(self.env.clone(), self.options(), self.observer())?;
        context.stop = Arc::clone(&self.stop);
        Ok(self.context.get_or_init(|| Arc::new(context)))
    }

    /// Prints a report: as JSON, or the way `human` tells it.
    pub fn show<R: Serialize>(&self, report: &R, human: impl FnOnce(&R) -> String) -> Result<()> {
        self.progress.finish();
        if self.globals.json { output::json(report) } else { output::print(&human(report)) }
    }

    /// Says what to type next; only to those who read text.
    pub fn next(&self, command: &str) {
        self.suggest("next:", command);
    }

    /// Says what is worth a thought, beside what comes next.
    pub fn also(&self, command: &str) {
        self.suggest("also:", command);
    }

    fn suggest(&self, word: &str, command: &str) {
        let for_programs = self.globals.json || self.globals.progress == cli::Progress::Json;
        if !for_programs && !self.globals.quiet {
            output::say(&format!("{} {command}", paint(STRONG, word)));
        }
    }

    /// Says something that is no result; not with `-q`.
    pub fn note(&self, text: &str) {
        self.progress.tell(Told::Note(text.to_owned()));
    }

    /// A path as short as it can be typed here.
    pub fn path(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.env.cwd).unwrap_or(path);
        if below.as_os_str().is_empty() { ".".to_owned() } else { below.display().to_string() }
    }

    /// With `-v`, says how many calls the store took; with `-vv`, which.
    pub async fn tell_calls(&self) {
        if self.globals.verbose == 0 {
            return;
        }
        let Some(context) = self.context.get() else { return };
        let Ok(store) = context.store().await else { return };
        let calls = store.trace.calls();
        if self.globals.verbose > 1 {
            for call in &calls {
                output::say(&format!("  {call}"));
            }
        }
        let place = store.remote.describe();
        match (store.spent(), store.on_drive()) {
            (Some(spent), Some(drive)) => {
                output::say(&format!("{} to {place} of {}", words::spent(spent), drive.account));
            }
            _ => output::say(&format!("{} to {place}", words::count(calls.len() as u64, "call"))),
        }
    }

    /// Before the end: what is known of a Drive is kept for the next command. The context is never dropped.
    pub fn leave(&self) {
        if let Some(store) = self.context.get().and_then(|context| context.opened()) {
            store.on_drive().into_iter().for_each(OnDrive::save);
        }
    }
}
