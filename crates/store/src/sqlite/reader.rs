//! Reads: each row is checked against its chain or its checksum before anybody sees it, and an
//! absence against the witness of its key.
//!
//! A run's rows are found by walking its links back from its tail, so each is fetched by its
//! sequence number together with its predecessor's hash. Lists without a run are dense in their
//! numbers and must reach at least what the writer says is durable.
//!
//! Every function takes a connection within a read transaction (`snapshot`): what it reads in
//! several looks belongs together.
//!
//! Not here: walking whole tables (`verify`).

use super::read_error;
use super::rows::{self, Tail, lost, run_key};
use super::schema::Table;
use crate::chain::{self, Hash};
use crate::{AuditRow, InboxRow, JournalRow, RunRow, StoreError};
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement, params};
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;

pub(super) const JOURNAL: &str = "the journal";
pub(super) const AUDIT: &str = "the audit log";

/// The hash before the first row.
const NO_HASH: Hash = [0; 32];

fn corrupt(what: &'static str, seq: u64, why: &'static str) -> StoreError {
    StoreError::Corrupt { what, seq, why }
}

/// The first row of a query, if there is one.
pub(super) fn first<T>(
    snapshot: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let bad = |e| read_error(what, 0, e);
    let mut statement = snapshot.prepare(sql).map_err(bad)?;
    let mut found = statement.query(params).map_err(bad)?;
    found.next().map_err(bad)?.map(read).transpose()
}

/// Whether a key is in `witness`.
pub(super) fn has_witness(snapshot: &Connection, what: &'static str, key: &[u8]) -> Result<bool, StoreError> {
    let found = first(snapshot, what, "SELECT 1 FROM witness WHERE key = ?1", params![key], |_| Ok(()))?;
    Ok(found.is_some())
}

/// A row by its key; what is not found must have no witness either.
fn keyed<T>(
    snapshot: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    witness: &[u8],
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let found = first(snapshot, what, sql, params, read)?;
    if found.is_none() && has_witness(snapshot, what, witness)? {
        return Err(lost(what));
    }
    Ok(found)
}

pub(super) fn tail(snapshot: &Connection, run: RunId) -> Result<Option<Tail>, StoreError> {
    let key = run_key(run);
    let sql = format!("SELECT {} FROM tails WHERE run = ?1", Tail::COLUMNS);
    let found = first(snapshot, rows::TAILS, &sql, params![&key[..]], Tail::read)?;
    match found {
        Some((found, tail)) if found == run => Ok(Some(tail)),
        Some(_) => Err(lost(rows::TAILS)),
        None if has_witness(snapshot, rows::TAILS, &Table::Tails.witness(&[&key]))? => Err(lost(rows::TAILS)),
        None => Ok(None),
    }
}

pub(super) fn runs(snapshot: &Connection, least: u64, limit: usize) -> Result<Vec<RunRow>, StoreError> {
    let bad = |e| read_error(rows::RUNS, 0, e);
    let sql = format!("SELECT {} FROM runs ORDER BY no DESC LIMIT ?1", rows::RUN_COLUMNS);
    let mut statement = snapshot.prepare(&sql).map_err(bad)?;
    let mut found = statement.query(params![i64::try_from(limit).unwrap_or(i64::MAX)]).map_err(bad)?;
    let mut list = Vec::new();
    let mut next = None;
    while let Some(row) = found.next().map_err(bad)? {
        let (no, row) = rows::read_run_row(row)?;
        if next.map_or(no < least, |next| no != next) {
            return Err(lost(rows::RUNS));
        }
        next = Some(no - 1);
        list.push(row);
    }
    if limit > 0 && list.len() < limit && next.unwrap_or(least) != 0 {
        return Err(lost(rows::RUNS));
    }
    Ok(list)
}

pub(super) fn run(snapshot: &Connection, run: RunId) -> Result<Option<RunRow>, StoreError> {
    let key = run_key(run);
    let sql = format!("SELECT {} FROM runs WHERE run = ?1", rows::RUN_COLUMNS);
    let witness = Table::Runs.witness(&[&key]);
    let found = keyed(snapshot, rows::RUNS, &sql, params![&key[..]], &witness, rows::read_run_row)?;
    match found {
        Some((_, row)) if row.run != run => Err(lost(rows::RUNS)),
        found => Ok(found.map(|(_, row)| row)),
    }
}

