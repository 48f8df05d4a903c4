//! Walking whole tables: the tail of both chains on opening, everything when somebody asks.
//!
//! Both walks stream, one row in memory at a time.
//!
//! Not here: the checks of one row (`reader`, `rows`).

use super::reader::{self, AUDIT, AUDIT_COLUMNS, Chained, JOURNAL, JOURNAL_COLUMNS, first};
use super::rows::{self, Tail, lost, run_key};
use super::schema::{self, Table};
use super::{Durable, State, read_error};
use crate::chain::Link;
use crate::head::Head;
use crate::{StoreError, Verified};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use std::collections::HashMap;
use std::path::Path;
use tidegate_domain::ids::RunId;

fn corrupt(what: &'static str, seq: u64, why: &'static str) -> StoreError {
    StoreError::Corrupt { what, seq, why }
}

/// Before the tables are created: a head that names rows means that the database is gone. The head
/// is written first, so that from the first commit on there always is one.
pub(super) fn before_creation(dir: &Path) -> Result<(), StoreError> {
    match Head::read(dir)? {
        None => write_first(dir),
        Some(Head::START) => Ok(()),
        Some(Head { audit: Link { seq: 0, .. }, journal: Link { seq: 0, .. }, .. }) => {
            Err(corrupt(rows::COUNTS, 0, "it is behind its head"))
        }
        Some(Head { audit: Link { seq: 0, .. }, .. }) => Err(corrupt(JOURNAL, 1, "it is shorter than its head")),
        Some(_) => Err(corrupt(AUDIT, 1, "it is shorter than its head")),
    }
}

fn write_first(dir: &Path) -> Result<(), StoreError> {
    Head::START.write(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full(dir.to_owned()),
        _ => StoreError::Io { doing: format!("write the head file in {}", dir.display()), cause: e.to_string() },
    })
}

/// Compares both chains with the head file and verifies what came after it.
///
/// An empty database without a head file gets one: nothing was acknowledged that it could lack.
pub(super) fn at_open(connection: &Connection, dir: &Path) -> Result<State, StoreError> {
    let (audit, journal) = (last(connection, AUDIT, "audit")?, last(connection, JOURNAL, "journal")?);
    let unchained = unchained(connection)?;
    let head = match Head::read(dir)? {
        Some(head) => head,
        None if audit == Link::START && journal == Link::START && unchained == 0 => {
            write_first(dir)?;
            Head::START
        }
        None => return Err(corrupt("the head file", 0, "it is missing")),
    };
    // Where a chain and its head part, the first bad row may be long before: that one is named.
    contains(connection, AUDIT, "audit", head.audit, audit)
        .or_else(|parted| walk_audit(connection, Link::START, |_| Ok(())).and(Err(parted)))?;
    contains(connection, JOURNAL, "journal", head.journal, journal)
        .or_else(|parted| walk_journal(connection, Link::START, |_| Ok(())).and(Err(parted)))?;
    if unchained < head.unchained {
        return Err(corrupt(rows::COUNTS, 0, "it is behind its head"));
    }
    let audit_end = walk_audit(connection, head.audit, |_| Ok(()))?;
    let journal_end = walk_journal(connection, head.journal, |_| Ok(()))?;
    if audit_end != audit {
        return Err(corrupt(AUDIT, audit_end.seq + 1, "it is missing"));
    }
    if journal_end != journal {
        return Err(corrupt(JOURNAL, journal_end.seq + 1, "it is missing"));
    }
    Ok(State { audit, journal, runs: count_runs(connection)?, unchained })
}

/// Transactions without a chained row; none before the first.
fn unchained(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT unchained, sum FROM counts WHERE no = 1";
    Ok(first(connection, rows::COUNTS, sql, [], rows::read_counts)?.unwrap_or(0))
}

