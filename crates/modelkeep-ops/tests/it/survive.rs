//! What may go wrong around a store, and that nothing is lost by it: files, disks, logs, registries, clocks, crowds.

mod clocks;
mod content;
mod crowd;
mod damage;
pub mod events;
mod registry;