pub(super) fn inbox(snapshot: &Connection, attempt: AttemptId) -> Result<Option<InboxRow>, StoreError> {
    let key = rows::attempt_key(attempt);
    let sql = format!("SELECT {} FROM inbox WHERE attempt = ?1", rows::INBOX_COLUMNS);
    let witness = Table::Inbox.witness(&[&key]);
    let found = keyed(snapshot, rows::INBOX, &sql, params![&key[..]], &witness, rows::read_inbox_row)?;
    match found {
        Some((_, row)) if row.attempt != attempt => Err(lost(rows::INBOX)),
        found => Ok(found.map(|(_, row)| row)),
    }
}

pub(super) fn highest_token(
    snapshot: &Connection,
    run: RunId,
    unit: [u8; 16],
) -> Result<Option<FencingToken>, StoreError> {
    let key = run_key(run);
    let sql = "SELECT run, unit, token, sum FROM fences WHERE run = ?1 AND unit = ?2";
    let witness = Table::Fences.witness(&[&key, &unit]);
    let found = keyed(snapshot, rows::FENCES, sql, params![&key[..], unit], &witness, rows::read_fence)?;
    match found {
        Some((found, of, _)) if found != key[..] || of != unit => Err(lost(rows::FENCES)),
        found => Ok(found.map(|(_, _, token)| token)),
    }
}

pub(super) fn setting(snapshot: &Connection, realm: Realm, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let realm = realm.as_str();
    let sql = "SELECT realm, name, sum, value FROM settings WHERE realm = ?1 AND name = ?2";
    let witness = Table::Settings.witness(&[realm.as_bytes(), &[0], name.as_bytes()]);
    let found = keyed(snapshot, rows::SETTINGS, sql, params![realm, name], &witness, rows::read_setting)?;
    match found {
        Some(row) if row.realm != realm || row.name != name => Err(lost(rows::SETTINGS)),
        found => Ok(found.map(|row| row.value)),
    }
}

/// Reads both trees that hold the uses; they must say the same.
pub(super) fn blobs_in_use(snapshot: &Connection) -> Result<Vec<BlobId>, StoreError> {
    let bad = |e| read_error(rows::USES, 0, e);
    let mut uses = snapshot.prepare("SELECT run, blob FROM uses ORDER BY run, blob").map_err(bad)?;
    let mut uses = uses.query([]).map_err(bad)?;
    let mut blobs = std::collections::BTreeSet::new();
    let mut keys = Vec::new();
    while let Some(row) = uses.next().map_err(bad)? {
        let get = || Ok((row.get(0)?, row.get(1)?));
        let (run, blob): (Vec<u8>, [u8; 33]) = get().map_err(bad)?;
        keys.push(fingerprint(&Table::Uses.witness(&[&run, &blob])));
        let (kind, id) = blob.split_first_chunk::<1>().ok_or_else(|| lost(rows::USES))?;
        let id: [u8; 32] = id.try_into().map_err(|_| lost(rows::USES))?;
        blobs.insert(match kind {
            [0] => BlobId::Keyed(id),
            [1] => BlobId::Digest(id),
            _ => return Err(corrupt(rows::USES, 0, "a blob's id is not an id")),
        });
    }
    drop(uses);
    // Keys of different length sort differently in the two trees, so they are compared as sets.
    keys.sort_unstable();
    let mut witnesses = Vec::with_capacity(keys.len());
    let range = params![[Table::Uses as u8], [Table::Uses as u8 + 1]];
    let mut statement = snapshot.prepare("SELECT key FROM witness WHERE key >= ?1 AND key < ?2").map_err(bad)?;
    let mut found = statement.query(range).map_err(bad)?;
    while let Some(row) = found.next().map_err(bad)? {
        let key: Vec<u8> = row.get(0).map_err(bad)?;
        witnesses.push(fingerprint(&key));
    }
    witnesses.sort_unstable();
    if keys != witnesses {
        return Err(corrupt(rows::USES, 0, "a use that was written cannot be found"));
    }
    Ok(blobs.into_iter().collect())
}

/// Half a hash of a key: enough to compare sets that damage, not somebody, has made differ.
fn fingerprint(key: &[u8]) -> [u8; 16] {
    chain::checksum(0, &[key])
}

/// A checked row's place in its chain and in its run.
pub(super) struct Chained {
    pub(super) seq: u64,
    pub(super) run: Option<RunId>,
    pub(super) back: u64,
    pub(super) hash: Hash,
}