/// The last row of a chain.
fn last(connection: &Connection, what: &'static str, table: &str) -> Result<Link, StoreError> {
    let sql = format!("SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1");
    let read = |row: &Row<'_>| {
        let get = || Ok(Link { seq: rows::number(row, 0)?, hash: row.get(1)? });
        get().map_err(|e| read_error(what, 0, e))
    };
    Ok(first(connection, what, &sql, [], read)?.unwrap_or(Link::START))
}

/// A chain must contain the row that its head names.
fn contains(
    connection: &Connection,
    what: &'static str,
    table: &str,
    head: Link,
    last: Link,
) -> Result<(), StoreError> {
    if head == Link::START {
        return Ok(());
    }
    if last.seq < head.seq {
        return Err(corrupt(what, last.seq + 1, "it is shorter than its head"));
    }
    let bad = |e| read_error(what, head.seq, e);
    let hash: Option<[u8; 32]> = connection
        .query_row(&format!("SELECT hash FROM {table} WHERE seq = ?1"), params![head.seq as i64], |row| row.get(0))
        .optional()
        .map_err(bad)?;
    match hash {
        Some(hash) if hash == head.hash => Ok(()),
        Some(_) => Err(corrupt(what, head.seq, "it differs from its head")),
        None => Err(corrupt(what, head.seq, "it is missing")),
    }
}

fn walk_journal(
    connection: &Connection,
    from: Link,
    mut visit: impl FnMut(&Chained) -> Result<(), StoreError>,
) -> Result<Link, StoreError> {
    let sql = format!("SELECT {JOURNAL_COLUMNS} FROM journal WHERE seq > ?1 ORDER BY seq");
    walk(connection, JOURNAL, &sql, from, |row, seq, prev| {
        let (place, _) = reader::journal_row(row, seq, prev)?;
        visit(&place)?;
        Ok(place)
    })
}

fn walk_audit(
    connection: &Connection,
    from: Link,
    mut visit: impl FnMut(&Chained) -> Result<(), StoreError>,
) -> Result<Link, StoreError> {
    let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq");
    walk(connection, AUDIT, &sql, from, |row, seq, prev| {
        let (place, entry) = reader::audit_row(row, seq, prev)?;
        reader::check_content(connection, &entry)?;
        visit(&place)?;
        Ok(place)
    })
}

/// Checks each row behind `from` against the one before it; an error names the first that is not
/// the one expected there.
fn walk(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    from: Link,
    mut read: impl FnMut(&Row<'_>, u64, &[u8; 32]) -> Result<Chained, StoreError>,
) -> Result<Link, StoreError> {
    let mut at = from;
    let mut statement = connection.prepare(sql).map_err(|e| read_error(what, at.seq + 1, e))?;
    let mut found = statement.query(params![from.seq as i64]).map_err(|e| read_error(what, at.seq + 1, e))?;
    while let Some(row) = found.next().map_err(|e| read_error(what, at.seq + 1, e))? {
        let place = read(row, at.seq + 1, &at.hash)?;
        at = Link { seq: place.seq, hash: place.hash };
    }
    Ok(at)
}

/// How many runs there are, from two trees that must agree.
fn count_runs(connection: &Connection) -> Result<u64, StoreError> {
    let read = |row: &Row<'_>| rows::number(row, 0).map_err(|e| read_error(rows::RUNS, 0, e));
    let last = first(connection, rows::RUNS, "SELECT ifnull(max(no), 0) FROM runs", [], read)?.unwrap_or(0);
    if count_witnesses(connection, rows::RUNS, Table::Runs)? != last {
        return Err(lost(rows::RUNS));
    }
    Ok(last)
}

fn count_witnesses(connection: &Connection, what: &'static str, table: Table) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM witness WHERE key >= ?1 AND key < ?2";
    let read = |row: &Row<'_>| rows::number(row, 0).map_err(|e| read_error(what, 0, e));
    let range = params![[table as u8], [table as u8 + 1]];
    Ok(first(connection, what, sql, range, read)?.unwrap_or(0))
}

/// Verifies everything there is, in one snapshot. The head file is read before it, so the chains
/// can only be longer.
pub(super) fn everything(dir: &Path, durable: &Durable) -> Result<Verified, StoreError> {
    let (least_audit, least_journal, least_runs) = (durable.audit(), durable.journal(), durable.runs());
    let head = Head::read(dir)?.ok_or(corrupt("the head file", 0, "it is missing"))?;
    let connection = schema::open_reader(dir)?;
    let snapshot = super::snapshot(&connection)?;

    let mut tails_of = TailsOf::new(&snapshot)?;
    let audit = walk_audit(&snapshot, Link::START, |place| tails_of.check(AUDIT, place, |tail| tail.audit))?;
    if audit.seq < least_audit {
        return Err(corrupt(AUDIT, audit.seq + 1, "it is missing"));
    }
    contains(&snapshot, AUDIT, "audit", head.audit, audit)?;
    let journal = walk_journal(&snapshot, Link::START, |place| tails_of.check(JOURNAL, place, |tail| tail.journal))?;
    if journal.seq < least_journal {
        return Err(corrupt(JOURNAL, journal.seq + 1, "it is missing"));
    }
    contains(&snapshot, JOURNAL, "journal", head.journal, journal)?;
    if unchained(&snapshot)? < head.unchained {
        return Err(corrupt(rows::COUNTS, 0, "it is behind its head"));
    }

    tails(&snapshot)?;
    keyed_tables(&snapshot, least_runs)?;
    reader::blobs_in_use(&snapshot)?;
    check_pages(&snapshot)?;
    Ok(Verified {
        audit_entries: audit.seq,
        audit_head: audit.hash,
        journal_rows: journal.seq,
        journal_head: journal.hash,
    })
}

/// Tails of runs while walking a chain: neighbouring rows tend to be of few runs.
struct TailsOf<'c> {
    statement: Statement<'c>,
    known: HashMap<RunId, Tail>,
}

