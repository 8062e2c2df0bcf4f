//! The workspace: the folder with `modelkeep.toml`, in git, and what lives in it.

use std::path::{Path, PathBuf};

use modelkeep_core::{Error, Result};

use crate::context::Env;

/// The settings file that makes a folder a workspace.
pub const SETTINGS_FILE: &str = "modelkeep.toml";
/// The file that pins what the code uses.
pub const LOCK_FILE: &str = "modelkeep.lock";
/// This machine's own state, ignored by git.
pub const STATE_DIR: &str = ".modelkeep";

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its folder.
    pub root: PathBuf,
}

impl Workspace {
    /// The workspace named by `explicit` or `MODELKEEP_WORKSPACE`, else the first one upward from the current folder.
    pub fn find(env: &Env, explicit: Option<&Path>) -> Result<Option<Self>> {
        let named = explicit.map(Path::to_owned).or_else(|| env.get("MODELKEEP_WORKSPACE").map(PathBuf::from));
        if let Some(root) = named {
            let root = env.cwd.join(root);
            if root.join(SETTINGS_FILE).is_file() {
                return Ok(Some(Self { root }));
            }
            return Err(Error::not_found(format!("{} is no workspace: it has no {SETTINGS_FILE}", root.display()))
                .hint(format!("modelkeep init {}", root.display())));
        }
        let found = env.cwd.ancestors().find(|folder| folder.join(SETTINGS_FILE).is_file());
        Ok(found.map(|root| Self { root: root.to_owned() }))
    }

    /// `modelkeep.toml`.
    pub fn settings_file(&self) -> PathBuf {
        self.root.join(SETTINGS_FILE)
    }

    /// `modelkeep.lock`.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join(LOCK_FILE)
    }

    /// `.modelkeep/`.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(STATE_DIR)
    }
}
