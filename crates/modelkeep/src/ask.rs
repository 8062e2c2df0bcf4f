//! Commands that change what stands: show the plan, ask, then do it.

use std::future::Future;
use std::io::BufRead as _;
use std::sync::atomic::Ordering;

use modelkeep_core::{Error, Kind, Result};
use modelkeep_ops::report::Step;
use modelkeep_ops::settings::Evict;

use crate::session::Session;
use crate::style::{STRONG, paint};
use crate::{output, words};

/// Whether to ask before an operation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Whenever there is a step.
    Always,
    /// Only when one of the steps is this action.
    About(&'static str),
}

/// Plans with `run(true)`, asks when it must, then does it with `run(false)`.
///
/// With `--dry-run` the plan is all; with `--yes` it is done at once.
pub async fn confirmed<R, F: Future<Output = Result<R>>>(
    session: &Session,
    dry_run: bool,
    ask: Ask,
    steps: impl Fn(&R) -> &[Step],
    run: impl Fn(bool) -> F,
) -> Result<R> {
    if dry_run {
        return run(true).await;
    }
    if session.globals.yes {
        return run(false).await;
    }
    let plan = run(true).await?;
    let planned = steps(&plan);
    if planned.is_empty() {
        return Ok(plan);
    }
    let asked = match ask {
        Ask::Always => true,
        Ask::About(action) => planned.iter().any(|step| step.action == action),
    };
    if asked {
        agree(session, planned)?;
    }
    run(false).await
}

/// Runs something that may have to make room here first. With `evict = "ask"` what would go is shown and agreed to before.
pub async fn with_room<R, F: Future<Output = Result<R>>>(
    session: &Session,
    dry_run: bool,
    steps: impl Fn(&R) -> &[Step],
    run: impl Fn(bool) -> F,
) -> Result<R> {
    let ctx = session.context()?;
    if !dry_run && ctx.settings.evict == Evict::Ask {
        if !session.globals.yes {
            let plan = run(true).await?;
            let evicted: Vec<Step> = steps(&plan).iter().filter(|step| step.action == "evict").cloned().collect();
            if !evicted.is_empty() {
                agree(session, &evicted)?;
            }
        }
        ctx.agreed.store(true, Ordering::Relaxed);
    }
    run(dry_run).await
}

/// Shows the steps and waits for a yes; anything else is an error that says nothing was changed.
fn agree(session: &Session, steps: &[Step]) -> Result<()> {
    session.progress.finish();
    if !session.globals.json {
        output::say(words::plan(steps).trim_end());
    }
    if !session.interactive {
        return Err(Error::usage(
            "this is asked before it is done, and there is no terminal to ask at; nothing was changed",
        )
        .hint("add --yes to do it, or --dry-run to see the plan"));
    }
    if yes(&question("Do it? [y/N] ")?) {
        return Ok(());
    }
    Err(Error::new(Kind::Interrupted, "not done; nothing was changed"))
}

/// Asks at the terminal; the answer without its line end.
pub fn question(text: &str) -> Result<String> {
    let failed = |error| Error::local("asking at the terminal").because(error);
    output::say_raw(&paint(STRONG, text)).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(answer.trim().to_owned())
}

fn yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}
