//! Ctrl-C: asks the operation to stop, and answers within a second whether it does or not.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use modelkeep_core::{Error, Kind, Result};

use crate::output;
use crate::session::Session;

/// How long an operation has to stop by itself.
const PATIENCE: Duration = Duration::from_millis(700);

/// Who says how it ended: the command that stopped, or the watch that waited long enough.
static SAID: AtomicBool = AtomicBool::new(false);

/// Waits for Ctrl-C, beside the command; a second one ends the program at once.
pub async fn watch(session: &'static Session) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    session.stop.store(true, Ordering::Relaxed);
    tokio::select! {
        () = tokio::time::sleep(PATIENCE) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    if !SAID.swap(true, Ordering::SeqCst) {
        session.progress.finish();
        let code = say(session, None);
        std::process::exit(i32::from(code));
    }
}

/// Ends when a server should: at Ctrl-C or a polite kill, both of which are waited for from now on. A second one ends the
/// program at once.
pub fn asked_to_stop() -> Result<impl Future<Output = ()>> {
    let mut asked = Asked::listen().map_err(|error| Error::local("signals cannot be waited for").because(error))?;
    Ok(async move {
        asked.once().await;
        tokio::spawn(async move {
            asked.once().await;
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        });
    })
}

#[cfg(unix)]
struct Asked {
    pressed: tokio::signal::unix::Signal,
    killed: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Asked {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { pressed: signal(SignalKind::interrupt())?, killed: signal(SignalKind::terminate())? })
    }

    async fn once(&mut self) {
        tokio::select! {
            _ = self.pressed.recv() => {}
            _ = self.killed.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Asked(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Asked {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn once(&mut self) {
        let _ = self.0.recv().await;
    }
}

/// What a command came to, when Ctrl-C may have stopped it.
pub fn ended(session: &Session, result: Result<ExitCode>) -> ExitCode {
    let stopped = session.stop.load(Ordering::Relaxed);
    match result {
        // Done before it could stop.
        Ok(code) if !SAID.swap(true, Ordering::SeqCst) => code,
        Err(error) if !stopped => {
            output::error(&error, session.globals.json);
            ExitCode::from(error.kind().exit_code())
        }
        Err(error) if !SAID.swap(true, Ordering::SeqCst) => ExitCode::from(say(session, Some(&error))),
        // The watch is saying it, and ends the program.
        _ => loop {
            std::thread::park();
        },
    }
}

fn say(session: &Session, error: Option<&Error>) -> u8 {
    if let Some(error) = error.filter(|error| error.kind() != Kind::Interrupted) {
        output::error(error, false);
    }
    let again = again(std::env::args_os());
    output::say(&format!("interrupted; run the same command again to go on: {again}"));
    if session.globals.json {
        output::error_json("interrupted", "interrupted", Some(&again));
    }
    Kind::Interrupted.exit_code()
}

/// The command as it could be typed again.
fn again(args: impl Iterator<Item = OsString>) -> String {
    let rest = args.skip(1).map(|arg| quoted(&arg.to_string_lossy()));
    std::iter::once("modelkeep".to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:@,+%".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) { arg.to_owned() } else { format!("'{}'", arg.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_said_so_that_it_can_be_typed() {
        let args = ["/usr/bin/modelkeep", "push", "my model", "banking-v2", "--note", "it's", ""];
        let text = again(args.into_iter().map(OsString::from));
        assert_eq!(text, r"modelkeep push 'my model' banking-v2 --note 'it'\''s' ''");
    }
}