impl<'c> TailsOf<'c> {
    /// Tails kept at a time.
    const KNOWN_MAX: usize = 4096;

    fn new(snapshot: &'c Connection) -> Result<Self, StoreError> {
        let sql = format!("SELECT {} FROM tails WHERE run = ?1", Tail::COLUMNS);
        let statement = snapshot.prepare(&sql).map_err(|e| read_error(rows::TAILS, 0, e))?;
        Ok(Self { statement, known: HashMap::new() })
    }

    /// No row of a run lies behind the run's tail, where no read would find it.
    fn check(&mut self, what: &'static str, place: &Chained, end: impl Fn(&Tail) -> u64) -> Result<(), StoreError> {
        let Some(run) = place.run else { return Ok(()) };
        let unknown = || corrupt(what, place.seq, "its run does not know it");
        let tail = match self.known.get(&run) {
            Some(tail) => *tail,
            None => {
                let bad = |e| read_error(rows::TAILS, 0, e);
                let mut found = self.statement.query(params![&run_key(run)[..]]).map_err(bad)?;
                let row = found.next().map_err(bad)?.ok_or_else(unknown)?;
                let (of, tail) = Tail::read(row)?;
                if of != run {
                    return Err(unknown());
                }
                if self.known.len() >= Self::KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(run, tail);
                tail
            }
        };
        if end(&tail) < place.seq { Err(unknown()) } else { Ok(()) }
    }
}

/// Every tail names rows of its own run.
fn tails(connection: &Connection) -> Result<(), StoreError> {
    let sql = format!("SELECT {} FROM tails", Tail::COLUMNS);
    let count = each(connection, rows::TAILS, &sql, Table::Tails, |row| {
        let (run, tail) = Tail::read(row)?;
        for (table, seq) in [("journal", tail.journal), ("audit", tail.audit)] {
            if seq > 0 && run_of(connection, table, seq)? != Some(run) {
                return Err(corrupt(rows::TAILS, 0, "it names a row of another run"));
            }
        }
        Ok(Table::Tails.witness(&[&run_key(run)]))
    })?;
    same_count(connection, rows::TAILS, Table::Tails, count)
}

