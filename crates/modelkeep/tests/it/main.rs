//! The real program in a sealed environment: what a person sees, what a program reads, which exit code comes back.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod answers;
mod asking;
mod documented;
mod errors;
mod gdrive;
mod gdrive_login;
mod interrupt;
mod json;
mod killed;
mod pins;
mod registry;
mod sealed;
mod settings;
mod store;
mod upkeep;
