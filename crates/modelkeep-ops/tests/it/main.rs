//! The operations against real folders and strict memory, with faults, crashes and several writers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the message")]

mod adopting;
mod crash;
mod drive;
mod filing;
mod hosts;
mod mended;
mod names;
mod protocol;
mod resumed;
mod settings;
mod survive;
mod twins;
mod world;
