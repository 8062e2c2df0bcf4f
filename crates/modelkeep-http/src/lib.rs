//! What every HTTP client of ours shares: TLS and its roots, when to ask again, what silence is, secrets.
//!
//! Knows HTTP. Does not know any service: what an answer means is for its client to say.

mod client;
mod retry;
mod secret;

pub use client::{broken, builder, content_length, range_total, silent};
pub use retry::{LONGEST_WAIT, Retry, retry_after};
pub use secret::Secret;
