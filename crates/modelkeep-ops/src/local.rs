//! This machine's own memory, one SQLite database: hashes of files by their stat, events, what pulls wrote, pushes
//! under way. All of it can be deleted; modelkeep is only slower after.

mod sessions;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modelkeep_core::digest::{Sha256, Txn};
use modelkeep_core::event::EventName;
use modelkeep_core::name::ModelId;
use modelkeep_core::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

pub use self::sessions::KeptSessions;

/// The database.
#[derive(Debug)]
pub struct Local {
    connection: Mutex<Connection>,
    folder: PathBuf,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Last write, nanoseconds since 1970.
    pub modified: i64,
    /// Last change of the inode, nanoseconds since 1970; 0 where the system has none.
    pub changed: i64,
    /// Inode; 0 where the system has none.
    pub inode: u64,
}

impl Stat {
    /// Of a file's metadata.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata.modified().map_or(0, nanos);
        #[cfg(unix)]
        let (changed, inode) = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()), metadata.ino())
        };
        #[cfg(not(unix))]
        let (changed, inode) = (0, 0);
        Self { size: metadata.len(), modified, changed, inode }
    }
}

fn nanos(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A file written this shortly before it was hashed may have been written again within the same clock tick.
const RACY_NANOS: i64 = 2_000_000_000;

/// A push that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its transaction: where its staging folder is.
    pub txn: Txn,
    /// The model it is for.
    pub model: ModelId,
    /// What is pushed.
    pub source: PathBuf,
    /// Whether its folder was about to be moved to where committed pushes are.
    pub moving: bool,
    /// On which machine, by which database: these notes may be a copy.
    pub place: String,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS hashes (
        path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER,
        sha256 BLOB NOT NULL, hashed_at INTEGER) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS hashes_by_digest ON hashes (sha256);
    CREATE TABLE IF NOT EXISTS events (
        remote TEXT, name TEXT, bytes BLOB NOT NULL, UNIQUE (remote, name));
    CREATE TABLE IF NOT EXISTS notes (
        remote TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (remote, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS begun (
        txn TEXT PRIMARY KEY, remote TEXT, model TEXT, source TEXT, moving INTEGER, place TEXT);
    CREATE TABLE IF NOT EXISTS pulled (
        destination TEXT, path TEXT, sha256 BLOB NOT NULL, PRIMARY KEY (destination, path)) WITHOUT ROWID;
";
const VERSION: i64 = 3;

fn failed(error: rusqlite::Error) -> Error {
    Error::local("the local cache (.modelkeep/local.db) cannot be used")
        .because(error)
        .hint("delete .modelkeep/ and run it again; nothing is lost")
}

/// A new database is nobody else's to read, and with it what SQLite puts beside it: it may hold upload sessions. One
/// that may not be written says so here, better than SQLite would.
fn private(file: &Path) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop).map_err(|error| modelkeep_remote::folder::failed("opening", file, error))
}

impl Local {
    /// Opens the database in `folder`; one of another version, or a broken one, is made anew.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| modelkeep_remote::folder::failed("creating", folder, error))?;
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            let _ = fs::write(ignore, "*\n");
        }
        let file = folder.join("local.db");
        private(&file)?;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&file)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            // A cache that can be made anew needs no flushes, only no tearing.
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "mmap_size", 256 << 20)?;
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version == 0 {
                connection.execute_batch(SCHEMA)?;
                connection.pragma_update(None, "user_version", VERSION)?;
            } else if version != VERSION {
                return Err(rusqlite::Error::InvalidQuery);
            }
            Ok(connection)
        };
        let connection = match open() {
            Ok(connection) => connection,
            Err(rusqlite::Error::SqliteFailure(error, text))
                if error.code != rusqlite::ErrorCode::NotADatabase
                    && error.code != rusqlite::ErrorCode::DatabaseCorrupt =>
            {
                return Err(failed(rusqlite::Error::SqliteFailure(error, text)));
            }
            Err(_) => {
                for name in ["local.db", "local.db-wal", "local.db-shm"] {
                    let _ = fs::remove_file(folder.join(name));
                }
                private(&file)?;
                open().map_err(failed)?
            }
        };
        Ok(Self { connection: Mutex::new(connection), folder: folder.to_owned() })
    }

    /// A database that is gone with the process, for tests.
    pub fn in_memory(folder: &Path) -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { connection: Mutex::new(connection), folder: folder.to_owned() })
    }

    /// Which database on which machine this is: another one for a copy of it.
    pub fn place(&self, host: &str) -> String {
        let file = self.folder.join("local.db");
        #[cfg(unix)]
        let number = fs::metadata(&file).map(|found| std::os::unix::fs::MetadataExt::ino(&found)).unwrap_or_default();
        #[cfg(not(unix))]
        let number = 0;
        format!("{host} {number} {}", file.display())
    }

    /// The folder it is in, for files of its own beside.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digests known of files below `folder` (or of that one file) whose stat is still the same.
    pub fn hashes_below(&self, folder: &Path) -> Result<HashMap<PathBuf, (Stat, Sha256)>> {
        let connection = self.connection();
        let text = folder.to_string_lossy();
        let mut query = connection
            .prepare_cached(
                "SELECT path, size, modified, changed, inode, sha256 FROM hashes
                 WHERE (path = ?1 OR (path > ?1 || '/' AND path < ?1 || '0'))
                   AND hashed_at - max(modified, changed) >= ?2",
            )
            .map_err(failed)?;
        let rows = query
            .query_map(params![text, RACY_NANOS], |row| {
                let stat = Stat {
                    size: row.get::<_, i64>(1)?.cast_unsigned(),
                    modified: row.get(2)?,
                    changed: row.get(3)?,
                    inode: row.get::<_, i64>(4)?.cast_unsigned(),
                };
                Ok((PathBuf::from(row.get::<_, String>(0)?), (stat, Sha256::from_bytes(row.get(5)?))))
            })
            .map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Remembers digests; each was taken while the file had that stat.
    pub fn remember_hashes(&self, hashes: &[(PathBuf, Stat, Sha256)]) -> Result<()> {
        if hashes.is_empty() {
            return Ok(());
        }
        let now = nanos(SystemTime::now());
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(failed)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO hashes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                .map_err(failed)?;
            for (path, stat, sha256) in hashes {
                let values = params![
                    path.to_string_lossy(),
                    stat.size.cast_signed(),
                    stat.modified,
                    stat.changed,
                    stat.inode.cast_signed(),
                    sha256.as_bytes(),
                    now
                ];
                insert.execute(values).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// Local files that had this content when they were last hashed and have the same stat now. Who uses one checks
    /// it: a stat may lie.
    pub fn copies_of(&self, sha256: &Sha256) -> Result<Vec<PathBuf>> {
        let paths: Vec<(String, i64, i64, i64, i64)> = {
            let connection = self.connection();
            let mut query = connection
                .prepare_cached("SELECT path, size, modified, changed, inode FROM hashes WHERE sha256 = ?1")
                .map_err(failed)?;
            let rows = query
                .query_map(params![sha256.as_bytes()], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .map_err(failed)?;
            rows.collect::<rusqlite::Result<_>>().map_err(failed)?
        };
        let still = paths.into_iter().filter_map(|(path, size, modified, changed, inode)| {
            let path = PathBuf::from(path);
            let stat = Stat::of(&fs::metadata(&path).ok()?);
            let known = Stat { size: size.cast_unsigned(), modified, changed, inode: inode.cast_unsigned() };
            (stat == known).then_some(path)
        });
        Ok(still.collect())
    }

    /// Names of the events that are kept here.
    pub fn event_names(&self, remote: &str) -> Result<Vec<EventName>> {
        let connection = self.connection();
        let mut query = connection.prepare_cached("SELECT name FROM events WHERE remote = ?1").map_err(failed)?;
        let rows = query.query_map([remote], |row| row.get::<_, String>(0)).map_err(failed)?;
        rows.filter_map(|name| name.map(|name| name.parse().ok()).transpose())
            .collect::<rusqlite::Result<_>>()
            .map_err(failed)
    }

    /// One event that is kept here.
    pub fn event(&self, remote: &str, name: &EventName) -> Result<Option<Vec<u8>>> {
        let connection = self.connection();
        let mut query =
            connection.prepare_cached("SELECT bytes FROM events WHERE remote = ?1 AND name = ?2").map_err(failed)?;
        query.query_row(params![remote, name.to_string()], |row| row.get(0)).optional().map_err(failed)
    }

    /// How many bytes each event has that is kept here.
    pub fn event_sizes(&self, remote: &str) -> Result<BTreeMap<EventName, u64>> {
        let connection = self.connection();
        let mut query =
            connection.prepare_cached("SELECT name, length(bytes) FROM events WHERE remote = ?1").map_err(failed)?;
        let rows =
            query.query_map([remote], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).map_err(failed)?;
        let mut sizes = BTreeMap::new();
        for row in rows {
            let (name, size) = row.map_err(failed)?;
            if let Ok(name) = name.parse() {
                sizes.insert(name, size.unsigned_abs());
            }
        }
        Ok(sizes)
    }

    /// All events that are kept here.
    pub fn events(&self, remote: &str) -> Result<BTreeMap<EventName, Vec<u8>>> {
        let connection = self.connection();
        let mut query =
            connection.prepare_cached("SELECT name, bytes FROM events WHERE remote = ?1").map_err(failed)?;
        let rows = query
            .query_map([remote], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(failed)?;
        let mut events = BTreeMap::new();
        for row in rows {
            let (name, bytes) = row.map_err(failed)?;
            if let Ok(name) = name.parse() {
                events.insert(name, bytes);
            }
        }
        Ok(events)
    }

    /// Keeps events for ever.
    pub fn keep_events<'a>(
        &self,
        remote: &str,
        events: impl IntoIterator<Item = (&'a EventName, &'a [u8])>,
    ) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(failed)?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO events VALUES (?1, ?2, ?3)").map_err(failed)?;
            for (name, bytes) in events {
                insert.execute(params![remote, name.to_string(), bytes]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// A small thing kept under a key.
    pub fn get(&self, remote: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let connection = self.connection();
        let mut query =
            connection.prepare_cached("SELECT value FROM notes WHERE remote = ?1 AND key = ?2").map_err(failed)?;
        query.query_row([remote, key], |row| row.get(0)).optional().map_err(failed)
    }

    /// The small things whose keys begin so, by the rest of their keys.
    pub fn all(&self, remote: &str, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let connection = self.connection();
        let mut query = connection
            .prepare_cached(
                "SELECT substr(key, length(?2) + 1), value FROM notes
                 WHERE remote = ?1 AND substr(key, 1, length(?2)) = ?2",
            )
            .map_err(failed)?;
        let rows = query.query_map([remote, prefix], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Keeps a small thing under a key.
    pub fn put(&self, remote: &str, key: &str, value: &[u8]) -> Result<()> {
        self.connection()
            .execute("INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3)", params![remote, key, value])
            .map(drop)
            .map_err(failed)
    }

    /// Notes that a push is under way.
    pub fn begin_push(&self, remote: &str, begun: &Begun) -> Result<()> {
        self.connection()
            .execute(
                "INSERT OR REPLACE INTO begun VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    begun.txn.to_string(),
                    remote,
                    begun.model.as_str(),
                    begun.source.to_string_lossy(),
                    begun.moving,
                    begun.place
                ],
            )
            .map(drop)
            .map_err(failed)
    }

    /// Notes that a push is about to be moved to where committed pushes are.
    pub fn mark_moving(&self, txn: &Txn) -> Result<()> {
        let connection = self.connection();
        connection.execute("UPDATE begun SET moving = 1 WHERE txn = ?1", [txn.to_string()]).map(drop).map_err(failed)
    }

    /// Pushes of this source to this model that were begun and not finished, newest last.
    pub fn begun_pushes(&self, remote: &str, model: &ModelId, source: &Path) -> Result<Vec<Begun>> {
        let connection = self.connection();
        let mut query = connection
            .prepare_cached(
                "SELECT txn, moving, place FROM begun WHERE remote = ?1 AND model = ?2 AND source = ?3 ORDER BY rowid",
            )
            .map_err(failed)?;
        let rows = query
            .query_map(params![remote, model.as_str(), source.to_string_lossy()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, String>(2)?))
            })
            .map_err(failed)?;
        let rows: Vec<(String, bool, String)> = rows.collect::<rusqlite::Result<_>>().map_err(failed)?;
        Ok(rows
            .into_iter()
            .filter_map(|(txn, moving, place)| {
                Some(Begun { txn: txn.parse().ok()?, model: model.clone(), source: source.to_owned(), moving, place })
            })
            .collect())
    }

    /// Forgets a push that was begun: it is committed, or given up.
    pub fn end_push(&self, txn: &Txn) -> Result<()> {
        self.connection().execute("DELETE FROM begun WHERE txn = ?1", [txn.to_string()]).map(drop).map_err(failed)
    }

    /// What pulls wrote at a destination.
    pub fn pulled(&self, destination: &Path) -> Result<BTreeMap<String, Sha256>> {
        let connection = self.connection();
        let mut query =
            connection.prepare_cached("SELECT path, sha256 FROM pulled WHERE destination = ?1").map_err(failed)?;
        let rows = query
            .query_map([destination.to_string_lossy()], |row| {
                Ok((row.get::<_, String>(0)?, Sha256::from_bytes(row.get(1)?)))
            })
            .map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Every destination that a pull wrote to.
    pub fn pulled_places(&self) -> Result<Vec<PathBuf>> {
        let connection = self.connection();
        let mut query = connection.prepare_cached("SELECT DISTINCT destination FROM pulled").map_err(failed)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        rows.map(|place| place.map(PathBuf::from)).collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Adds to what pulls wrote at a destination; with `only`, that is all there is now.
    pub fn record_pull<'a>(
        &self,
        destination: &Path,
        files: impl IntoIterator<Item = (&'a str, &'a Sha256)>,
        only: bool,
    ) -> Result<()> {
        let destination = destination.to_string_lossy();
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(failed)?;
        if only {
            transaction.execute("DELETE FROM pulled WHERE destination = ?1", [&destination]).map_err(failed)?;
        }
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO pulled VALUES (?1, ?2, ?3)").map_err(failed)?;
            for (path, sha256) in files {
                insert.execute(params![destination, path, sha256.as_bytes()]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}
