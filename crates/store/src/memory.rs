//! The store in memory: for tests, and for the simulator with a disk that can fail.
//!
//! It keeps the same chains as the SQLite store and passes the same conformance suite. A store
//! from [`MemoryStore::new`] makes every batch durable at once. A store from
//! [`MemoryStore::with_faults`] keeps batches in a queue, as a disk keeps unsynced writes in its
//! cache, until [`MemoryStore::sync`]; [`MemoryStore::crash`] loses what was not synced (fault F2)
//! and [`MemoryStore::fail_next`] breaks a write (F3, F4). No threads and no clock: who drives it
//! decides what happens when.
//!
//! Not here: damage to stored bytes (F5); memory has none, and SQLite's files have their own tests.

use crate::chain::{self, Hash, Link};
use crate::{AuditRow, Batch, InboxRow, JournalRow, Receipt, RunRow, Store, StoreError, Ticket, Verified, Write};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;
use tokio::sync::oneshot;

/// A store that forgets everything when it is dropped.
pub struct MemoryStore {
    realm: Realm,
    /// Whether batches wait for [`MemoryStore::sync`].
    queued: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: State,
    queue: VecDeque<Pending>,
    fail_next: Option<StoreError>,
    stopped: Option<String>,
    crashed: bool,
    closed: bool,
}

struct Pending {
    batch: Batch,
    fails: Option<StoreError>,
    answer: oneshot::Sender<Result<Receipt, StoreError>>,
}

/// What is durable.
#[derive(Default)]
struct State {
    journal: Vec<Journal>,
    audit: Vec<Audit>,
    /// Places in `journal` and `audit` of each run's rows.
    places: BTreeMap<RunId, (Vec<usize>, Vec<usize>)>,
    /// In the order of their first rows.
    runs: Vec<RunRow>,
    run_places: BTreeMap<RunId, usize>,
    inbox: BTreeMap<AttemptId, InboxRow>,
    fences: BTreeMap<(RunId, [u8; 16]), FencingToken>,
    uses: BTreeSet<(RunId, BlobId)>,
    settings: BTreeMap<String, Vec<u8>>,
}

struct Journal {
    run: RunId,
    back: u64,
    kind: u8,
    hash: Hash,
    body: Vec<u8>,
}

struct Audit {
    run: Option<RunId>,
    back: u64,
    hash: Hash,
    commitment: Hash,
    content: Option<([u8; 16], Vec<u8>)>,
}

impl MemoryStore {
    /// An empty store whose batches are durable at once.
    pub fn new(realm: Realm) -> Self {
        Self { realm, queued: false, inner: Mutex::default() }
    }

    /// An empty store whose batches wait for [`MemoryStore::sync`].
    pub fn with_faults(realm: Realm) -> Self {
        Self { realm, queued: true, inner: Mutex::default() }
    }

    /// Makes everything queued durable, in order, and resolves its tickets. Returns how many
    /// batches were kept. A batch marked by [`MemoryStore::fail_next`] fails here.
    pub fn sync(&self) -> usize {
        let mut inner = self.lock();
        let mut kept = 0;
        while let Some(pending) = inner.queue.pop_front() {
            let result = inner.perform(self.realm, pending.batch, pending.fails);
            kept += usize::from(result.is_ok());
            // The waiting side may be gone; the batch is durable all the same.
            let _ = pending.answer.send(result);
        }
        kept
    }

    /// How many batches wait for [`MemoryStore::sync`].
    pub fn unsynced(&self) -> usize {
        self.lock().queue.len()
    }

    /// Pulls the plug: what was not synced is lost and its tickets fail, this store is stopped for
    /// good, and the store that a restarted process would find is returned.
    pub fn crash(&self) -> MemoryStore {
        let mut inner = self.lock();
        let why = "the process crashed";
        inner.stopped = Some(why.into());
        inner.crashed = true;
        for pending in inner.queue.drain(..) {
            let _ = pending.answer.send(Err(StoreError::Stopped(why.into())));
        }
        let state = std::mem::take(&mut inner.state);
        MemoryStore { realm: self.realm, queued: self.queued, inner: Mutex::new(Inner { state, ..Inner::default() }) }
    }

    /// Makes the next batch that is committed fail with `error`. After [`StoreError::Full`] the
    /// store goes on; any other error stops it, as a failed sync does.
    pub fn fail_next(&self, error: StoreError) {
        self.lock().fail_next = Some(error);
    }

