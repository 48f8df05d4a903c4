//! Opening the database: its settings, its tables and the way from older formats.
//!
//! Ids are stored as 16 bytes and the realm's name behind them ([`key`]), so that every key carries
//! its tenant and still sorts by time. Settings and audit entries about no run carry the realm of
//! the site in a column of their own.
//!
//! Not here: what the tables' rows must satisfy (`reader`, `verify`).

use super::{NAME, read_error};
use crate::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tidegate_domain::ids::Realm;

/// Earlier versions could lose or damage a WAL on some paths this store uses.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a statement waits for another connection's lock before it fails.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// The WAL is cut back to this after a checkpoint, in bytes.
const WAL_KEPT_BYTES: u32 = 5 << 20;

/// `MIGRATIONS[n]` takes a database from format `n` to `n + 1`; format 0 is an empty file.
const MIGRATIONS: &[&str] = &[include_str!("format-1.sql")];

/// The format this program writes.
pub(super) const FORMAT: u32 = MIGRATIONS.len() as u32;

/// Opens the writing connection; creates or migrates the database.
pub(super) fn open_writer(dir: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::Io {
            doing: "use this SQLite".into(),
            cause: format!("version {} is older than 3.51.3", rusqlite::version()),
        });
    }
    create_private(dir)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(dir, flags)?;
    prepare_writer(&mut connection).map_err(|e| open_error(dir, e))?;
    migrate(&mut connection, dir)?;
    check_schema(&connection)?;
    // Whatever is in the log is in the database then, and the log begins at its first byte again.
    // On a full disk it stays in the log: the store opens all the same and can be read.
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Err(error) if !super::is_full(&error) => return Err(open_error(dir, error)),
        Ok(()) | Err(_) => {}
    }
    Ok(connection)
}

/// Bounds the database's size; one that is larger already keeps its size.
pub(super) fn limit(connection: &Connection, pages_max: u32) -> Result<(), StoreError> {
    connection
        .pragma_update_and_check(None, "max_page_count", pages_max, |_| Ok(()))
        .map_err(|e| read_error("the database", 0, e))
}

/// Opens a reading connection to a database that the writer has opened.
pub(super) fn open_reader(dir: &Path) -> Result<Connection, StoreError> {
    let connection = connect(dir, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let prepare = || {
        connection.pragma_update(None, "cache_size", -512)?;
        connection.pragma_update(None, "query_only", true)
    };
    prepare().map_err(|e| open_error(dir, e))?;
    Ok(connection)
}

/// SQLite gives its log and shared memory the mode of the database, so this is made first.
fn create_private(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    let io_error = |cause: std::io::Error| StoreError::Io {
        doing: format!("create {}", path.display()),
        cause: cause.to_string(),
    };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(_) => tidegate_seams::files::sync_parent(&path).map_err(io_error),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(io_error(e)),
    }
}

fn connect(dir: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open_with_flags(dir.join(NAME), flags)?;
        connection.busy_timeout(BUSY)?;
        // A damaged schema must not run functions, and nobody but `writer` checkpoints: a
        // checkpoint on close would sync a log whose last sync may have failed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        Ok(connection)
    };
    open().map_err(|e| open_error(dir, e))
}

