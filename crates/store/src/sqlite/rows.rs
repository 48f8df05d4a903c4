//! How rows outside the chains are checked: each carries a checksum over all its columns, made and
//! compared here, for the writer and the readers alike.
//!
//! Not here: chained rows (`chain`), and statements (`write`, `reader`).

use super::read_error;
use super::schema::{Key, Table, key, read_key};
use crate::chain::checksum;
use crate::{InboxRow, RunRow, StoreError};
use rusqlite::Row;
use tidegate_domain::ids::{AttemptId, FencingToken, RunId};

pub(super) const RUNS: &str = "the list of runs";
pub(super) const INBOX: &str = "the inbox";
pub(super) const TAILS: &str = "the index of runs";
pub(super) const FENCES: &str = "the list of fencing tokens";
pub(super) const SETTINGS: &str = "the settings";
pub(super) const COUNTS: &str = "the count of transactions";
pub(super) const USES: &str = "the list of blobs";

/// A checksum as stored.
pub(super) type Sum = [u8; 16];

pub(super) fn run_key(run: RunId) -> Key {
    key(run.realm, run.to_bytes())
}

pub(super) fn attempt_key(attempt: AttemptId) -> Key {
    key(attempt.realm, attempt.to_bytes())
}

pub(super) fn read_run(what: &'static str, seq: u64, bytes: &[u8]) -> Result<RunId, StoreError> {
    let (realm, id) = read_key(bytes).ok_or(StoreError::Corrupt { what, seq, why: "an id is not an id" })?;
    Ok(RunId::from_bytes(realm, id))
}

/// The error for a row whose checksum does not fit.
fn bad_sum(what: &'static str, seq: u64) -> StoreError {
    StoreError::Corrupt { what, seq, why: "its checksum does not fit" }
}

/// The error for a key that has a witness and no row.
pub(super) fn lost(what: &'static str) -> StoreError {
    StoreError::Corrupt { what, seq: 0, why: "a row that was written cannot be found" }
}

/// Where a run's rows end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its last journal row, 0 if it has none.
    pub(super) journal: u64,
    /// Its last audit entry, 0 if it has none.
    pub(super) audit: u64,
    /// Its audit entries up to here are forgotten.
    pub(super) forgotten: u64,
}

impl Tail {
    pub(super) const COLUMNS: &str = "run, journal, audit, forgotten, sum";

    pub(super) fn sum(&self, run: &[u8]) -> Sum {
        let numbers = [self.journal.to_le_bytes(), self.audit.to_le_bytes(), self.forgotten.to_le_bytes()];
        checksum(Table::Tails as u8, &[run, numbers.as_flattened()])
    }

    pub(super) fn read(row: &Row<'_>) -> Result<(RunId, Tail), StoreError> {
        let get = || -> Result<(Vec<u8>, Tail, Sum), rusqlite::Error> {
            let tail = Tail { journal: number(row, 1)?, audit: number(row, 2)?, forgotten: number(row, 3)? };
            Ok((row.get(0)?, tail, row.get(4)?))
        };
        let (run, tail, sum) = get().map_err(|e| read_error(TAILS, 0, e))?;
        if tail.sum(&run) != sum {
            return Err(bad_sum(TAILS, 0));
        }
        Ok((read_run(TAILS, 0, &run)?, tail))
    }
}

pub(super) const RUN_COLUMNS: &str = "no, run, status, started_ms, ended_ms, sum, sealed_key, sealed_name";

pub(super) fn run_sum(no: u64, row: &RunRow) -> Sum {
    let numbers = [no.to_le_bytes(), row.started_ms.to_le_bytes(), row.ended_ms.to_le_bytes()];
    let state = [row.status, u8::from(row.sealed_key.is_some())];
    let sealed_key = row.sealed_key.as_deref().unwrap_or_default();
    checksum(Table::Runs as u8, &[&run_key(row.run), numbers.as_flattened(), &state, sealed_key, &row.sealed_name])
}

pub(super) fn read_run_row(row: &Row<'_>) -> Result<(u64, RunRow), StoreError> {
    let no = number(row, 0).map_err(|e| read_error(RUNS, 0, e))?;
    let run: Vec<u8> = row.get(1).map_err(|e| read_error(RUNS, no, e))?;
    let run = read_run(RUNS, no, &run)?;
    let get = || -> Result<(RunRow, Sum), rusqlite::Error> {
        let read = RunRow {
            run,
            status: row.get(2)?,
            started_ms: number(row, 3)?,
            ended_ms: number(row, 4)?,
            sealed_key: row.get(6)?,
            sealed_name: row.get(7)?,
        };
        Ok((read, row.get(5)?))
    };
    let (read, sum) = get().map_err(|e| read_error(RUNS, no, e))?;
    if run_sum(no, &read) != sum {
        return Err(bad_sum(RUNS, no));
    }
    Ok((no, read))
}

