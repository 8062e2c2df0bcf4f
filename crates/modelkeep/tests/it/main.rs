//! The real program in a sealed environment: what a person sees, what a program reads, which exit code comes back.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod answers;
mod asking;
mod cache;
mod denied;
#[cfg(unix)]
mod devcontainer;
mod documented;
mod errors;
mod gdrive;
mod gdrive_colab;
mod gdrive_login;
mod gdrive_resume;
#[cfg(unix)]
mod guard;
mod hub;
mod interrupt;
mod json;
mod killed;
mod logs;
mod looked_after;
mod pins;
mod placing;
mod registry;
#[cfg(unix)]
mod scheduling;
mod sealed;
mod serve;
mod settings;
mod store;
mod upkeep;
mod watching;
