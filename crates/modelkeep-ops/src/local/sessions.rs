//! Upload sessions that another process can go on with.
//!
//! Who has a session's address may write that file, so it is as secret as a token: the database is closed to others
//! before one goes in, and it is never printed.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use modelkeep_core::Result;
use modelkeep_remote::drive::{Kept, Secret, SessionKey, Sessions};
use rusqlite::{OptionalExtension as _, params};

use super::{Local, failed, nanos};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sessions (
        folder TEXT, name TEXT, source TEXT, size INTEGER, modified TEXT, uri TEXT NOT NULL, id TEXT NOT NULL,
        at INTEGER, PRIMARY KEY (folder, name, source)) WITHOUT ROWID";

/// Google keeps a session for a week; one that may end while it is used is no help.
const LIFETIME_NANOS: i64 = 6 * 24 * 3600 * 1_000_000_000;

/// Sessions in the database of a folder, which is opened when the first large file goes up.
#[derive(Debug)]
pub struct KeptSessions {
    folder: PathBuf,
    local: OnceLock<Option<Local>>,
}

impl KeptSessions {
    /// In this folder's database.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, local: OnceLock::new() }
    }

    /// A database that cannot be used costs only that a broken upload begins again in the next process.
    fn local(&self) -> Option<&Local> {
        self.local.get_or_init(|| Local::open(&self.folder).ok()).as_ref()
    }
}

impl Sessions for KeptSessions {
    fn find(&self, key: &SessionKey) -> Option<Kept> {
        self.local()?.session(key).ok().flatten()
    }

    fn keep(&self, key: &SessionKey, kept: &Kept) {
        let _ = self.local().map(|local| local.keep_session(key, kept));
    }

    fn forget(&self, key: &SessionKey) {
        let _ = self.local().map(|local| local.forget_session(key));
    }
}

impl Local {
    fn session(&self, key: &SessionKey) -> Result<Option<Kept>> {
        let connection = self.connection();
        connection.execute_batch(SCHEMA).map_err(failed)?;
        let found = connection.query_row(
            "SELECT uri, id FROM sessions WHERE folder = ?1 AND name = ?2 AND source = ?3 AND size = ?4
             AND modified = ?5 AND at > ?6",
            params![
                key.folder,
                key.name,
                key.from.to_string_lossy(),
                key.size.cast_signed(),
                key.modified.to_string(),
                nanos(SystemTime::now()) - LIFETIME_NANOS
            ],
            |row| Ok(Kept { uri: Secret::new(row.get::<_, String>(0)?), id: row.get(1)? }),
        );
        found.optional().map_err(failed)
    }

    fn keep_session(&self, key: &SessionKey, kept: &Kept) -> Result<()> {
        self.close_to_others()?;
        let now = nanos(SystemTime::now());
        let connection = self.connection();
        connection.execute_batch(SCHEMA).map_err(failed)?;
        connection.execute("DELETE FROM sessions WHERE at <= ?1", [now - LIFETIME_NANOS]).map_err(failed)?;
        let values = params![
            key.folder,
            key.name,
            key.from.to_string_lossy(),
            key.size.cast_signed(),
            key.modified.to_string(),
            kept.uri.reveal(),
            kept.id,
            now
        ];
        let keep = "INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        connection.execute(keep, values).map(drop).map_err(failed)
    }

    fn forget_session(&self, key: &SessionKey) -> Result<()> {
        let connection = self.connection();
        connection.execute_batch(SCHEMA).map_err(failed)?;
        let forget = "DELETE FROM sessions WHERE folder = ?1 AND name = ?2 AND source = ?3";
        connection.execute(forget, params![key.folder, key.name, key.from.to_string_lossy()]).map(drop).map_err(failed)
    }

    /// A database that an earlier version made may be open to all.
    fn close_to_others(&self) -> Result<()> {
        #[cfg(unix)]
        for name in ["local.db", "local.db-wal", "local.db-shm"] {
            use std::os::unix::fs::PermissionsExt as _;
            let file = self.folder().join(name);
            match fs::set_permissions(&file, fs::Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(modelkeep_remote::folder::failed("closing to others", &file, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(size: u64) -> SessionKey {
        SessionKey { folder: "f".into(), name: "model.bin".into(), from: "/m/model.bin".into(), size, modified: 7 }
    }

    #[test]
    fn a_session_outlives_the_process_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        // As an earlier version left it.
        drop(Local::open(folder.path()).unwrap());
        let kept = Kept { uri: Secret::new("https://up/?upload_id=hush"), id: "1a".into() };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let file = folder.path().join("local.db");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            KeptSessions::at(folder.path().into()).keep(&key(3), &kept);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        KeptSessions::at(folder.path().into()).keep(&key(3), &kept);
        let again = KeptSessions::at(folder.path().into());
        assert_eq!(again.find(&key(3)), Some(kept));
        assert_eq!(again.find(&key(4)), None, "another file");
        assert!(!format!("{again:?}").contains("hush"));
        again.forget(&key(3));
        assert_eq!(again.find(&key(3)), None);
    }
}
