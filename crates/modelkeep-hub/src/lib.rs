//! Hugging Face: the Hub as a source of base models, and the cache that its own programs keep on this machine.
//!
//! Knows the Hub's wire format and the cache's layout. Does not know remotes, the log, or what a version of ours is.

pub mod access;
pub mod blob;
pub mod cache;
pub mod client;
pub mod download;
pub mod evict;
pub mod fetch;
pub mod folder;
pub mod home;
pub mod in_use;
pub mod mend;
pub mod overflow;
pub mod repo;
pub mod scan;
pub mod shared;
pub mod wire;
