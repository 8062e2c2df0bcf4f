//! The client and the cache's writer against a Hub that fails on demand.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod desk;
mod faults;
mod fetching;
mod sharing;
