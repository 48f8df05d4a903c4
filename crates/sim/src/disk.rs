//! A site's store on a disk that syncs late, and forgets in a crash what it had not synced.
//!
//! Underneath is the memory store; here are the delay, and the facts the checks need: which
//! attempts were executed, which outcomes and which intents became durable. With
//! [`Broken::LyingDisk`] it promises durability at once and keeps it late.

use crate::Broken;
use crate::random::Random;
use crate::world::{Side, World};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;
use tidegate_gate::{AuditEntry, Direction, EntryKind, TransferState};
use tidegate_store::memory::MemoryStore;
use tidegate_store::{AuditRow, Batch, InboxRow, JournalRow, RunRow, Store, StoreError, Ticket, Verified, Write};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One process's view of a site's disk.
pub(crate) struct Disk {
    side: Side,
    world: Arc<World>,
    inner: MemoryStore,
    state: Mutex<State>,
    written: Notify,
    /// Added to every sync while the disk is slow.
    slow_ms: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What is known of batches that wait for a sync.
    waiting: Vec<Facts>,
    /// What a lying disk will really have after a crash.
    kept: Vec<Batch>,
}

#[derive(Default)]
struct Facts {
    outcomes: Vec<(AttemptId, [u8; 32])>,
    intents: Vec<[u8; 32]>,
    batch: Option<Batch>,
}

/// What survives a crash.
pub(crate) struct Platter {
    store: MemoryStore,
    kept: Vec<Batch>,
}

impl Disk {
    /// A new site's disk.
    pub(crate) fn blank(side: Side, world: &Arc<World>) -> Arc<Self> {
        let store = if lies(world) { MemoryStore::new(Realm::LOCAL) } else { MemoryStore::with_faults(Realm::LOCAL) };
        Self::open(side, world, Platter { store, kept: Vec::new() })
    }

    /// The disk as a restarted process finds it.
    pub(crate) fn open(side: Side, world: &Arc<World>, platter: Platter) -> Arc<Self> {
        Arc::new(Self {
            side,
            world: Arc::clone(world),
            inner: platter.store,
            state: Mutex::new(State { waiting: Vec::new(), kept: platter.kept }),
            written: Notify::new(),
            slow_ms: AtomicU64::new(0),
        })
    }

    /// Syncs what is written, a seeded while later, until aborted.
    pub(crate) fn spin(self: &Arc<Self>, mut random: Random) -> JoinHandle<()> {
        let disk = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                if lock(&disk.state).waiting.is_empty() {
                    disk.written.notified().await;
                }
                let usual = if random.percent(5) { random.between(20, 200) } else { random.between(1, 8) };
                tokio::time::sleep(Duration::from_millis(usual + disk.slow_ms.load(Ordering::Relaxed))).await;
                disk.sync();
            }
        })
    }

    /// Makes every sync slower from now on.
    pub(crate) fn slow_down(&self, by_ms: u64) {
        self.slow_ms.store(by_ms, Ordering::Relaxed);
    }

    /// Everything written becomes durable.
    pub(crate) fn sync(&self) {
        let facts = std::mem::take(&mut lock(&self.state).waiting);
        self.world.trace("sync", &(facts.len() as u64).to_le_bytes());
        {
            let mut ledger = self.world.ledger();
            for digest in facts.iter().flat_map(|f| &f.intents) {
                *ledger.intents.entry((self.side, *digest)).or_default() += 1;
            }
            for (attempt, outcome) in facts.iter().flat_map(|f| &f.outcomes) {
                ledger.recorded.entry(*attempt).or_default().push(*outcome);
            }
        }
        if lies(&self.world) {
            lock(&self.state).kept.extend(facts.into_iter().filter_map(|f| f.batch));
        } else {
            self.inner.sync();
        }
    }

    /// The process dies; gives what the next one finds.
    pub(crate) fn crash(&self) -> Platter {
        if !lies(&self.world) {
            return Platter { store: self.inner.crash(), kept: Vec::new() };
        }
        let kept = std::mem::take(&mut lock(&self.state).kept);
        drop(self.inner.crash());
        let store = MemoryStore::new(Realm::LOCAL);
        for batch in &kept {
            drop(store.commit(batch.clone()));
        }
        Platter { store, kept }
    }

    fn facts(&self, batch: &Batch) -> Facts {
        let mut facts = Facts::default();
        for write in &batch.writes {
            match write {
                Write::Inbox(row) => {
                    let outcome = blake3::hash(row.outcome.as_deref().unwrap_or_default());
                    facts.outcomes.push((row.attempt, *outcome.as_bytes()));
                    *self.world.ledger().executed.entry(row.attempt).or_default() += 1;
                }
                Write::Audit { body, .. } => match AuditEntry::decode(body) {
                    Ok(entry) => facts.intents.extend(intent(&entry)),
                    Err(_) => {
                        self.world.violation(format!("the {} wrote an unreadable audit entry", self.side.as_str()))
                    }
                },
                _ => {}
            }
        }
        if lies(&self.world) {
            facts.batch = Some(batch.clone());
        }
        facts
    }
}

