//! Runs an operation while Python goes on: without its lock, heeding Ctrl-C, telling a callback what happens.
//!
//! Only the calling thread ever touches Python, so worker threads cannot hang on an interpreter that is ending.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelkeep_core::{Error, Kind};
use modelkeep_ops::credentials::{Callback, Secret, Token};
use modelkeep_ops::{Observer, Progress};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// How often Ctrl-C is looked for, and bytes are told of.
const TICK: Duration = Duration::from_millis(100);
/// How long an operation that was asked to stop may take over it. What it leaves then is as after a crash: resumable.
const PATIENCE: Duration = Duration::from_millis(900);

/// What an operation came to, as JSON.
pub type Outcome = Result<String, Failure>;

enum Message {
    Progress(Progress),
    /// Wanted: a token for Drive. Dropping the sender says that there is none.
    Token(Sender<Secret>),
    Done(Outcome),
}

/// What Python is called back for while an operation runs.
pub struct Callbacks<'a, 'py> {
    /// `progress(kind, text, bytes)`.
    pub progress: Option<&'a Bound<'py, PyAny>>,
    /// `credentials()`, which returns an access token.
    pub credentials: Option<&'a Bound<'py, PyAny>>,
}

/// Passes on what happens to the thread that waits. Bytes are added up, for there are many of them.
#[derive(Debug)]
struct Teller {
    messages: Mutex<Sender<Message>>,
    bytes: Arc<AtomicU64>,
}

impl Teller {
    fn send(&self, progress: Progress) {
        // Nobody listens when the call was given up.
        let _ = self.messages.lock().unwrap_or_else(PoisonError::into_inner).send(Message::Progress(progress));
    }
}

impl Observer for Teller {
    fn tell(&self, progress: Progress) {
        match progress {
            Progress::Bytes(bytes) => drop(self.bytes.fetch_add(bytes, Ordering::Relaxed)),
            Progress::Stage { .. } => {
                // Bytes of the stage before are not those of the next one.
                self.send(Progress::Bytes(self.bytes.swap(0, Ordering::Relaxed)));
                self.send(progress);
            }
            Progress::Note(_) | Progress::Warning(_) => self.send(progress),
        }
    }
}

/// Tokens from the thread that waits: it alone calls Python, so a worker cannot hang on an interpreter that is ending.
fn tokens(messages: Sender<Message>) -> Callback {
    let messages = Mutex::new(messages);
    Callback(Arc::new(move || {
        let (answer, answered) = channel();
        let none =
            || Error::new(Kind::Auth, "no token was given for Drive").hint("credentials=… returns one as a text");
        let sent = messages.lock().unwrap_or_else(PoisonError::into_inner).send(Message::Token(answer));
        let secret = sent.ok().and_then(|()| answered.recv().ok()).ok_or_else(none)?;
        // How long it is good for nobody says; it is asked for again when Drive refuses it.
        Ok(Token { secret, lifetime: None })
    }))
}

/// Does what `work` makes and waits for it. The outer error is Python's own: an interrupt, or what the callback raised.
///
/// Each call has its thread, so an operation need not be one that can change threads.
pub fn run<F>(
    py: Python<'_>,
    callbacks: &Callbacks<'_, '_>,
    work: impl FnOnce(Arc<dyn Observer>, Arc<AtomicBool>, Option<Callback>) -> F + Send + 'static,
) -> PyResult<Outcome>
where
    F: Future<Output = Outcome>,
{
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Ok(Err(error.into())),
    };
    let (messages, inbox) = channel();
    let (bytes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (cancel, cancelled) = oneshot::channel::<()>();
    let (teller, asked) =
        (Teller { messages: Mutex::new(messages.clone()), bytes: Arc::clone(&bytes) }, Arc::clone(&stop));
    let credentials = callbacks.credentials.map(|_| tokens(messages.clone()));
    let thread = std::thread::Builder::new().name("modelkeep".to_owned()).spawn(move || {
        let outcome = runtime.block_on(async move {
            tokio::select! {
                outcome = work(Arc::new(teller), asked, credentials) => outcome,
                _ = cancelled => Err(Error::new(Kind::Interrupted, "interrupted").into()),
            }
        });
        let _ = messages.send(Message::Done(outcome));
    });
    if let Err(error) = thread {
        return Ok(Err(Error::local("no thread can be started").because(error).into()));
    }

    let waited = wait(py, inbox, &bytes, callbacks);
    let (error, mut inbox) = match waited {
        Ok(outcome) => return Ok(outcome),
        Err(stopped) => *stopped,
    };
    stop.store(true, Ordering::Relaxed);
    let until = Instant::now() + PATIENCE;
    loop {
        let message;
        (inbox, message) = receive(py, inbox, until.saturating_duration_since(Instant::now()));
        match message {
            // A token that is wanted now is not given: the sender is dropped.
            Ok(Message::Progress(_) | Message::Token(_)) => {}
            // It may have been done before it could be stopped; what was asked for is still to stop.
            Ok(Message::Done(_)) => break,
            Err(_) => {
                let _ = cancel.send(());
                break;
            }
        }
    }
    Err(error)
}

