//! Where bytes live: one trait, its backends, its layers.
//!
//! Knows how to keep, find, move and check objects in a store. Does not know what a model is, what an event says, or
//! when to retry what an operation means; a failed call is retried in [`layer::Retry`] alone.

pub mod conformance;
pub mod drive;
pub mod folder;
pub mod layer;
pub mod memory;
mod remote;

pub use drive::DriveRemote;
pub use folder::FolderRemote;
pub use memory::MemoryRemote;
pub use remote::{
    Capabilities, Copied, Entry, EntryKind, Far, Inline, Meter, Mode, NoMeter, Object, PARTIAL_PREFIX, PointerKind,
    Remote, Source, Transferred, Usage, Written,
};