pub(super) const INBOX_COLUMNS: &str = "no, attempt, run, unit, token, request, changed_ms, sum, outcome";

pub(super) fn inbox_sum(no: u64, row: &InboxRow) -> Sum {
    let numbers = [no.to_le_bytes(), row.token.0.to_le_bytes(), row.changed_ms.to_le_bytes()];
    checksum(
        Table::Inbox as u8,
        &[
            &attempt_key(row.attempt),
            &run_key(row.run),
            &row.unit,
            numbers.as_flattened(),
            &row.request,
            &[u8::from(row.outcome.is_some())],
            row.outcome.as_deref().unwrap_or_default(),
        ],
    )
}

pub(super) fn read_inbox_row(row: &Row<'_>) -> Result<(u64, InboxRow), StoreError> {
    let no = number(row, 0).map_err(|e| read_error(INBOX, 0, e))?;
    let get = || -> Result<(Vec<u8>, Vec<u8>), rusqlite::Error> { Ok((row.get(1)?, row.get(2)?)) };
    let (attempt, run) = get().map_err(|e| read_error(INBOX, no, e))?;
    let run = read_run(INBOX, no, &run)?;
    // The ids differ in type only; the stored form is the same.
    let attempt = read_run(INBOX, no, &attempt)?;
    let get = || -> Result<(InboxRow, Sum), rusqlite::Error> {
        let read = InboxRow {
            attempt: AttemptId { realm: attempt.realm, bits: attempt.bits },
            run,
            unit: row.get(3)?,
            token: FencingToken(number(row, 4)?),
            request: row.get(5)?,
            outcome: row.get(8)?,
            changed_ms: number(row, 6)?,
        };
        Ok((read, row.get(7)?))
    };
    let (read, sum) = get().map_err(|e| read_error(INBOX, no, e))?;
    if inbox_sum(no, &read) != sum {
        return Err(bad_sum(INBOX, no));
    }
    Ok((no, read))
}

pub(super) fn fence_sum(run: &[u8], unit: &[u8; 16], token: FencingToken) -> Sum {
    checksum(Table::Fences as u8, &[run, unit, &token.0.to_le_bytes()])
}

/// Reads `run, unit, token, sum`.
pub(super) fn read_fence(row: &Row<'_>) -> Result<(Vec<u8>, [u8; 16], FencingToken), StoreError> {
    let get = || -> Result<(Vec<u8>, [u8; 16], u64, Sum), rusqlite::Error> {
        Ok((row.get(0)?, row.get(1)?, number(row, 2)?, row.get(3)?))
    };
    let (run, unit, token, sum) = get().map_err(|e| read_error(FENCES, 0, e))?;
    let token = FencingToken(token);
    if fence_sum(&run, &unit, token) != sum {
        return Err(bad_sum(FENCES, 0));
    }
    Ok((run, unit, token))
}

pub(super) fn setting_sum(realm: &str, name: &str, value: &[u8]) -> Sum {
    checksum(Table::Settings as u8, &[realm.as_bytes(), name.as_bytes(), value])
}

pub(super) fn counts_sum(unchained: u64) -> Sum {
    checksum(Table::Counts as u8, &[&unchained.to_le_bytes()])
}

/// Reads `unchained, sum`.
pub(super) fn read_counts(row: &Row<'_>) -> Result<u64, StoreError> {
    let get = || -> Result<(u64, Sum), rusqlite::Error> { Ok((number(row, 0)?, row.get(1)?)) };
    let (unchained, sum) = get().map_err(|e| read_error(COUNTS, 0, e))?;
    if counts_sum(unchained) != sum {
        return Err(bad_sum(COUNTS, 0));
    }
    Ok(unchained)
}

/// A setting as stored.
pub(super) struct Setting {
    pub(super) realm: String,
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

/// Reads `realm, name, sum, value`.
pub(super) fn read_setting(row: &Row<'_>) -> Result<Setting, StoreError> {
    let get = || -> Result<(Setting, Sum), rusqlite::Error> {
        Ok((Setting { realm: row.get(0)?, name: row.get(1)?, value: row.get(3)? }, row.get(2)?))
    };
    let (read, sum) = get().map_err(|e| read_error(SETTINGS, 0, e))?;
    if setting_sum(&read.realm, &read.name, &read.value) != sum {
        return Err(bad_sum(SETTINGS, 0));
    }
    Ok(read)
}

/// SQLite has no unsigned numbers: the 64 bits are kept, and nothing in SQL compares those columns
/// for which the sign could matter.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(column).map(|n| n as u64)
}