pub(super) const JOURNAL_COLUMNS: &str = "seq, run, back, kind, hash, body";

/// Reads and checks a journal row whose predecessor's hash is `prev`.
pub(super) fn journal_row(row: &Row<'_>, seq: u64, prev: &Hash) -> Result<(Chained, JournalRow), StoreError> {
    let bad = |e| read_error(JOURNAL, seq, e);
    let found = rows::number(row, 0).map_err(bad)?;
    let run: Vec<u8> = row.get(1).map_err(bad)?;
    let run = rows::read_run(JOURNAL, seq, &run)?;
    let get = || -> Result<_, rusqlite::Error> {
        let read = JournalRow { seq, kind: row.get(3)?, body: row.get(5)? };
        Ok((rows::number(row, 2)?, row.get::<_, Hash>(4)?, read))
    };
    let (back, hash, read) = get().map_err(bad)?;
    if found != seq {
        return Err(corrupt(JOURNAL, seq, "it is missing"));
    }
    if chain::journal(prev, seq, run, back, read.kind, &read.body) != hash {
        return Err(corrupt(JOURNAL, seq, "its hash does not fit"));
    }
    if back >= seq {
        return Err(corrupt(JOURNAL, seq, "it points ahead"));
    }
    Ok((Chained { seq, run: Some(run), back, hash }, read))
}

pub(super) const AUDIT_COLUMNS: &str = "seq, realm, run, back, hash, commitment, salt, body";

/// Reads and checks an audit entry whose predecessor's hash is `prev`.
pub(super) fn audit_row(row: &Row<'_>, seq: u64, prev: &Hash) -> Result<(Chained, AuditRow), StoreError> {
    let bad = |e| read_error(AUDIT, seq, e);
    let found = rows::number(row, 0).map_err(bad)?;
    let get = || -> Result<(String, Option<Vec<u8>>), rusqlite::Error> { Ok((row.get(1)?, row.get(2)?)) };
    let (stored_realm, run) = get().map_err(bad)?;
    let run = run.map(|run| rows::read_run(AUDIT, seq, &run)).transpose()?;
    let get = || -> Result<_, rusqlite::Error> {
        let hashes: (Hash, Hash) = (row.get(4)?, row.get(5)?);
        let content: (Option<[u8; 16]>, Option<Vec<u8>>) = (row.get(6)?, row.get(7)?);
        Ok((rows::number(row, 3)?, hashes, content))
    };
    let (back, (hash, commitment), content) = get().map_err(bad)?;
    if found != seq {
        return Err(corrupt(AUDIT, seq, "it is missing"));
    }
    // An entry about a run stands under that run's realm, one about the site under the site's.
    let realm = stored_realm.parse::<Realm>().ok().filter(|realm| run.is_none_or(|run| run.realm == *realm));
    let Some(realm) = realm else { return Err(corrupt(AUDIT, seq, "its realm does not fit")) };
    if chain::audit(prev, seq, realm, run, back, &commitment) != hash {
        return Err(corrupt(AUDIT, seq, "its hash does not fit"));
    }
    let body = match content {
        (Some(salt), Some(body)) if chain::commitment(&salt, &body) == commitment => Some(body),
        (None, None) if run.is_some() => None,
        _ => return Err(corrupt(AUDIT, seq, "its content does not fit its commitment")),
    };
    if back >= seq {
        return Err(corrupt(AUDIT, seq, "it points ahead"));
    }
    Ok((Chained { seq, run, back, hash }, AuditRow { seq, run, body, hash, prev: *prev }))
}

/// A statement that fetches one row by its number, and one that fetches its predecessor's hash.
struct ByNumber<'c> {
    what: &'static str,
    row: Statement<'c>,
    hash: Statement<'c>,
}

impl<'c> ByNumber<'c> {
    fn new(snapshot: &'c Connection, what: &'static str, columns: &str, table: &str) -> Result<Self, StoreError> {
        let bad = |e| read_error(what, 0, e);
        Ok(Self {
            what,
            row: snapshot.prepare(&format!("SELECT {columns} FROM {table} WHERE seq = ?1")).map_err(bad)?,
            hash: snapshot.prepare(&format!("SELECT hash FROM {table} WHERE seq = ?1")).map_err(bad)?,
        })
    }

