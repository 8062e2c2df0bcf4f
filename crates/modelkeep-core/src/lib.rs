//! What modelkeep knows, without doing anything.
//!
//! Names, manifests, events, the fold of events into a [`registry::State`], the places of things on a remote,
//! and the plans that operations carry out. Everything here is deterministic: time, randomness and bytes are
//! arguments. It may not know files, networks, clocks, terminals or async code (`cargo xtask tidy` checks it).

pub mod backup;
pub mod bounded;
pub mod budget;
pub mod choice;
pub mod cost;
pub mod criteria;
pub mod diff;
pub mod digest;
pub mod error;
pub mod event;
pub mod evict;
pub mod filed;
pub mod gitrules;
pub mod inspect;
pub mod layout;
pub mod maintain;
pub mod manifest;
pub mod meter;
pub mod name;
pub mod path;
pub mod pins;
pub mod placement;
pub mod registry;
pub mod retention;
pub mod schedule;
pub mod size;
pub mod words;

pub use error::{Error, Kind, Result};
