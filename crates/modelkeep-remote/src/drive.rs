//! Google Drive (API v3) as a remote.
//!
//! Knows HTTP, Google's errors and limits, ids and equal names. Does not know models, events or the log. Facts about
//! Drive come from Google's API documents; what could not be tried against Google itself is marked "unverified" where
//! the code depends on it.
//!
//! | question | file |
//! |---|---|
//! | when is a request tried again, and how long is waited? | `http` |
//! | which error is what kind, with which hint? | `error` |
//! | how many units does a call cost? | `limit` |
//! | which calls are there, with which fields? | `client`, `wire` |
//! | which id stands at a path? | `mirror` (what is known), `ids` (how it is asked) |
//! | how do bytes go up and down? | `upload`, `download` |
//! | where do tokens come from? | [`auth`] |
//!
//! It tries its own requests again, each one where it knows what repeating it means, so it goes without
//! [`layer::Retry`](crate::layer::Retry) around it.

pub mod auth;
mod client;
mod download;
mod error;
mod folders;
mod gauge;
mod http;
mod ids;
mod limit;
mod mirror;
mod node;
mod remote;
mod session;
mod source;
mod upload;
mod wire;
mod write;

pub use self::auth::Secret;
pub use self::folders::{Drive, FolderFound, find_folders};
pub use self::limit::Spent;
pub use self::remote::DriveRemote;
pub use self::session::{Kept, NoSessions, SessionKey, Sessions};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modelkeep_core::path::RemotePath;

use crate::layer::Retry;

/// Where Google's services are; another place in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Metadata calls and downloads, without the last `/`.
    pub api: String,
    /// Uploads, likewise.
    pub upload: String,
    /// Where a browser signs in.
    pub authorize: String,
    /// Access tokens.
    pub token: String,
    /// Codes for signing in on another device.
    pub device: String,
    /// Where a token is given back.
    pub revoke: String,
    /// The token of the machine's own service account.
    pub metadata: String,
}

impl Default for Endpoints {
    /// Google's own: <https://developers.google.com/identity/protocols/oauth2/native-app>, discovery of drive.v3.
    fn default() -> Self {
        let own = |url: &str| url.to_owned();
        Self {
            api: own("https://www.googleapis.com/drive/v3"),
            upload: own("https://www.googleapis.com/upload/drive/v3"),
            authorize: own("https://accounts.google.com/o/oauth2/v2/auth"),
            token: own("https://oauth2.googleapis.com/token"),
            device: own("https://oauth2.googleapis.com/device/code"),
            revoke: own("https://oauth2.googleapis.com/revoke"),
            metadata: own("http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"),
        }
    }
}

impl Endpoints {
    /// All services at one address, as a fake has them.
    pub fn all_at(url: &str) -> Self {
        let at = |path: &str| format!("{}{path}", url.trim_end_matches('/'));
        Self {
            api: at("/drive/v3"),
            upload: at("/upload/drive/v3"),
            authorize: at("/o/oauth2/v2/auth"),
            token: at("/token"),
            device: at("/device/code"),
            revoke: at("/revoke"),
            metadata: at("/computeMetadata/v1/instance/service-accounts/default/token"),
        }
    }
}

/// How a Drive is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Google is.
    pub endpoints: Endpoints,
    /// How often, and after which waits, a request is tried again.
    pub retry: Retry,
    /// No byte for so long, and a connection counts as dead.
    pub stall: Duration,
    /// What was seen so short a time ago needs no new look.
    pub fresh: Duration,
    /// A listing may be late by so much: a folder is only known whole from its changes when it was listed so long
    /// after the changes are followed.
    pub settle: Duration,
    /// Deleting skips Drive's trash.
    pub permanent_delete: bool,
    /// Where in the tree goes what only somebody else may delete; without, deleting it fails.
    pub aside: Option<RemotePath>,
    /// Files from this many bytes on go up in parts that can be resumed.
    pub resumable_from: u64,
    /// Bytes of one ranged request of a download; a large file has a few of them under way.
    pub piece: u64,
    /// Where upload sessions are kept for another process.
    pub sessions: Arc<dyn Sessions>,
    /// Where what is known of the tree is kept for the next process; deleting it only costs calls.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Endpoints::default(),
            retry: Retry { attempts: 8, base: Duration::from_secs(1) },
            stall: Duration::from_secs(30),
            fresh: Duration::from_secs(1),
            settle: Duration::from_secs(120),
            permanent_delete: false,
            aside: None,
            resumable_from: 4 << 20,
            piece: 8 << 20,
            sessions: Arc::new(NoSessions),
            cache: None,
        }
    }
}
