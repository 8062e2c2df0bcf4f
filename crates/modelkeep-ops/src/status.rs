//! Where the space is: on this machine and on the remote, by category, against the budgets. The seed's two tables,
//! measured.

mod local;
mod remote;

use std::path::PathBuf;

use modelkeep_core::Result;
use schemars::JsonSchema;
use serde::Serialize;

pub use local::{State, local};

use crate::context::Context;

/// Both sides.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// This machine.
    pub local: Local,
    /// The remote; null when none is set, or it cannot be asked.
    pub remote: Option<Remote>,
    /// Why the remote could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_error: Option<String>,
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Local {
    /// What all of it together may take, `budget.total`.
    pub budget_bytes: u64,
    /// What all items but `free` take together.
    pub used_bytes: u64,
    /// Free on the disk.
    pub free_bytes: u64,
    /// The rows.
    pub items: Vec<Item>,
    /// Folders that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// One row of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// `code`, `dependencies`, `data`, `models`, `huggingface`, `pip`, `git`, `free`.
    pub name: String,
    /// Where most of it is.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// Bytes as they are read.
    pub size_bytes: u64,
    /// Bytes on the disk, as `du` counts them.
    pub allocated_bytes: u64,
    /// How many files.
    pub files: u64,
    /// What it may take (for `free`: what should be free); null when it has no budget of its own.
    pub budget_bytes: Option<u64>,
    /// How it stands.
    pub state: State,
}

/// The remote.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Remote {
    /// Its name, or its address.
    pub name: String,
    /// All that may be used; null where the store does not say.
    pub quota_bytes: Option<u64>,
    /// What is used of it: by everything there, as the store says; else the sum of the rows.
    pub used_bytes: u64,
    /// Of that what is in the trash, ours and the store's own.
    pub trash_bytes: u64,
    /// The rows.
    pub categories: Vec<Category>,
    /// Whether it is the simulation.
    pub simulated: bool,
}

/// One row of the remote.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Category {
    /// `base_models`, `finetuned`, `datasets`, `notebooks`, `results`.
    pub name: String,
    /// Files: those of every version, and the copies that are shown of what is filed.
    pub files: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// Its share of the quota, 0 to 1; null where the store has none.
    pub share: Option<f64>,
}

/// Measures.
pub async fn status(ctx: &Context) -> Result<Report> {
    let (local, remote) = tokio::join!(local(ctx), remote::remote(ctx));
    let (remote, remote_error) = match remote {
        Ok(remote) => (remote, None),
        Err(error) if error.kind() == modelkeep_core::Kind::Interrupted => return Err(error),
        Err(error) => (None, Some(error.full_message())),
    };
    Ok(Report { local: local?, remote, remote_error })
}
