//! The Hub and Hugging Face's cache, as this process finds them.

use std::path::PathBuf;
use std::time::Duration;

use modelkeep_core::{Error, Kind, Result};
use modelkeep_hub::access::{self, Access};
use modelkeep_hub::cache::RepoDir;
use modelkeep_hub::client::Hub;
use modelkeep_hub::home::{HfHome, plain};
use modelkeep_hub::repo::RepoId;

use crate::context::Context;

/// Where Hugging Face's programs keep things.
pub fn home(ctx: &Context) -> Result<HfHome> {
    let home = HfHome::find(|name| ctx.env.get(name), ctx.env.home().as_deref());
    let mut home = home.ok_or_else(|| {
        Error::local("there is no home directory to keep Hugging Face's cache in").hint("set HF_HOME or HOME")
    })?;
    // Theirs may be relative to where they are started; ours is to the same place, and has one name.
    let absolute = |path: &mut PathBuf| *path = plain(&ctx.absolute(path));
    [&mut home.root, &mut home.hub, &mut home.xet, &mut home.datasets, &mut home.token].into_iter().for_each(absolute);
    Ok(home)
}

/// A repository's place in the cache.
pub fn repo_dir(ctx: &Context, repo: &RepoId) -> Result<RepoDir> {
    let links = !ctx.env.get("HF_HUB_DISABLE_SYMLINKS").is_some_and(access::is_true);
    Ok(RepoDir::of_model(&home(ctx)?.hub, repo, links))
}

/// The Hub, or `None` when nobody is to be asked: `--offline`, `HF_HUB_OFFLINE`.
pub fn open(ctx: &Context) -> Result<Option<Hub>> {
    open_with(ctx, |_| {})
}

/// The same, reached in another way than is usual.
pub fn open_with(ctx: &Context, change: impl FnOnce(&mut Access)) -> Result<Option<Hub>> {
    let mut access = Access::find(|name| ctx.env.get(name), &home(ctx)?)?;
    if access.offline || ctx.options.offline {
        return Ok(None);
    }
    if let Some(base) = ctx.env.testing("MODELKEEP_RETRY_BASE_MS").and_then(|text| text.parse().ok()) {
        access.retry.base = Duration::from_millis(base);
    }
    change(&mut access);
    Hub::new(access).map(Some)
}

/// What `open` says when nobody is to be asked and something is needed.
pub fn offline(what: &str) -> Error {
    Error::new(Kind::Unavailable, format!("{what} is not here, and the network is not to be used"))
        .hint("leave --offline out, and unset HF_HUB_OFFLINE")
}
