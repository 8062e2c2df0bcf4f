//! Upload sessions that outlive a process.
//!
//! Knows what names a session and what must be kept of it. Does not know where: the local journal does.

use std::fmt;
use std::path::PathBuf;

use super::auth::Secret;

/// Which upload a session is for. Another size or time of the local file is another upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The folder's id.
    pub folder: String,
    /// The file's name in it.
    pub name: String,
    /// The local file.
    pub from: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its time of change, in nanoseconds since 1970.
    pub modified: i128,
}

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Who has it may write the file: as secret as a token.
    pub uri: Secret,
    /// The id that the file will have.
    pub id: String,
}

/// Where sessions are kept, so that another process can go on with an upload. Google keeps a session for a week.
pub trait Sessions: Send + Sync + fmt::Debug {
    /// The session of an upload that was begun.
    fn find(&self, key: &SessionKey) -> Option<Kept>;

    /// An upload begins. Must not be readable by others.
    fn keep(&self, key: &SessionKey, kept: &Kept);

    /// An upload ended.
    fn forget(&self, key: &SessionKey);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSessions;

impl Sessions for NoSessions {
    fn find(&self, _: &SessionKey) -> Option<Kept> {
        None
    }

    fn keep(&self, _: &SessionKey, _: &Kept) {}

    fn forget(&self, _: &SessionKey) {}
}
