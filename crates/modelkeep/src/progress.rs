//! What happens while an operation runs: bars at a terminal, JSON lines on request, notes and warnings as lines.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use modelkeep_ops::Observer;
use modelkeep_ops::Progress as Told;
use serde_json::json;

use crate::cli;
use crate::output;

/// Tells a person, or a program, what happens.
#[derive(Debug)]
pub struct Progress {
    face: Face,
    quiet: bool,
    now: Mutex<Now>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Bars,
    Json,
    None,
}

#[derive(Debug, Default)]
struct Now {
    bar: Option<ProgressBar>,
    stage: &'static str,
    total: Option<u64>,
    done: u64,
    said_at: Option<Instant>,
    /// A plan and its execution look at the same things; what was said once is not said again.
    said: HashSet<String>,
}

/// How often a JSON line about bytes is written.
const EVERY: Duration = Duration::from_millis(100);

impl Progress {
    /// `person`: somebody looks at standard error.
    pub fn new(asked: cli::Progress, person: bool, quiet: bool) -> Self {
        let face = match asked {
            cli::Progress::Json => Face::Json,
            cli::Progress::Auto if person => Face::Bars,
            _ => Face::None,
        };
        Self { face, quiet, now: Mutex::default() }
    }

    /// Takes the bar away, before anything else is printed.
    pub fn finish(&self) {
        let mut now = self.now();
        if let Some(bar) = now.bar.take() {
            bar.finish_and_clear();
        }
        self.bytes_line(&mut now, true);
        now.stage = "";
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stage(&self, name: &'static str, bytes: Option<u64>) {
        self.finish();
        let mut now = self.now();
        (now.stage, now.total, now.done, now.said_at) = (name, bytes, 0, None);
        match self.face {
            Face::Bars if bytes != Some(0) => now.bar = Some(bar(name, bytes)),
            Face::Json => output::say(&json!({"event": "stage", "name": name, "bytes": bytes}).to_string()),
            _ => {}
        }
    }

    fn bytes(&self, bytes: u64) {
        let mut now = self.now();
        now.done = now.done.saturating_add(bytes);
        if let Some(bar) = &now.bar {
            bar.set_position(now.done);
        }
        if now.said_at.is_none_or(|said| said.elapsed() >= EVERY) {
            self.bytes_line(&mut now, false);
        }
    }

    fn bytes_line(&self, now: &mut Now, last: bool) {
        if self.face == Face::Json && !now.stage.is_empty() && (!last || now.said_at.is_some()) {
            let line = json!({"event": "bytes", "name": now.stage, "done": now.done, "total": now.total});
            output::say(&line.to_string());
            now.said_at = if last { None } else { Some(Instant::now()) };
        }
    }

    fn sentence(&self, event: &str, text: &str, say: fn(&str)) {
        let mut now = self.now();
        if !now.said.insert(text.to_owned()) {
            return;
        }
        if self.face == Face::Json {
            return output::say(&json!({"event": event, "text": text}).to_string());
        }
        match &now.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Observer for Progress {
    fn tell(&self, progress: Told) {
        match progress {
            Told::Stage { name, bytes } => self.stage(name, bytes),
            Told::Bytes(bytes) => self.bytes(bytes),
            Told::Note(_) if self.quiet && self.face != Face::Json => {}
            Told::Note(text) => self.sentence("note", &text, output::note),
            Told::Warning(text) => self.sentence("warning", &text, output::warning),
        }
    }
}

fn bar(name: &'static str, bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(total) => (
            ProgressBar::new(total),
            "{msg:>12} [{bar:28}] {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{msg:>12} {spinner} {decimal_bytes}  {decimal_bytes_per_sec}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(name);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
