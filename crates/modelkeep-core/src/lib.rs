//! What modelkeep knows, without doing anything.
//!
//! Names, manifests, events, the fold of events into a [`registry::State`], the places of things on a remote,
//! and the plans that operations carry out. Everything here is deterministic: time, randomness and bytes are
//! arguments. It may not know files, networks, clocks, terminals or async code (`cargo xtask tidy` checks it).

pub mod diff;
pub mod digest;
pub mod error;
pub mod event;
pub mod inspect;
pub mod layout;
pub mod manifest;
pub mod name;
pub mod path;
pub mod pins;
pub mod registry;
pub mod retention;
pub mod size;

pub use error::{Error, Kind, Result};