fn run_of(connection: &Connection, table: &str, seq: u64) -> Result<Option<RunId>, StoreError> {
    let sql = format!("SELECT run FROM {table} WHERE seq = ?1");
    let read = |row: &Row<'_>| {
        let run: Vec<u8> = row.get(0).map_err(|e| read_error(rows::TAILS, 0, e))?;
        rows::read_run(rows::TAILS, 0, &run)
    };
    first(connection, rows::TAILS, &sql, params![seq as i64], read)
}

/// Runs, inbox, fences and settings: each row's checksum, and its key's witness.
fn keyed_tables(connection: &Connection, least_runs: u64) -> Result<(), StoreError> {
    let mut expected = 1;
    let sql = format!("SELECT {} FROM runs ORDER BY no", rows::RUN_COLUMNS);
    let count = each(connection, rows::RUNS, &sql, Table::Runs, |row| {
        let (no, row) = rows::read_run_row(row)?;
        if no != expected {
            return Err(corrupt(rows::RUNS, expected, "it is missing"));
        }
        expected += 1;
        Ok(Table::Runs.witness(&[&run_key(row.run)]))
    })?;
    if count < least_runs {
        return Err(corrupt(rows::RUNS, count + 1, "it is missing"));
    }
    same_count(connection, rows::RUNS, Table::Runs, count)?;

    let sql = format!("SELECT {} FROM inbox ORDER BY no", rows::INBOX_COLUMNS);
    let count = each(connection, rows::INBOX, &sql, Table::Inbox, |row| {
        let (_, row) = rows::read_inbox_row(row)?;
        if reader::highest_token(connection, row.run, row.unit)? < Some(row.token) {
            return Err(corrupt(rows::FENCES, 0, "a token is higher than the highest"));
        }
        Ok(Table::Inbox.witness(&[&rows::attempt_key(row.attempt)]))
    })?;
    same_count(connection, rows::INBOX, Table::Inbox, count)?;

    let count = each(connection, rows::FENCES, "SELECT run, unit, token, sum FROM fences", Table::Fences, |row| {
        let (run, unit, _) = rows::read_fence(row)?;
        Ok(Table::Fences.witness(&[&run, &unit]))
    })?;
    same_count(connection, rows::FENCES, Table::Fences, count)?;

    let sql = "SELECT realm, name, sum, value FROM settings";
    let count = each(connection, rows::SETTINGS, sql, Table::Settings, |row| {
        let row = rows::read_setting(row)?;
        Ok(Table::Settings.witness(&[row.realm.as_bytes(), &[0], row.name.as_bytes()]))
    })?;
    same_count(connection, rows::SETTINGS, Table::Settings, count)
}

/// Reads each row with `read`, which returns its witness's key, and looks for that. Returns how
/// many rows there are.
fn each(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    table: Table,
    mut read: impl FnMut(&Row<'_>) -> Result<Vec<u8>, StoreError>,
) -> Result<u64, StoreError> {
    let bad = |e| read_error(what, 0, e);
    let mut statement = connection.prepare(sql).map_err(bad)?;
    let mut found = statement.query([]).map_err(bad)?;
    let mut count = 0;
    while let Some(row) = found.next().map_err(bad)? {
        let key = read(row)?;
        debug_assert_eq!(key.first(), Some(&(table as u8)));
        if !reader::has_witness(connection, what, &key)? {
            return Err(corrupt(what, count + 1, "its key has no witness"));
        }
        count += 1;
    }
    Ok(count)
}

fn same_count(connection: &Connection, what: &'static str, table: Table, count: u64) -> Result<(), StoreError> {
    if count_witnesses(connection, what, table)? != count {
        return Err(lost(what));
    }
    Ok(())
}

/// SQLite's own check of its pages: free lists, order of keys, indexes against their tables.
fn check_pages(connection: &Connection) -> Result<(), StoreError> {
    let bad = |e| read_error("the database", 0, e);
    let words: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(bad)?;
    if words != "ok" {
        return Err(corrupt("the database", 0, "its pages are not consistent"));
    }
    Ok(())
}
