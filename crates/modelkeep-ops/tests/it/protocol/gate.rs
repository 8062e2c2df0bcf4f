//! The gate at which a client waits before each of its remote calls until the test lets it go on.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use modelkeep_core::path::RemotePath;
use modelkeep_core::{Error, Kind, Result, layout};
use modelkeep_remote::layer::{Call, Hook, Verdict};

/// One client's gate.
#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Option<(Call, Waker)>,
    pass: Option<Pass>,
    crash: bool,
}

/// How a call may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It is made.
    Go,
    /// The client slept over an hour while it waited: its connection is dead.
    Late,
    /// It is made, and its answer never arrives: the client dies.
    Die,
}

/// What unwinds out of a client that dies.
#[derive(Debug)]
pub struct Died;

impl Gate {
    /// The call that waits.
    pub fn waiting(&self) -> Option<Call> {
        self.state().waiting.as_ref().map(|(call, _)| call.clone())
    }

    /// Lets the waiting call go on.
    pub fn open(&self, pass: Pass) {
        let mut state = self.state();
        state.pass = Some(pass);
        if let Some((_, waker)) = state.waiting.take() {
            waker.wake();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Hook for Gate {
    async fn before(&self, call: &Call) -> Result<()> {
        let pass = poll_fn(|cx| {
            let mut state = self.state();
            if let Some(pass) = state.pass.take() {
                return Poll::Ready(pass);
            }
            assert!(state.waiting.as_ref().is_none_or(|(other, _)| other == call), "two calls at once: {call}");
            state.waiting = Some((call.clone(), cx.waker().clone()));
            Poll::Pending
        })
        .await;
        match pass {
            Pass::Go => Ok(()),
            Pass::Late if within_the_hour(call) => Err(Error::new(Kind::Unavailable, "the connection is dead")),
            Pass::Late => Ok(()),
            Pass::Die => {
                self.state().crash = true;
                Ok(())
            }
        }
    }

    fn after(&self, _: &Call, _: u32, _: Option<&Error>) -> Verdict {
        if self.state().crash {
            // Not a panic that anybody should hear of.
            std::panic::resume_unwind(Box::new(Died));
        }
        Verdict::Return
    }
}

/// Calls that follow a look at the clock: a request has a time-out, so that none goes out days after that look.
fn within_the_hour(call: &Call) -> bool {
    let writes_event = call.method == "write" && call.path.below(&layout::log()).is_some();
    writes_event || call.method == "delete" && is_trashed(&call.path)
}

/// Whether this is a push folder in the trash.
fn is_trashed(path: &RemotePath) -> bool {
    path.below(&layout::trash()).is_some_and(|below| below.split('/').count() == 2 && !layout::is_arrival(path))
}