    /// A panic while the lock was held leaves whole rows behind (nothing below can fail half way),
    /// so the state is still good.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let inner = self.lock();
        match &inner.stopped {
            Some(why) if inner.crashed => Err(StoreError::Stopped(why.clone())),
            _ => read(&inner.state),
        }
    }
}

impl Inner {
    fn perform(&mut self, realm: Realm, batch: Batch, fails: Option<StoreError>) -> Result<Receipt, StoreError> {
        if let Some(why) = &self.stopped {
            return Err(StoreError::Stopped(why.clone()));
        }
        match fails {
            None => Ok(Receipt::new(self.state.apply(realm, batch))),
            Some(full @ StoreError::Full(_)) => Err(full),
            Some(StoreError::Stopped(why)) => {
                self.stopped = Some(why.clone());
                Err(StoreError::Stopped(why))
            }
            Some(other) => {
                self.stopped = Some(other.to_string());
                Err(StoreError::Stopped(other.to_string()))
            }
        }
    }
}

impl State {
    fn apply(&mut self, realm: Realm, batch: Batch) -> Vec<(u64, Hash)> {
        let mut entries = Vec::new();
        for write in batch.writes {
            match write {
                Write::Run(row) => match self.run_places.get(&row.run) {
                    Some(place) => self.runs[*place] = row,
                    None => {
                        self.run_places.insert(row.run, self.runs.len());
                        self.runs.push(row);
                    }
                },
                Write::Journal { run, kind, body } => self.append_journal(run, kind, body),
                Write::Audit { run, salt, body } => entries.push(self.append_audit(realm, run, salt, body)),
                Write::Inbox(row) => {
                    let seen = self.fences.entry((row.run, row.unit)).or_insert(row.token);
                    *seen = row.token.max(*seen);
                    self.inbox.insert(row.attempt, row);
                }
                Write::UseBlob { run, blob } => {
                    self.uses.insert((run, blob));
                }
                Write::Setting { name, value } => {
                    self.settings.insert(name, value);
                }
                Write::Forget { run } => self.forget(run),
            }
        }
        entries
    }

    fn append_journal(&mut self, run: RunId, kind: u8, body: Vec<u8>) {
        let prev = self.journal_head();
        let places = &mut self.places.entry(run).or_default().0;
        let back = places.last().map_or(0, |place| *place as u64 + 1);
        let hash = chain::journal(&prev.hash, prev.seq + 1, run, back, kind, &body);
        places.push(self.journal.len());
        self.journal.push(Journal { run, back, kind, hash, body });
    }

    fn append_audit(&mut self, realm: Realm, run: Option<RunId>, salt: [u8; 16], body: Vec<u8>) -> (u64, Hash) {
        let prev = self.audit_head();
        let mut back = 0;
        if let Some(run) = run {
            let places = &mut self.places.entry(run).or_default().1;
            back = places.last().map_or(0, |place| *place as u64 + 1);
            places.push(self.audit.len());
        }
        let commitment = chain::commitment(&salt, &body);
        let hash = chain::audit(&prev.hash, prev.seq + 1, realm, run, back, &commitment);
        self.audit.push(Audit { run, back, hash, commitment, content: Some((salt, body)) });
        (prev.seq + 1, hash)
    }

    fn forget(&mut self, run: RunId) {
        if let Some(place) = self.run_places.get(&run) {
            self.runs[*place].sealed_key = None;
        }
        for row in self.inbox.values_mut().filter(|row| row.run == run) {
            row.outcome = None;
        }
        self.uses.retain(|(user, _)| *user != run);
        for place in self.places.get(&run).map(|places| places.1.as_slice()).unwrap_or_default() {
            self.audit[*place].content = None;
        }
    }

    fn journal_head(&self) -> Link {
        self.journal.last().map_or(Link::START, |row| Link { seq: self.journal.len() as u64, hash: row.hash })
    }

    fn audit_head(&self) -> Link {
        self.audit.last().map_or(Link::START, |row| Link { seq: self.audit.len() as u64, hash: row.hash })
    }

