//! What modelkeep does: one file per operation, each a `Request → Report` in four beats — observe, plan, apply, verify.
//!
//! Knows the workspace, the local caches and the remote. Does not know terminals, HTTP or which store it talks to.

pub mod adopt;
pub mod archive;
mod backup;
mod base;
pub mod cache;
pub mod catalogue;
pub mod checkpoint;
pub mod colab;
mod commit;
pub mod config;
pub mod context;
pub mod cost;
pub mod demo;
pub mod deploy;
pub mod diff;
pub mod doctor;
pub mod drive;
pub mod fetch;
pub mod file;
mod git;
mod gitignore;
pub mod guard;
mod heal;
pub mod history;
pub mod host;
pub mod hub;
pub mod init;
mod into_cache;
mod keep;
pub mod label;
mod learn;
pub mod list;
pub mod local;
mod lock;
pub mod log;
pub mod login;
pub mod maintain;
mod observe;
pub mod pins;
pub mod place;
pub mod placement;
pub mod project;
pub mod prune;
pub mod pull;
pub mod push;
pub mod remotes;
pub mod remove;
pub mod repair;
pub mod report;
pub mod room;
pub mod rule;
pub mod runlog;
pub mod schedule;
pub mod set;
pub mod settings;
mod shelf;
pub mod show;
mod staging;
pub mod status;
pub mod store;
mod tree;
mod twins;
pub mod verify;
pub mod walk;
pub mod watch;
pub mod workspace;

pub use context::{Clock, Context, Env, Observer, Options, Progress, SystemClock};

/// What a program that embeds this one gives tokens with.
pub mod credentials {
    pub use modelkeep_remote::drive::Secret;
    pub use modelkeep_remote::drive::auth::{Callback, Token};
}