    fn read<T>(
        &mut self,
        seq: u64,
        read: impl FnOnce(&Row<'_>, &Hash) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let what = self.what;
        let bad = |e| read_error(what, seq, e);
        let prev = match seq {
            0 | 1 => NO_HASH,
            _ => {
                let prev = self.hash.query_row(params![seq as i64 - 1], |row| row.get(0)).optional().map_err(bad)?;
                prev.ok_or_else(|| corrupt(what, seq - 1, "it is missing"))?
            }
        };
        let mut found = self.row.query(params![seq as i64]).map_err(bad)?;
        let row = found.next().map_err(bad)?.ok_or_else(|| corrupt(what, seq, "it is missing"))?;
        read(row, &prev)
    }
}

pub(super) fn journal(snapshot: &Connection, run: RunId) -> Result<Vec<JournalRow>, StoreError> {
    let mut seq = tail(snapshot, run)?.map_or(0, |tail| tail.journal);
    let mut statements = ByNumber::new(snapshot, JOURNAL, JOURNAL_COLUMNS, "journal")?;
    let mut list = Vec::new();
    while seq > 0 {
        let (place, row) = statements.read(seq, |row, prev| journal_row(row, seq, prev))?;
        if place.run != Some(run) {
            return Err(corrupt(JOURNAL, seq, "it belongs to another run"));
        }
        list.push(row);
        seq = place.back;
    }
    list.reverse();
    Ok(list)
}

/// Whether an entry without content is one of a run that was forgotten, and the reverse.
fn check_forgotten(row: &AuditRow, tail: &Tail) -> Result<(), StoreError> {
    if row.body.is_none() != (row.seq <= tail.forgotten) {
        return Err(corrupt(AUDIT, row.seq, "its content is gone and was not forgotten"));
    }
    Ok(())
}

/// The same, looking the run up; only an entry without content needs it.
pub(super) fn check_content(snapshot: &Connection, row: &AuditRow) -> Result<(), StoreError> {
    let (None, Some(run)) = (&row.body, row.run) else { return Ok(()) };
    let tail = tail(snapshot, run)?.ok_or_else(|| lost(rows::TAILS))?;
    check_forgotten(row, &tail)
}

pub(super) fn audit(snapshot: &Connection, least: u64, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
    let bad = |e| read_error(AUDIT, after, e);
    // Nothing can stand behind the largest number SQLite has.
    let Ok(from) = i64::try_from(after) else { return Ok(Vec::new()) };
    let mut prev = NO_HASH;
    if after > 0 {
        let sql = "SELECT hash FROM audit WHERE seq = ?1";
        let found = first(snapshot, AUDIT, sql, params![from], |row| row.get(0).map_err(bad))?;
        match found {
            Some(hash) => prev = hash,
            None if after <= least => return Err(corrupt(AUDIT, after, "it is missing")),
            None => return Ok(Vec::new()),
        }
    }
    let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = snapshot.prepare(&sql).map_err(bad)?;
    let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query(params![from, limit_rows]).map_err(bad)?;
    let mut list = Vec::new();
    let mut last = after;
    while let Some(row) = found.next().map_err(bad)? {
        let (place, row) = audit_row(row, last + 1, &prev)?;
        check_content(snapshot, &row)?;
        (last, prev) = (place.seq, place.hash);
        list.push(row);
    }
    if list.len() < limit && last < least {
        return Err(corrupt(AUDIT, last + 1, "it is missing"));
    }
    Ok(list)
}

/// Walks the run's links twice: first only for the numbers, so that no more than `limit` bodies are
/// held at once.
pub(super) fn audit_of_run(
    snapshot: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<AuditRow>, StoreError> {
    let Some(tail) = tail(snapshot, run)? else { return Ok(Vec::new()) };
    let mut statements = ByNumber::new(snapshot, AUDIT, AUDIT_COLUMNS, "audit")?;
    let mut numbers = Vec::new();
    let mut seq = tail.audit;
    while seq > after {
        let (place, _) = statements.read(seq, |row, prev| audit_row(row, seq, prev))?;
        if place.run != Some(run) {
            return Err(corrupt(AUDIT, seq, "it belongs to another run"));
        }
        numbers.push(seq);
        seq = place.back;
    }
    let mut list = Vec::new();
    for seq in numbers.into_iter().rev().take(limit) {
        let (_, row) = statements.read(seq, |row, prev| audit_row(row, seq, prev))?;
        check_forgotten(&row, &tail)?;
        list.push(row);
    }
    Ok(list)
}