/// Waits until it is done; else why it is to stop.
fn wait(
    py: Python<'_>,
    mut inbox: Receiver<Message>,
    bytes: &AtomicU64,
    callbacks: &Callbacks<'_, '_>,
) -> Result<Outcome, Box<(PyErr, Receiver<Message>)>> {
    let progress = callbacks.progress;
    loop {
        let message;
        (inbox, message) = receive(py, inbox, TICK);
        let told = match message {
            Ok(Message::Done(outcome)) => {
                // The bytes since the last tick. After success a callback can no longer stop anything; Ctrl-C that came
                // meanwhile, or an exit, still ends what called us.
                return match tell(progress, &Progress::Bytes(bytes.swap(0, Ordering::Relaxed))) {
                    Err(error) if outcome.is_err() || !error.is_instance_of::<PyException>(py) => {
                        Err(Box::new((error, inbox)))
                    }
                    _ => Ok(outcome),
                };
            }
            Ok(Message::Progress(happened)) => tell(progress, &happened),
            Ok(Message::Token(answer)) => give_token(callbacks.credentials, &answer),
            Err(RecvTimeoutError::Timeout) => tell(progress, &Progress::Bytes(bytes.swap(0, Ordering::Relaxed))),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(Error::new(Kind::Internal, "an operation ended without an answer").into()));
            }
        };
        if let Err(error) = told.and_then(|()| py.check_signals()) {
            return Err(Box::new((error, inbox)));
        }
    }
}

/// The next message, with Python let go meanwhile.
fn receive(
    py: Python<'_>,
    inbox: Receiver<Message>,
    at_most: Duration,
) -> (Receiver<Message>, Result<Message, RecvTimeoutError>) {
    py.detach(move || {
        let message = inbox.recv_timeout(at_most);
        (inbox, message)
    })
}

/// Calls `progress(kind, text, bytes)`.
fn tell(progress: Option<&Bound<'_, PyAny>>, happened: &Progress) -> PyResult<()> {
    let Some(callback) = progress else { return Ok(()) };
    let (kind, text, bytes) = match happened {
        Progress::Bytes(0) => return Ok(()),
        Progress::Bytes(bytes) => ("bytes", None, Some(*bytes)),
        Progress::Stage { name, bytes } => ("stage", Some(*name), *bytes),
        Progress::Note(text) => ("note", Some(text.as_str()), None),
        Progress::Warning(text) => ("warning", Some(text.as_str()), None),
    };
    callback.call1((kind, text, bytes)).map(drop)
}

/// Asks `credentials()` for a token and passes it on.
fn give_token(credentials: Option<&Bound<'_, PyAny>>, answer: &Sender<Secret>) -> PyResult<()> {
    let Some(callback) = credentials else { return Ok(()) };
    let given = callback.call0()?;
    let text: String = given.extract().map_err(|_| {
        let kind = given.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("credentials() is to return an access token as a text, not {kind}"))
    })?;
    if !text.trim().is_empty() {
        let _ = answer.send(Secret::new(text.trim()));
    }
    Ok(())
}

/// The runtime of this process. A forked child has none of its parent's threads, so it gets its own.
fn runtime() -> Result<&'static Runtime, Error> {
    static OF_PROCESS: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);
    // Held only while Python is, and so never while it forks.
    let mut of_process = OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let here = std::process::id();
    if let Some((process, runtime)) = *of_process
        && process == here
    {
        return Ok(runtime);
    }
    let built = Builder::new_multi_thread().worker_threads(2).thread_name("modelkeep").enable_all().build();
    let runtime = built.map_err(|error| Error::local("no threads can be started").because(error))?;
    // Never dropped: dropping waits for file work, which must not hold up the end of the interpreter.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    *of_process = Some((here, runtime));
    Ok(runtime)
}
