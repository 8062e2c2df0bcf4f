//! The base model of an adapter: which one it is, and bringing it so that both load with no network.

use std::sync::Arc;

use modelkeep_core::inspect::adapter::Adapter;
use modelkeep_core::registry::{Model, Push};
use modelkeep_core::{Error, Kind, Result};
use modelkeep_hub::repo::RepoId;

use crate::context::Context;
use crate::into_cache::{self, Found, unknown_base};
use crate::log::View;
use crate::pull::{Report, Request, pull};
use crate::store::Store;
use crate::{fetch, hub};

/// How a base model came.
#[derive(Debug)]
pub(crate) enum Base {
    /// From the store.
    Pulled(Box<Report>),
    /// From the Hub, or it was in its cache already.
    Fetched(Box<fetch::Report>),
}

/// The Hub repository that an adapter asks for by name: what `PeftModel.from_pretrained` will look for.
fn asked_for(adapter: &Adapter) -> Option<RepoId> {
    let name = adapter.base_model_name_or_path.as_deref()?;
    name.parse().ok().filter(|_| name.contains('/'))
}

/// The commit of the base model that an adapter was trained on, as far as this machine can tell: what Hugging Face's
/// cache has as the revision that training asked for.
pub(crate) fn commit_here(ctx: &Context, adapter: &Adapter) -> Option<String> {
    let dir = hub::repo_dir(ctx, &asked_for(adapter)?).ok()?;
    let commit = dir.commit_of(adapter.revision.as_deref().unwrap_or("main"))?;
    Some(commit.to_string())
}

/// Brings the base model of a version.
pub(crate) async fn bring(
    ctx: &Context,
    store: &Arc<Store>,
    view: &View,
    model: &Model,
    push: &Push,
    dry_run: bool,
) -> Result<Base> {
    let name = model.describe(push).base_model.ok_or_else(|| {
        Error::not_found(format!("`{}` names no base model", model.id))
            .hint(format!("modelkeep set {} base_model=MODEL", model.id))
    })?;
    let called = push.facts.adapter.as_ref().and_then(asked_for);
    let stored = view.state.model(&view.state.base_name(&name)).ok().filter(|base| base.latest().is_some());
    match (stored, called) {
        (Some(base), Some(called)) => {
            let revision = push.facts.base_revision.as_deref();
            let same = |other: &&Push| other.removed.is_none() && other.facts.source_commit.as_deref() == revision;
            let of_base = base.pushes.iter().rev().find(same).filter(|_| revision.is_some()).or_else(|| base.latest());
            let of_base = of_base.ok_or_else(|| unknown_base(&name))?;
            let found = Found::of(store, view, base, of_base);
            let wanted =
                into_cache::Request { called: Some(called.clone()), dry_run, ..into_cache::Request::default() };
            let lost = match into_cache::bring(ctx, &found, &wanted).await {
                Ok(brought) => return Ok(Base::Pulled(Box::new(brought.report(&found, dry_run)))),
                Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::NotFound | Kind::Integrity) => error,
                Err(error) => return Err(error),
            };
            ctx.warn(format!("{}; asking the Hub", lost.full_message()));
            from_hub(ctx, &called, push, dry_run).await.map_err(|_| lost)
        }
        (Some(base), None) => {
            let plain = Request { model: Some(base.id.to_string()), dry_run, ..Request::default() };
            Ok(Base::Pulled(Box::new(Box::pin(pull(ctx, &plain, base.id.as_str())).await?)))
        }
        (None, called) => {
            let repo = called.or_else(|| name.parse().ok().filter(|_| name.contains('/')));
            let repo = repo.ok_or_else(|| unknown_base(&name))?;
            from_hub(ctx, &repo, push, dry_run).await
        }
    }
}

/// At the commit that the version was trained on.
async fn from_hub(ctx: &Context, repo: &RepoId, push: &Push, dry_run: bool) -> Result<Base> {
    let revision = push.facts.base_revision.as_ref().map(|revision| format!("@{revision}"));
    let request = fetch::Request {
        repo: format!("{repo}{}", revision.unwrap_or_default()),
        dry_run,
        as_main: true,
        ..fetch::Request::default()
    };
    Ok(Base::Fetched(Box::new(Box::pin(fetch::fetch(ctx, &request)).await?)))
}
