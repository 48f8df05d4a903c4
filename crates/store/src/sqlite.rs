//! The store in SQLite: one file, one writing thread, one fsync for whatever waits.
//!
//! `journal.db` in WAL mode with `synchronous=FULL`, and beside it the head file (`head`). All
//! batches go to one thread, which takes everything that is queued, writes it in one transaction
//! and answers every ticket after the one fsync of its commit: with one producer a commit costs one
//! fsync, with many they share it, and nobody ever lingers for company.
//!
//! **What SQLite does not check.** Its pages have no checksums, so damage can change rows and, in a
//! page of keys, hide them. Rows are therefore chained or carry a checksum; a run's rows are found
//! by links inside the chain (`chain`), from a last place kept in `tails`; and every key of every
//! other table stands a second time in the tree `witness`. A key that is missing in its table but
//! has a witness is damage, not absence, so one bad page is an error and never a forgotten attempt.
//!
//! **Failing.** A full disk fails the transaction, which is rolled back, and whatever was queued
//! behind it (those batches were committed without knowing); the store then goes on. Any other
//! failed write or sync stops it for good: what the disk holds is unknown and a second fsync would
//! lie about it (fault F3). Reads go on in both cases: they see what was synced before.
//!
//! Not here: the folder's lock (one process at a time opens a folder; `node` and `hub` see to that).

mod reader;
mod rows;
mod schema;
mod verify;
mod write;
mod writer;

use crate::chain::Link;
use crate::head::Head;
use crate::{AuditRow, Batch, InboxRow, JournalRow, RunRow, Store, StoreError, Ticket, Verified};
use rusqlite::{Connection, ErrorCode, Transaction};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;
use tokio::sync::oneshot;
use writer::Message;

/// The database's name in the data folder.
const NAME: &str = "journal.db";

/// A site's store in a folder.
pub struct SqliteStore {
    dir: PathBuf,
    realm: Realm,
    queue: Sender<Message>,
    /// What reads must at least find.
    durable: Arc<Durable>,
    readers: [Mutex<Connection>; 2],
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The result of the first `close`.
    closed: Mutex<Option<Result<(), StoreError>>>,
}

/// How far the writer got, for reads to hold their findings against: a list that ends early is
/// damage. Set after each commit, before its tickets are answered.
#[derive(Default)]
pub(crate) struct Durable {
    audit: AtomicU64,
    journal: AtomicU64,
    runs: AtomicU64,
}

impl Durable {
    fn set(&self, state: &State) {
        self.audit.store(state.audit.seq, Ordering::Release);
        self.journal.store(state.journal.seq, Ordering::Release);
        self.runs.store(state.runs, Ordering::Release);
    }

    fn audit(&self) -> u64 {
        self.audit.load(Ordering::Acquire)
    }

    fn journal(&self) -> u64 {
        self.journal.load(Ordering::Acquire)
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Acquire)
    }
}

/// Where the next rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    audit: Link,
    journal: Link,
    /// Rows in `runs`, which are numbered without gaps.
    runs: u64,
    /// Transactions so far that wrote no chained row.
    unchained: u64,
}

impl State {
    fn head(&self) -> Head {
        Head { audit: self.audit, journal: self.journal, unchained: self.unchained }
    }
}

impl SqliteStore {
    /// Opens the store in the folder `dir`, or creates it there.
    ///
    /// Compares the chains with the head file and verifies the rows written after it; older rows
    /// are checked when they are read and by [`Store::verify`].
    pub fn open(dir: &Path, realm: Realm) -> Result<Arc<Self>, StoreError> {
        Self::open_with(dir, realm, None)
    }

    /// The same, with a budget: a batch that would make the database larger than `pages_max` pages
    /// of 4 KiB fails with [`StoreError::Full`], as on a full disk.
    pub fn open_limited(dir: &Path, realm: Realm, pages_max: u32) -> Result<Arc<Self>, StoreError> {
        Self::open_with(dir, realm, Some(pages_max))
    }