/// The digest of an entry that says: these bytes are about to leave.
pub(crate) fn intent(entry: &AuditEntry) -> Option<[u8; 32]> {
    let leaves = entry.kind == EntryKind::Transfer
        && entry.state == Some(TransferState::Intent)
        && entry.direction == Some(Direction::Out);
    entry.digest.filter(|_| leaves)
}

fn lies(world: &World) -> bool {
    world.broken == Some(Broken::LyingDisk)
}

/// What a batch does, for the trace: kinds and contents, in order.
fn digest(batch: &Batch) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for write in &batch.writes {
        match write {
            Write::Run(row) => hasher.update(b"run").update(&row.run.to_bytes()).update(&[row.status]),
            Write::Journal { run, kind, body } => {
                hasher.update(b"journal").update(&run.to_bytes()).update(&[*kind]).update(body)
            }
            Write::Audit { body, .. } => hasher.update(b"audit").update(body),
            Write::Inbox(row) => hasher
                .update(b"inbox")
                .update(&row.attempt.to_bytes())
                .update(row.outcome.as_deref().unwrap_or_default()),
            Write::UseBlob { run, blob } => hasher.update(b"blob").update(&run.to_bytes()).update(blob.bytes()),
            Write::Setting { name, value } => hasher.update(b"setting").update(name.as_bytes()).update(value),
            Write::Forget { run } => hasher.update(b"forget").update(&run.to_bytes()),
        };
    }
    *hasher.finalize().as_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Disk {
    fn commit(&self, batch: Batch) -> Ticket {
        self.world.trace(self.side.as_str(), &digest(&batch));
        let facts = self.facts(&batch);
        self.world.ledger().commits += 1;
        lock(&self.state).waiting.push(facts);
        let ticket = self.inner.commit(batch);
        self.written.notify_one();
        self.world.activity.notify_waiters();
        ticket
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        self.inner.runs(limit)
    }

    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.inner.run(run)
    }

    fn journal(&self, run: RunId) -> Result<Vec<JournalRow>, StoreError> {
        self.inner.journal(run)
    }

    fn audit(&self, after: u64, run: Option<RunId>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(after, run, limit)
    }

    fn inbox(&self, attempt: AttemptId) -> Result<Option<InboxRow>, StoreError> {
        let found = self.inner.inbox(attempt)?;
        Ok(if self.world.broken == Some(Broken::ForgetfulInbox) { None } else { found })
    }

    fn highest_token(&self, run: RunId, unit: [u8; 16]) -> Result<Option<FencingToken>, StoreError> {
        self.inner.highest_token(run, unit)
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.setting(name)
    }

    fn blobs_in_use(&self) -> Result<Vec<BlobId>, StoreError> {
        self.inner.blobs_in_use()
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        self.inner.verify()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}