    fn audit_row(&self, place: usize) -> AuditRow {
        let row = &self.audit[place];
        AuditRow {
            seq: place as u64 + 1,
            run: row.run,
            body: row.content.as_ref().map(|(_, body)| body.clone()),
            hash: row.hash,
            prev: place.checked_sub(1).map_or([0; 32], |before| self.audit[before].hash),
        }
    }

    fn verify(&self, realm: Realm) -> Result<Verified, StoreError> {
        let corrupt = |what, seq, why| Err(StoreError::Corrupt { what, seq, why });
        let mut audit = Link::START;
        for row in &self.audit {
            let seq = audit.seq + 1;
            if let Some((salt, body)) = &row.content
                && chain::commitment(salt, body) != row.commitment
            {
                return corrupt("the audit log", seq, "its content does not fit its commitment");
            }
            let hash = chain::audit(&audit.hash, seq, realm, row.run, row.back, &row.commitment);
            if hash != row.hash {
                return corrupt("the audit log", seq, "its hash does not fit");
            }
            audit = Link { seq, hash };
        }
        let mut journal = Link::START;
        for row in &self.journal {
            let seq = journal.seq + 1;
            let hash = chain::journal(&journal.hash, seq, row.run, row.back, row.kind, &row.body);
            if hash != row.hash {
                return corrupt("the journal", seq, "its hash does not fit");
            }
            journal = Link { seq, hash };
        }
        Ok(Verified {
            audit_entries: audit.seq,
            audit_head: audit.hash,
            journal_rows: journal.seq,
            journal_head: journal.hash,
        })
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Ticket {
        if let Err(error) = crate::check_sizes(&batch) {
            return Ticket::done(Err(error));
        }
        let mut inner = self.lock();
        if inner.closed {
            return Ticket::done(Err(StoreError::Stopped("the store was closed".into())));
        }
        let fails = inner.fail_next.take();
        if !self.queued {
            return Ticket::done(inner.perform(self.realm, batch, fails));
        }
        if let Some(why) = &inner.stopped {
            return Ticket::done(Err(StoreError::Stopped(why.clone())));
        }
        let (answer, receiver) = oneshot::channel();
        inner.queue.push_back(Pending { batch, fails, answer });
        Ticket::waiting(receiver)
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        self.read(|state| Ok(state.runs.iter().rev().take(limit).cloned().collect()))
    }

    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read(|state| Ok(state.run_places.get(&run).map(|place| state.runs[*place].clone())))
    }

    fn journal(&self, run: RunId) -> Result<Vec<JournalRow>, StoreError> {
        self.read(|state| {
            let places = state.places.get(&run).map(|places| places.0.as_slice()).unwrap_or_default();
            let row = |place: &usize| {
                let row = &state.journal[*place];
                JournalRow { seq: *place as u64 + 1, kind: row.kind, body: row.body.clone() }
            };
            Ok(places.iter().map(row).collect())
        })
    }

    fn audit(&self, after: u64, run: Option<RunId>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.read(|state| {
            let after = usize::try_from(after).unwrap_or(usize::MAX);
            Ok(match run {
                None => (after..state.audit.len()).take(limit).map(|place| state.audit_row(place)).collect(),
                Some(run) => {
                    let places = state.places.get(&run).map(|places| places.1.as_slice()).unwrap_or_default();
                    places.iter().filter(|place| **place >= after).take(limit).map(|p| state.audit_row(*p)).collect()
                }
            })
        })
    }

    fn inbox(&self, attempt: AttemptId) -> Result<Option<InboxRow>, StoreError> {
        self.read(|state| Ok(state.inbox.get(&attempt).cloned()))
    }

    fn highest_token(&self, run: RunId, unit: [u8; 16]) -> Result<Option<FencingToken>, StoreError> {
        self.read(|state| Ok(state.fences.get(&(run, unit)).copied()))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|state| Ok(state.settings.get(name).cloned()))
    }

    fn blobs_in_use(&self) -> Result<Vec<BlobId>, StoreError> {
        self.read(|state| {
            let blobs: BTreeSet<BlobId> = state.uses.iter().map(|(_, blob)| *blob).collect();
            Ok(blobs.into_iter().collect())
        })
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        self.read(|state| state.verify(self.realm))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.sync();
        let mut inner = self.lock();
        inner.closed = true;
        match &inner.stopped {
            Some(why) => Err(StoreError::Stopped(why.clone())),
            None => Ok(()),
        }
    }
}
