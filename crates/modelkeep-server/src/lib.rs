//! modelkeep over HTTP: the stored versions as a Hugging Face Hub, for programs that load models by name.
//!
//! Knows HTTP and the Hub's contract. What there is, where content comes from and whether it is good is decided in
//! `modelkeep_ops::catalogue`. Read only.

mod app;
mod connection;
mod guard;
mod hub;
mod metrics;
mod problem;
mod server;

pub use server::{Message, Options, Server, Told};
