//! What the events add up to: the state, its JSON for people, the documents beside it.

pub mod docs;
pub mod json;
mod state;

#[cfg(test)]
pub(crate) use state::tests;
pub use state::{Deployment, Description, Model, Push, State, Status};
