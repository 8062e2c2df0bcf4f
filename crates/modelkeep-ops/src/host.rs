//! What this machine reports of itself: which models it holds, and when it used them.
//!
//! At most once a day, and with whatever changed it; never to a remote that cannot be written.

use std::collections::{BTreeMap, BTreeSet};

use modelkeep_core::event::{Body, HostKind, Seen};
use modelkeep_core::name::ModelId;
use modelkeep_core::{Kind, Result};

use crate::colab;
use crate::context::{Context, Env, day};
use crate::log::{self, View};
use crate::store::Store;

/// What sort of machine this is.
pub fn kind(env: &Env) -> HostKind {
    if env.get("CODESPACES") == Some("true") {
        HostKind::Codespaces
    } else if colab::is_here(env) {
        HostKind::Colab
    } else {
        HostKind::Other
    }
}

/// The name under which it reports. Colab's machines come and go: the newest one speaks for all of a user's.
pub(crate) fn name(env: &Env) -> String {
    match kind(env) {
        HostKind::Colab => format!("colab/{}", env.get("MODELKEEP_USER").unwrap_or("me")),
        HostKind::Codespaces | HostKind::Other => env.host_name(),
    }
}

/// Reports that a model was used here; `holds` says whether this machine holds it now (`None`: as before). True: it
/// was news, and the registry is to be written.
pub async fn used(ctx: &Context, store: &Store, view: &mut View, model: &ModelId, holds: Option<bool>) -> Result<bool> {
    tell(ctx, store, view, model, holds, true).await
}

/// Reports that this machine holds a model no more, if it said that it does. True: the registry is to be written.
pub async fn gone(ctx: &Context, store: &Store, view: &mut View, model: &ModelId) -> Result<bool> {
    let held = view.state.hosts.get(&name(&ctx.env)).is_some_and(|seen| seen.holds.contains(model));
    if held { tell(ctx, store, view, model, Some(false), false).await } else { Ok(false) }
}

async fn tell(
    ctx: &Context,
    store: &Store,
    view: &mut View,
    model: &ModelId,
    holds: Option<bool>,
    now: bool,
) -> Result<bool> {
    if ctx.options.unreported {
        return Ok(false);
    }
    let host = name(&ctx.env);
    let before = view.state.hosts.get(&host);
    let mut held: BTreeSet<ModelId> = before.map(|seen| seen.holds.clone()).unwrap_or_default();
    let mut used: BTreeMap<ModelId, jiff::civil::Date> = before.map(|seen| seen.used.clone()).unwrap_or_default();
    match holds {
        Some(true) => drop(held.insert(model.clone())),
        Some(false) => drop(held.remove(model)),
        None => {}
    }
    if now {
        used.insert(model.clone(), day(ctx.now()));
    }
    let seen = Seen { host, host_kind: kind(&ctx.env), holds: held, used };
    if before == Some(&seen) {
        return Ok(false);
    }
    match log::append(ctx, store, view, Body::Seen(seen)).await {
        // A remote that one may only read is used all the same.
        Err(error) if error.kind() == Kind::Auth => Ok(false),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        // It only says who uses what: what was asked for is done.
        Err(error) => {
            ctx.warn(format!("the registry was not told that this machine uses {model}: {}", error.full_message()));
            Ok(false)
        }
        Ok(_) => Ok(true),
    }
}
