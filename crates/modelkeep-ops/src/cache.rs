//! The caches of this machine: Hugging Face's, those of other programs, and pulled models.
//!
//! Looked at by [`status`] and [`list`]; made smaller by [`evict`] and mended by [`repair`]. What goes first, and what
//! never goes, is decided in `core/evict.rs`; here is where it is observed and carried out.

pub(crate) mod apply;
pub mod evict;

pub mod list;
pub mod places;
mod proof;
mod pulled;
pub mod repair;
pub(crate) mod shelf;
pub mod status;
mod torch;
pub(crate) mod used;

use modelkeep_core::Result;
use modelkeep_hub::scan::{self, Cache};
use modelkeep_remote::folder::failed;

use crate::context::Context;
use crate::hub;
use crate::observe::blocking;

/// Reads the HF cache.
pub(crate) async fn scan_hf(ctx: &Context) -> Result<Cache> {
    let hub = hub::home(ctx)?.hub;
    blocking(move || scan::scan(&hub).map_err(|error| failed("reading", &hub, error))).await
}
