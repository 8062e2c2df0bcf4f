//! What modelkeep does: one file per operation, each a `Request → Report` in four beats — observe, plan, apply, verify.
//!
//! Knows the workspace, the local caches and the remote. Does not know terminals, HTTP or which store it talks to.

pub mod adopt;
pub mod archive;
mod commit;
pub mod config;
pub mod context;
pub mod demo;
pub mod deploy;
pub mod diff;
pub mod drive;
mod heal;
pub mod history;
pub mod host;
pub mod init;
pub mod label;
mod learn;
pub mod list;
pub mod local;
mod lock;
pub mod log;
pub mod login;
mod observe;
pub mod pins;
pub mod project;
pub mod prune;
pub mod pull;
pub mod push;
pub mod remotes;
pub mod remove;
pub mod repair;
pub mod report;
pub mod rule;
pub mod set;
pub mod settings;
pub mod show;
mod staging;
pub mod store;
mod tree;
pub mod verify;
pub mod workspace;

pub use context::{Clock, Context, Env, Observer, Options, Progress, SystemClock};
