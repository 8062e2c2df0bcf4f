//! The fake Drive as a client sees that nobody has written: one that breaks off, repeats itself and gets things wrong.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod faults;
mod http;
mod login;
mod program;
mod resumable;
mod transfer;
