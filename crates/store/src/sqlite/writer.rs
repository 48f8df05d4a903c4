//! The one thread that writes: group commit, the head file, checkpoints, and stopping.
//!
//! Not here: what a row's statements are (`write`).

use super::write::{Failure, Rows};
use super::{Durable, State, is_full, schema};
use crate::head::Head;
use crate::{Batch, Receipt, StoreError};
use rusqlite::Connection;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tidegate_domain::ids::Realm;
use tidegate_seams::{Clock, SystemClock};
use tokio::sync::oneshot;

/// Writes in one transaction, unless one batch alone has more.
const TRANSACTION_WRITES_MAX: usize = 2048;
/// Rows that the head file may be behind what is acknowledged (invariant I9).
const HEAD_ROWS_MAX: u64 = 4096;
/// The head is renewed once it is this many rows behind. With one more full transaction it is
/// still within [`HEAD_ROWS_MAX`], so renewing it need not delay an answer.
const HEAD_ROWS_DUE: u64 = 2048;
/// The head is renewed once it has been behind for this long: half the promised second.
const HEAD_US_DUE: u64 = 500_000;
/// The log is copied into the database once it has this many pages (4 MiB), and then written again
/// from its first byte. Small and never cut, because a sync of bytes written in place takes half as
/// long as one that must also make the file longer (140 against 280 us where it was measured).
const WAL_PAGES_MAX: i64 = 1024;
/// Transactions between two looks at the length of the log.
const WAL_LOOK_EVERY: u32 = 32;

/// Copies what no reader needs out of the log.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Copies all of the log and empties it.
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Whom to answer when the thread has finished.
type Closing = Sender<Result<(), StoreError>>;
type Answer = oneshot::Sender<Result<Receipt, StoreError>>;

/// What the thread is asked.
pub(super) enum Message {
    /// Write this and answer once it is durable.
    Batch(Batch, Answer),
    /// Finish and answer.
    Close(Closing),
}

/// What the thread takes with it.
pub(super) struct Writer {
    connection: Connection,
    place: Place,
    state: State,
}

struct Place {
    dir: PathBuf,
    realm: Realm,
    durable: Arc<Durable>,
}

impl Writer {
    pub(super) fn new(connection: Connection, dir: PathBuf, realm: Realm, state: State, durable: Arc<Durable>) -> Self {
        Self { connection, place: Place { dir, realm, durable }, state }
    }

    /// Serves until it is closed or nobody can ask any more.
    pub(super) fn serve(self, messages: &Receiver<Message>) {
        let connection = &self.connection;
        match Rows::prepare(connection) {
            Ok(rows) => Serving {
                connection,
                rows,
                place: self.place,
                state: self.state,
                head: self.state.head(),
                behind_since_us: None,
                head_owed: false,
                looks: 0,
                destroying: false,
                stopped: None,
                clock: SystemClock::new(),
            }
            .run(messages),
            Err(error) => refuse_all(messages, &error.to_string()),
        }
    }
}

/// Answers everything with the same error; for a database whose tables cannot be written at all.
fn refuse_all(messages: &Receiver<Message>, why: &str) {
    for message in messages {
        match message {
            Message::Batch(_, answer) => drop(answer.send(Err(StoreError::Stopped(why.into())))),
            Message::Close(answer) => {
                let _ = answer.send(Err(StoreError::Stopped(why.into())));
                return;
            }
        }
    }
}

struct Serving<'c> {
    connection: &'c Connection,
    rows: Rows<'c>,
    place: Place,
    /// What is durable.
    state: State,
    /// What the head file says.
    head: Head,
    /// Since when the head file is behind, in boot time.
    behind_since_us: Option<u64>,
    /// The head was due and did not fit on the disk: no further row before it does.
    head_owed: bool,
    /// Transactions since the last look at the log.
    looks: u32,
    /// Something was forgotten and the log is not emptied yet.
    destroying: bool,
    stopped: Option<String>,
    clock: SystemClock,
}

