//! The server over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the message")]

mod content;
mod contract;
mod drive;
mod guarded;
mod rude;
mod rust_client;
mod slow;
mod upstream;
mod world;
