//! The one error of modelkeep: a kind, what failed on what and why, and the next command to type.
//!
//! The kind decides the exit code, the HTTP problem and the Python exception; [`Kind::exit_code`] is that table.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// The result of anything that can fail for a reason a person should read.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it was; never parsed from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command, a setting or the input itself is wrong.
    Usage,
    /// No such model, revision, path or workspace.
    NotFound,
    /// It would break something that stands: a taken id, a deployed model, a changed file.
    Conflict,
    /// Bytes are not what their checksum says.
    Integrity,
    /// Not logged in, no permission, or no store set for a write.
    Auth,
    /// The remote does not answer.
    Unavailable,
    /// The remote has no room, or its limits are used up.
    Quota,
    /// The local machine: disk full, over budget.
    Local,
    /// A check found something; not a failure of the program.
    CheckFailed,
    /// Stopped by the user.
    Interrupted,
    /// A bug, or something nobody foresaw.
    Internal,
}

impl Kind {
    /// The process exit code (`docs/cli` contract).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Integrity => 5,
            Self::Auth => 6,
            Self::Unavailable | Self::Quota => 7,
            Self::Local => 8,
            Self::CheckFailed => 9,
            Self::Interrupted => 130,
        }
    }

    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Integrity => "integrity",
            Self::Auth => "auth",
            Self::Unavailable => "unavailable",
            Self::Quota => "quota",
            Self::Local => "local",
            Self::CheckFailed => "check_failed",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }
}

/// A failure: its kind, a sentence, the chain of causes, and a hint that is a command to type.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// A wrong command, setting or input.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Something that would be broken.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Wrong bytes.
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(Kind::Integrity, message)
    }

    /// A failure of the local machine.
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Kind::Local, message)
    }

    /// A broken invariant.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds the next command to type (without `hint:`).
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says what was being done to what: `while pushing ./output: …`.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The command to type next, when there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The sentence with all its causes, `a: b: c`.
    pub fn full_message(&self) -> String {
        let mut text = self.0.message.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// An I/O error as one of ours: its kind from what the system said, its text naming the path.
pub fn failed(doing: &str, path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, hint) = match error.kind() {
        Io::NotFound => (Kind::NotFound, None),
        Io::AlreadyExists | Io::DirectoryNotEmpty => (Kind::Conflict, None),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (Kind::Auth, Some("check who may write there: ls -ld")),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            (Kind::Local, Some("free some space (modelkeep prune --dry-run shows what could go), then run it again"))
        }
        Io::TimedOut | Io::HostUnreachable | Io::NetworkUnreachable | Io::StaleNetworkFileHandle | Io::NotConnected => {
            (Kind::Unavailable, None)
        }
        Io::Interrupted => (Kind::Interrupted, None),
        Io::InvalidFilename | Io::InvalidInput | Io::NotADirectory | Io::IsADirectory => (Kind::Usage, None),
        _ => (Kind::Local, None),
    };
    let error = Error::new(kind, format!("{doing} {}", path.display())).because(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