impl Serving<'_> {
    fn run(mut self, messages: &Receiver<Message>) {
        let closing = loop {
            match self.next(messages) {
                Ok(Message::Batch(batch, answer)) => {
                    let (group, closing) = collect(batch, answer, messages);
                    let closing = self.commit(group, messages).or(closing);
                    if closing.is_some() {
                        break closing;
                    }
                }
                Ok(Message::Close(answer)) => break Some(answer),
                Err(RecvTimeoutError::Timeout) => self.renew_head(),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        let result = self.finish();
        if let Some(answer) = closing {
            // Nobody waits any more: then nobody needs the result.
            let _ = answer.send(result);
        }
    }

    /// The next message; a timeout once the head is due.
    fn next(&self, messages: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.behind_since_us {
            Some(since) if self.stopped.is_none() => {
                let due = (since + HEAD_US_DUE).saturating_sub(self.clock.boot_us());
                messages.recv_timeout(Duration::from_micros(due))
            }
            _ => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Makes a group durable and answers it. Returns whom to answer about closing, if that was
    /// asked among what had to be refused.
    fn commit(&mut self, group: Vec<(Batch, Answer)>, messages: &Receiver<Message>) -> Option<Closing> {
        if self.head_owed {
            self.renew_head();
        }
        let result = match &self.stopped {
            Some(why) => Err(StoreError::Stopped(why.clone())),
            None if self.head_owed => Err(self.full()),
            None => self.write(&group),
        };
        match result {
            Ok((receipts, state)) => {
                self.state = state;
                self.place.durable.set(&state);
                self.behind_since_us.get_or_insert_with(|| self.clock.boot_us());
                if self.rows_behind() > HEAD_ROWS_MAX {
                    // One batch had more rows than the head may be behind.
                    self.renew_head();
                }
                for ((_, answer), receipt) in group.into_iter().zip(receipts) {
                    // A caller that dropped its ticket abandoned the wait, not the write.
                    let _ = answer.send(Ok(receipt));
                }
                self.keep_house();
                None
            }
            Err(error) => {
                // What is queued behind a failed batch was committed without knowing of it. It is
                // taken before anybody is answered: what comes after an answer is a new attempt.
                let mut refused = group;
                let mut closing = None;
                for message in messages.try_iter() {
                    match message {
                        Message::Batch(batch, answer) => refused.push((batch, answer)),
                        Message::Close(answer) => {
                            closing = Some(answer);
                            break;
                        }
                    }
                }
                for (_, answer) in refused {
                    let _ = answer.send(Err(error.clone()));
                }
                closing
            }
        }
    }

    /// Writes a group in one transaction; durable when it returns `Ok`.
    fn write(&mut self, group: &[(Batch, Answer)]) -> Result<(Vec<Receipt>, State), StoreError> {
        match self.transact(group) {
            Ok(done) => Ok(done),
            Err(failure) => Err(self.fail(failure)),
        }
    }

    fn transact(&mut self, group: &[(Batch, Answer)]) -> Result<(Vec<Receipt>, State), Failure> {
        let mut state = self.state;
        self.rows.begin()?;
        let mut receipts = Vec::with_capacity(group.len());
        for (batch, _) in group {
            receipts.push(self.rows.apply(&mut state, self.place.realm, batch)?);
        }
        if (state.audit, state.journal) == (self.state.audit, self.state.journal) {
            self.rows.count_unchained(&mut state)?;
        }
        self.rows.commit()?;
        Ok((receipts, state))
    }

    /// A transaction failed: it is rolled back, which writes nothing, and unless only space was
    /// missing the store stops for good.
    fn fail(&mut self, failure: Failure) -> StoreError {
        self.rows.roll_back();
        let rolled_back = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        match failure {
            Failure::Sqlite(error) if is_full(&error) && rolled_back => self.full(),
            Failure::Sqlite(error) => self.stop(error.to_string()),
            Failure::Damaged(error) => self.stop(error.to_string()),
        }
    }

    fn stop(&mut self, why: String) -> StoreError {
        self.stopped = Some(why.clone());
        StoreError::Stopped(why)
    }

    fn full(&self) -> StoreError {
        StoreError::Full(self.place.dir.clone())
    }

    /// What can wait until everybody is answered.
    fn keep_house(&mut self) {
        if self.rows_behind() >= HEAD_ROWS_DUE || self.is_head_late() {
            self.renew_head();
        }
        self.looks += 1;
        if self.rows.forgot {
            // What was destroyed still stands in the log until that is emptied.
            self.rows.forgot = false;
            self.destroying = true;
            self.looks = WAL_LOOK_EVERY;
        }
        if self.looks < WAL_LOOK_EVERY || self.stopped.is_some() {
            return;
        }
        self.looks = 0;
        if self.destroying {
            self.destroying = self.checkpoint(TRUNCATE) != Some(true);
        } else {
            if self.wal_pages() >= WAL_PAGES_MAX {
                self.checkpoint(PASSIVE);
            }
        }
    }

    fn wal_pages(&self) -> i64 {
        let pages = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1));
        // Not knowing is a reason to checkpoint, and that reports what is wrong.
        pages.unwrap_or(WAL_PAGES_MAX)
    }

    /// Moves the log into the database; `Some(true)` if nothing stood in the way. A checkpoint that
    /// finds no space or a reader is tried again later: the log just grows meanwhile. It never
    /// waits for a reader, since everybody's commits would wait with it.
    fn checkpoint(&mut self, sql: &str) -> Option<bool> {
        let moved = || {
            self.connection.busy_timeout(Duration::ZERO)?;
            let busy = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?;
            self.connection.busy_timeout(schema::BUSY)?;
            Ok::<i64, rusqlite::Error>(busy)
        };
        match moved() {
            Ok(busy) => Some(busy == 0),
            Err(error) if is_full(&error) => None,
            Err(error) => {
                self.stop(error.to_string());
                None
            }
        }
    }

    fn rows_behind(&self) -> u64 {
        (self.state.audit.seq - self.head.audit.seq)
            + (self.state.journal.seq - self.head.journal.seq)
            + (self.state.unchained - self.head.unchained)
    }

    fn is_head_late(&self) -> bool {
        self.behind_since_us.is_some_and(|since| self.clock.boot_us() >= since + HEAD_US_DUE)
    }

    /// Brings the head file up to what is durable. Without space the head is owed; it is written
    /// anew, from its first byte, before any further row. Any other failure stops the store.
    fn renew_head(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        let head = self.state.head();
        let result = if head == self.head { Ok(()) } else { head.write(&self.place.dir) };
        match result {
            Ok(()) => {
                self.head = head;
                self.behind_since_us = None;
                self.head_owed = false;
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                self.behind_since_us = Some(self.clock.boot_us());
                self.head_owed = true;
            }
            Err(e) => {
                self.stop(format!("the head file cannot be written: {e}"));
            }
        }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.renew_head();
        if self.stopped.is_none() && !self.head_owed {
            // So that the database of a closed folder is whole without its log. A reader may prevent
            // it, and then the next opening finds the rest in the log.
            let destroying = self.destroying;
            self.checkpoint(if destroying { TRUNCATE } else { PASSIVE });
        }
        match &self.stopped {
            Some(why) => Err(StoreError::Stopped(why.clone())),
            None if self.head_owed => Err(self.full()),
            None => Ok(()),
        }
    }
}

/// Takes what is queued right now; never waits for more.
fn collect(batch: Batch, answer: Answer, messages: &Receiver<Message>) -> (Vec<(Batch, Answer)>, Option<Closing>) {
    let mut writes = batch.writes.len();
    let mut group = vec![(batch, answer)];
    while writes < TRANSACTION_WRITES_MAX {
        match messages.try_recv() {
            Ok(Message::Batch(batch, answer)) => {
                writes += batch.writes.len();
                group.push((batch, answer));
            }
            Ok(Message::Close(answer)) => return (group, Some(answer)),
            Err(_) => break,
        }
    }
    (group, None)
}