    fn open_with(dir: &Path, realm: Realm, pages_max: Option<u32>) -> Result<Arc<Self>, StoreError> {
        let connection = schema::open_writer(dir)?;
        if let Some(pages_max) = pages_max {
            schema::limit(&connection, pages_max)?;
        }
        let state = verify::at_open(&connection, dir)?;
        let readers = [Mutex::new(schema::open_reader(dir)?), Mutex::new(schema::open_reader(dir)?)];
        let durable = Arc::new(Durable::default());
        durable.set(&state);
        let (queue, messages) = channel();
        let writer = writer::Writer::new(connection, dir.to_owned(), realm, state, durable.clone());
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.serve(&messages))
            .map_err(|e| StoreError::Io { doing: "start the store's thread".into(), cause: e.to_string() })?;
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            realm,
            queue,
            durable,
            readers,
            thread: Mutex::new(Some(thread)),
            closed: Mutex::new(None),
        }))
    }

    /// Reads in one snapshot, on a free reading connection or on the first once it is free.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // Even one whose user panicked is good: its statements and its transaction ended with it.
        let connection = match self.readers[1].try_lock() {
            Ok(free) => free,
            Err(_) => lock(&self.readers[0]),
        };
        read(&*snapshot(&connection)?)
    }
}

/// A read transaction: all its reads see the same state.
fn snapshot(connection: &Connection) -> Result<Transaction<'_>, StoreError> {
    connection.unchecked_transaction().map_err(|e| read_error("the database", 0, e))
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch) -> Ticket {
        if let Err(error) = crate::check_sizes(&batch) {
            return Ticket::done(Err(error));
        }
        let (answer, receiver) = oneshot::channel();
        match self.queue.send(Message::Batch(batch, answer)) {
            Ok(()) => Ticket::waiting(receiver),
            Err(_) => Ticket::done(Err(StoreError::Stopped("the store was closed".into()))),
        }
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        self.read(|snapshot| reader::runs(snapshot, self.durable.runs(), limit))
    }

    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read(|snapshot| reader::run(snapshot, run))
    }

    fn journal(&self, run: RunId) -> Result<Vec<JournalRow>, StoreError> {
        self.read(|snapshot| reader::journal(snapshot, run))
    }

    fn audit(&self, after: u64, run: Option<RunId>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let last = self.durable.audit();
        match run {
            None => self.read(|snapshot| reader::audit(snapshot, last, after, limit)),
            Some(run) => self.read(|snapshot| reader::audit_of_run(snapshot, run, after, limit)),
        }
    }

    fn inbox(&self, attempt: AttemptId) -> Result<Option<InboxRow>, StoreError> {
        self.read(|snapshot| reader::inbox(snapshot, attempt))
    }

    fn highest_token(&self, run: RunId, unit: [u8; 16]) -> Result<Option<FencingToken>, StoreError> {
        self.read(|snapshot| reader::highest_token(snapshot, run, unit))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|snapshot| reader::setting(snapshot, self.realm, name))
    }

    fn blobs_in_use(&self) -> Result<Vec<BlobId>, StoreError> {
        self.read(reader::blobs_in_use)
    }

    /// Opens a connection of its own, so that other reads go on meanwhile. While it walks, the
    /// write-ahead log cannot be shortened.
    fn verify(&self) -> Result<Verified, StoreError> {
        verify::everything(&self.dir, &self.durable)
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut closed = lock(&self.closed);
        if let Some(result) = &*closed {
            return result.clone();
        }
        let (answer, receiver) = channel();
        let gone = || StoreError::Stopped("the store's thread is gone".into());
        let result = match self.queue.send(Message::Close(answer)) {
            Ok(()) => receiver.recv().unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        if let Some(thread) = lock(&self.thread).take() {
            // The thread answers everything by message; all a join could add is a panic's report.
            let _ = thread.join();
        }
        *closed = Some(result.clone());
        result
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`.
        let _ = self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether SQLite says that there is no space left.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// What a failed read means: a value of the wrong type or a damaged page is corruption, the rest
/// is an input or output error.
fn read_error(what: &'static str, seq: u64, error: rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    let damaged = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    );
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => StoreError::Corrupt { what, seq, why: "a value has the wrong type or size" },
        _ if damaged => StoreError::Corrupt { what, seq, why: "a page of the database is damaged" },
        other => StoreError::Io { doing: format!("read {what}"), cause: other.to_string() },
    }
}
