//! The protocol itself: several clients on one strict store in memory, run one remote call at a time, crashed and
//! paused at any of them, and compared with a model after each.
//!
//! `rules` breaks each rule of the protocol once and shows that it would be noticed; `random` looks for what nobody
//! thought of.

mod arena;
mod cast;
mod gate;
mod oracle;
mod random;
mod rules;
mod wrong;