fn prepare_writer(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!("journal mode {mode} in place of wal")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    connection.pragma_update(None, "cache_size", -2048)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn migrate(connection: &mut Connection, dir: &Path) -> Result<(), StoreError> {
    let found: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| open_error(dir, e))?;
    if found > FORMAT {
        return Err(StoreError::Version { found, known: FORMAT });
    }
    if found == FORMAT {
        return Ok(());
    }
    if found == 0 {
        super::verify::before_creation(dir)?;
    }
    let transaction = connection.transaction().map_err(|e| open_error(dir, e))?;
    let steps = || {
        for step in &MIGRATIONS[found as usize..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", FORMAT)
    };
    steps().and_then(|()| transaction.commit()).map_err(|e| open_error(dir, e))
}

/// The stored schema must be word for word the one this program would create: a damaged definition
/// could make SQLite read sound rows wrongly.
fn check_schema(connection: &Connection) -> Result<(), StoreError> {
    let definitions = |connection: &Connection| -> Result<Vec<(String, Option<String>)>, rusqlite::Error> {
        connection
            .prepare("SELECT type || ' ' || name || ' on ' || tbl_name, sql FROM sqlite_schema ORDER BY 1")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    let read = |e| read_error("the schema", 0, e);
    let fresh = Connection::open_in_memory().map_err(read)?;
    for step in MIGRATIONS {
        fresh.execute_batch(step).map_err(read)?;
    }
    if definitions(connection).map_err(read)? != definitions(&fresh).map_err(read)? {
        return Err(StoreError::Corrupt {
            what: "the schema",
            seq: 0,
            why: "its tables are not the ones of its format",
        });
    }
    Ok(())
}

fn open_error(dir: &Path, error: rusqlite::Error) -> StoreError {
    if super::is_full(&error) {
        return StoreError::Full(dir.to_owned());
    }
    match read_error("the database", 0, error) {
        StoreError::Io { cause, .. } => StoreError::Io { doing: format!("open {}", dir.join(NAME).display()), cause },
        other => other,
    }
}

/// An id as it is stored: its 16 bytes, then its realm's name.
pub(super) fn key(realm: Realm, id: [u8; 16]) -> Key {
    let name = realm.as_str().as_bytes();
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&id);
    bytes[16..16 + name.len()].copy_from_slice(name);
    Key { bytes, length: 16 + name.len() }
}

/// What [`key`] wrote; `None` if these are not such bytes.
pub(super) fn read_key(bytes: &[u8]) -> Option<(Realm, [u8; 16])> {
    let (id, name) = bytes.split_first_chunk::<16>()?;
    let realm = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some((realm, *id))
}

/// The stored form of an id, without an allocation per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    bytes: [u8; 32],
    length: usize,
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Which table a checksum or a witness is about. Stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Tails = 1,
    Runs = 2,
    Inbox = 3,
    Fences = 4,
    Settings = 5,
    Uses = 6,
    Counts = 7,
}

impl Table {
    /// The key that stands in `witness` for the row with this key.
    pub(super) fn witness(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = vec![self as u8];
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn an_empty_database_of_format_0_is_brought_up() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join(NAME)).unwrap();
        old.pragma_update(None, "user_version", 0).unwrap();
        drop(old);
        let new = open_writer(dir.path()).unwrap();
        let format: u32 = new.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(format, FORMAT);
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let new = Connection::open(dir.path().join(NAME)).unwrap();
        new.pragma_update(None, "user_version", FORMAT + 1).unwrap();
        drop(new);
        let refused = open_writer(dir.path());
        assert!(matches!(refused, Err(StoreError::Version { found, known }) if found == FORMAT + 1 && known == FORMAT));
    }

    #[test]
    fn every_commit_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let writer = open_writer(dir.path()).unwrap();
        let number = |name| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("synchronous"), 2, "FULL: in WAL mode each commit syncs the log");
        assert_eq!(number("wal_autocheckpoint"), 0);
        assert_eq!(number("secure_delete"), 1);
        assert_eq!(number("trusted_schema"), 0);
        let mode: String = writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_changed_definition_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        drop(open_writer(dir.path()).unwrap());
        let raw = Connection::open(dir.path().join(NAME)).unwrap();
        raw.execute_batch("ALTER TABLE settings RENAME COLUMN value TO valye").unwrap();
        drop(raw);
        assert!(matches!(open_writer(dir.path()), Err(StoreError::Corrupt { what: "the schema", .. })));
    }

    #[test]
    fn keys_read_back_and_keep_realms_apart() {
        let acme: Realm = "acme".parse().unwrap();
        assert_eq!(read_key(&key(acme, [7; 16])), Some((acme, [7; 16])));
        assert_ne!(*key(acme, [7; 16]), *key(Realm::LOCAL, [7; 16]));
        assert_eq!(read_key(&[7; 16]), None);
    }
}
