//! Counterparts for tests: services that modelkeep talks to, running on this machine, with faults on demand.
//!
//! Knows how those services answer. Does not know modelkeep: a fake that shared code with what it tests would agree
//! with it about the same mistakes.

pub mod drive;
