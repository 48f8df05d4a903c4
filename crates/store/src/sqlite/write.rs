//! The rows of one transaction: each [`Write`] becomes statements, prepared once for the thread.
//!
//! Statements borrow the connection and live as long as the writing thread. Chain states are
//! advanced in a copy that the caller keeps only if the commit succeeds.
//!
//! Not here: when transactions begin and end and what a failure means (`writer`).

use super::rows::{self, Tail, lost, run_key};
use super::schema::{Key, Table};
use super::{State, read_error};
use crate::chain::{self, Hash, Link};
use crate::{Batch, InboxRow, Receipt, RunRow, StoreError, Write};
use rusqlite::{Connection, OptionalExtension, Statement, params};
use std::collections::HashMap;
use tidegate_domain::ids::{FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;

/// Tails kept between transactions, so that a busy run's is not read again each time.
const TAILS_KEPT_MAX: usize = 4096;

/// Why a transaction must be rolled back.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's words.
    Sqlite(rusqlite::Error),
    /// What is there already is damaged.
    Damaged(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Damaged(error)
    }
}

struct Cached {
    tail: Tail,
    changed: bool,
}

/// The statements that write rows.
pub(super) struct Rows<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    journal: Statement<'c>,
    audit: Statement<'c>,
    tail: Statement<'c>,
    put_tail: Statement<'c>,
    witness: Statement<'c>,
    run_no: Statement<'c>,
    put_run: Statement<'c>,
    change_run: Statement<'c>,
    attempt_no: Statement<'c>,
    put_attempt: Statement<'c>,
    change_attempt: Statement<'c>,
    last_attempt: Statement<'c>,
    fence: Statement<'c>,
    put_fence: Statement<'c>,
    use_blob: Statement<'c>,
    put_counts: Statement<'c>,
    tails: HashMap<Key, Cached>,
    /// The keys in `tails` that this transaction changed.
    changed: Vec<Key>,
    /// Whether this transaction destroys something, so that the log must be cut after it.
    pub(super) forgot: bool,
}

impl<'c> Rows<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            connection,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            journal: connection
                .prepare("INSERT INTO journal (seq, run, back, kind, hash, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
            audit: connection.prepare(
                "INSERT INTO audit (seq, realm, run, back, hash, commitment, salt, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            tail: connection.prepare(&format!("SELECT {} FROM tails WHERE run = ?1", Tail::COLUMNS))?,
            put_tail: connection
                .prepare("REPLACE INTO tails (run, journal, audit, forgotten, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?,
            witness: connection.prepare("INSERT OR IGNORE INTO witness (key) VALUES (?1)")?,
            run_no: connection.prepare("SELECT no FROM runs WHERE run = ?1")?,
            put_run: connection.prepare(
                "INSERT INTO runs (no, run, status, started_ms, ended_ms, sum, sealed_key, sealed_name)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            change_run: connection.prepare(
                "UPDATE runs SET run = ?2, status = ?3, started_ms = ?4, ended_ms = ?5, sum = ?6,
                 sealed_key = ?7, sealed_name = ?8 WHERE no = ?1",
            )?,
            attempt_no: connection.prepare("SELECT no FROM inbox WHERE attempt = ?1")?,
            put_attempt: connection.prepare(
                "INSERT INTO inbox (no, attempt, run, unit, token, request, changed_ms, sum, outcome)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            change_attempt: connection.prepare(
                "UPDATE inbox SET attempt = ?2, run = ?3, unit = ?4, token = ?5, request = ?6,
                 changed_ms = ?7, sum = ?8, outcome = ?9 WHERE no = ?1",
            )?,
            last_attempt: connection.prepare("SELECT ifnull(max(no), 0) FROM inbox")?,
            fence: connection.prepare("SELECT run, unit, token, sum FROM fences WHERE run = ?1 AND unit = ?2")?,
            put_fence: connection.prepare("REPLACE INTO fences (run, unit, token, sum) VALUES (?1, ?2, ?3, ?4)")?,
            use_blob: connection.prepare("INSERT OR IGNORE INTO uses (run, blob) VALUES (?1, ?2)")?,
            put_counts: connection.prepare("REPLACE INTO counts (no, unchained, sum) VALUES (1, ?1, ?2)")?,
            tails: HashMap::new(),
            changed: Vec::new(),
            forgot: false,
        })
    }

    /// Writes one batch's rows.
    pub(super) fn apply(&mut self, state: &mut State, realm: Realm, batch: &Batch) -> Result<Receipt, Failure> {
        let mut entries = Vec::new();
        for write in &batch.writes {
            match write {
                Write::Run(row) => self.put_run(state, row)?,
                Write::Journal { run, kind, body } => self.append_journal(state, *run, *kind, body)?,
                Write::Audit { run, salt, body } => entries.push(self.append_audit(state, realm, *run, salt, body)?),
                Write::Inbox(row) => self.put_attempt(row)?,
                Write::UseBlob { run, blob } => self.use_blob(*run, blob)?,
                Write::Setting { name, value } => self.put_setting(realm, name, value)?,
                Write::Forget { run } => self.forget(*run)?,
            }
        }
        Ok(Receipt::new(entries))
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.begin.execute([])?;
        Ok(())
    }

    /// Counts a transaction that the chains do not show.
    pub(super) fn count_unchained(&mut self, state: &mut State) -> Result<(), Failure> {
        state.unchained += 1;
        self.put_counts.execute(params![state.unchained as i64, rows::counts_sum(state.unchained)])?;
        Ok(())
    }

    /// Makes the transaction durable: with `synchronous=FULL` the log is synced before this returns.
    ///
    /// The tails it changed are written first: once per run, however many rows it wrote.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        for key in self.changed.drain(..) {
            let Some(cached) = self.tails.get_mut(&key) else { continue };
            let Tail { journal, audit, forgotten } = cached.tail;
            let sum = cached.tail.sum(&key);
            self.put_tail.execute(params![&key[..], journal as i64, audit as i64, forgotten as i64, sum])?;
            cached.changed = false;
        }
        self.commit.execute([])?;
        if self.tails.len() > TAILS_KEPT_MAX {
            self.tails.clear();
        }
        Ok(())
    }

    /// Forgets what was kept in memory about a transaction that was rolled back.
    pub(super) fn roll_back(&mut self) {
        self.tails.clear();
        self.changed.clear();
        self.forgot = false;
    }

    /// The tail of `run`, to be changed.
    fn tail(&mut self, key: Key) -> Result<&mut Tail, Failure> {
        let cached = match self.tails.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let mut found = self.tail.query(params![&key[..]])?;
                let tail = match found.next()? {
                    Some(row) => Tail::read(row)?.1,
                    None => {
                        add_witness(&mut self.witness, rows::TAILS, &Table::Tails.witness(&[&key]))?;
                        Tail::default()
                    }
                };
                unknown.insert(Cached { tail, changed: false })
            }
        };
        if !cached.changed {
            cached.changed = true;
            self.changed.push(key);
        }
        Ok(&mut cached.tail)
    }

    fn append_journal(&mut self, state: &mut State, run: RunId, kind: u8, body: &[u8]) -> Result<(), Failure> {
        let key = run_key(run);
        let seq = state.journal.seq + 1;
        let back = std::mem::replace(&mut self.tail(key)?.journal, seq);
        let hash = chain::journal(&state.journal.hash, seq, run, back, kind, body);
        self.journal.execute(params![seq as i64, &key[..], back as i64, kind, hash, body])?;
        state.journal = Link { seq, hash };
        Ok(())
    }

    fn append_audit(
        &mut self,
        state: &mut State,
        realm: Realm,
        run: Option<RunId>,
        salt: &[u8; 16],
        body: &[u8],
    ) -> Result<(u64, Hash), Failure> {
        let key = run.map(run_key);
        let seq = state.audit.seq + 1;
        let back = match key {
            Some(key) => std::mem::replace(&mut self.tail(key)?.audit, seq),
            None => 0,
        };
        let commitment = chain::commitment(salt, body);
        let hash = chain::audit(&state.audit.hash, seq, realm, run, back, &commitment);
        let realm = run.map_or(realm, |run| run.realm);
        let run: Option<&[u8]> = key.as_deref();
        self.audit.execute(params![seq as i64, realm.as_str(), run, back as i64, hash, commitment, salt, body])?;
        state.audit = Link { seq, hash };
        Ok((seq, hash))
    }

    fn put_run(&mut self, state: &mut State, row: &RunRow) -> Result<(), Failure> {
        let key = run_key(row.run);
        let known = self.run_no.query_row(params![&key[..]], |row| rows::number(row, 0)).optional()?;
        let (no, statement) = match known {
            Some(no) => (no, &mut self.change_run),
            None => {
                add_witness(&mut self.witness, rows::RUNS, &Table::Runs.witness(&[&key]))?;
                state.runs += 1;
                (state.runs, &mut self.put_run)
            }
        };
        statement.execute(params![
            no as i64,
            &key[..],
            row.status,
            row.started_ms as i64,
            row.ended_ms as i64,
            rows::run_sum(no, row),
            row.sealed_key,
            row.sealed_name
        ])?;
        Ok(())
    }

    fn put_attempt(&mut self, row: &InboxRow) -> Result<(), Failure> {
        let (attempt, run) = (rows::attempt_key(row.attempt), run_key(row.run));
        let known = self.attempt_no.query_row(params![&attempt[..]], |row| rows::number(row, 0)).optional()?;
        let (no, statement) = match known {
            Some(no) => (no, &mut self.change_attempt),
            None => {
                add_witness(&mut self.witness, rows::INBOX, &Table::Inbox.witness(&[&attempt]))?;
                let last = self.last_attempt.query_row([], |row| rows::number(row, 0))?;
                (last + 1, &mut self.put_attempt)
            }
        };
        statement.execute(params![
            no as i64,
            &attempt[..],
            &run[..],
            row.unit,
            row.token.0 as i64,
            row.request,
            row.changed_ms as i64,
            rows::inbox_sum(no, row),
            row.outcome
        ])?;
        let mut found = self.fence.query(params![&run[..], row.unit])?;
        let seen = match found.next()? {
            Some(fence) => Some(rows::read_fence(fence)?.2),
            None => None,
        };
        drop(found);
        if seen.is_none() {
            add_witness(&mut self.witness, rows::FENCES, &Table::Fences.witness(&[&run, &row.unit]))?;
        }
        if seen < Some(row.token) {
            self.write_fence(&run, &row.unit, row.token)?;
        }
        Ok(())
    }

    fn write_fence(&mut self, run: &[u8], unit: &[u8; 16], token: FencingToken) -> Result<(), Failure> {
        self.put_fence.execute(params![run, unit, token.0 as i64, rows::fence_sum(run, unit, token)])?;
        Ok(())
    }

    fn use_blob(&mut self, run: RunId, blob: &BlobId) -> Result<(), Failure> {
        let (run, blob) = (run_key(run), blob_key(blob));
        if self.use_blob.execute(params![&run[..], blob])? > 0 {
            add_witness(&mut self.witness, rows::USES, &Table::Uses.witness(&[&run, &blob]))?;
        }
        Ok(())
    }

    /// Settings change seldom: their statements are prepared when needed.
    fn put_setting(&mut self, realm: Realm, name: &str, value: &[u8]) -> Result<(), Failure> {
        let realm = realm.as_str();
        let sum = rows::setting_sum(realm, name, value);
        let changed = self.connection.execute(
            "UPDATE settings SET sum = ?3, value = ?4 WHERE realm = ?1 AND name = ?2",
            params![realm, name, sum, value],
        )?;
        if changed == 0 {
            let key = Table::Settings.witness(&[realm.as_bytes(), &[0], name.as_bytes()]);
            add_witness(&mut self.witness, rows::SETTINGS, &key)?;
            self.connection.execute(
                "INSERT INTO settings (realm, name, sum, value) VALUES (?1, ?2, ?3, ?4)",
                params![realm, name, sum, value],
            )?;
        }
        Ok(())
    }

    /// Destroys what must go with a run. Rows are read and checked before they are written again,
    /// so that damage does not get a fresh checksum.
    fn forget(&mut self, run: RunId) -> Result<(), Failure> {
        self.forgot = true;
        let key = run_key(run);
        let sql = format!("SELECT {} FROM runs WHERE run = ?1", rows::RUN_COLUMNS);
        let header = one(self.connection, &sql, &key, rows::RUNS, rows::read_run_row)?;
        if let Some((no, mut row)) = header {
            row.sealed_key = None;
            self.connection.execute(
                "UPDATE runs SET sealed_key = NULL, sum = ?2 WHERE no = ?1",
                params![no as i64, rows::run_sum(no, &row)],
            )?;
        }

        let numbers: Vec<i64> = self
            .connection
            .prepare("SELECT no FROM inbox WHERE run = ?1")?
            .query_map(params![&key[..]], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let sql = format!("SELECT {} FROM inbox WHERE no = ?1", rows::INBOX_COLUMNS);
        let mut attempt = self.connection.prepare(&sql)?;
        let mut clear = self.connection.prepare("UPDATE inbox SET outcome = NULL, sum = ?2 WHERE no = ?1")?;
        for no in numbers {
            let mut found = attempt.query(params![no])?;
            let Some(row) = found.next()? else { return Err(lost(rows::INBOX).into()) };
            let (no, mut row) = rows::read_inbox_row(row)?;
            row.outcome = None;
            drop(found);
            clear.execute(params![no as i64, rows::inbox_sum(no, &row)])?;
        }

        let blobs: Vec<Vec<u8>> = self
            .connection
            .prepare("DELETE FROM uses WHERE run = ?1 RETURNING blob")?
            .query_map(params![&key[..]], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut remove = self.connection.prepare("DELETE FROM witness WHERE key = ?1")?;
        for blob in blobs {
            remove.execute(params![Table::Uses.witness(&[&key, &blob])])?;
        }
        self.forget_audit(key)
    }

    /// Follows the run's entries back from its last one to what is forgotten already.
    fn forget_audit(&mut self, key: Key) -> Result<(), Failure> {
        let tail = self.tail(key)?;
        let until = std::mem::replace(&mut tail.forgotten, tail.audit);
        let mut seq = tail.audit;
        let mut clear = self
            .connection
            .prepare("UPDATE audit SET salt = NULL, body = NULL WHERE seq = ?1 AND run = ?2 RETURNING back")?;
        while seq > until {
            let back = clear
                .query_row(params![seq as i64, &key[..]], |row| rows::number(row, 0))
                .optional()?
                .filter(|back| *back < seq);
            let Some(back) = back else {
                let why = "an entry of a run cannot be found";
                return Err(StoreError::Corrupt { what: "the audit log", seq, why }.into());
            };
            seq = back;
        }
        Ok(())
    }
}

/// Records that a key exists from now on; that it did before means that its row is lost.
fn add_witness(statement: &mut Statement<'_>, what: &'static str, key: &[u8]) -> Result<(), Failure> {
    if statement.execute(params![key])? == 0 {
        return Err(lost(what).into());
    }
    Ok(())
}

/// The one row for `key`, read and checked.
fn one<T>(
    connection: &Connection,
    sql: &str,
    key: &[u8],
    what: &'static str,
    read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let bad = |e| read_error(what, 0, e);
    let mut statement = connection.prepare(sql).map_err(bad)?;
    let mut found = statement.query(params![key]).map_err(bad)?;
    found.next().map_err(bad)?.map(read).transpose()
}

/// A blob's id as stored: one byte for its kind and the 32 behind it.
pub(super) fn blob_key(blob: &BlobId) -> [u8; 33] {
    let mut key = [0; 33];
    key[0] = match blob {
        BlobId::Keyed(_) => 0,
        BlobId::Digest(_) => 1,
    };
    key[1..].copy_from_slice(blob.bytes());
    key
}
