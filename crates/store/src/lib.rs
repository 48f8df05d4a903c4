//! What is kept: the journal, the audit log, the inbox, run keys and blobs.
//!
//! One [`Store`] trait with a memory and a SQLite implementation, held to one conformance suite.
//! Everything a site must not forget goes through [`Store::commit`] as one [`Batch`]; batches from
//! all runs share one fsync (group commit). Journal and audit log live in one database, so that an
//! intent and its audit entry are durable together or not at all (invariant I2).
//!
//! Rows are chained: each carries a hash over its predecessor's hash and its own content, and the
//! chain's head is kept outside the database (invariant I9).
//!
//! Not here: what rows mean (the `engine` encodes and seals the journal's, the `gate` the audit
//! log's). The store sees opaque bytes.

pub mod blobs;
pub mod chain;
mod head;
pub mod memory;
pub mod sqlite;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use tidegate_domain::ids::{AttemptId, FencingToken, RunId};
use tidegate_domain::value::BlobId;
use tokio::sync::oneshot;

/// What a transaction changes. Writes of one batch become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order; chained rows get their sequence numbers in this order.
    pub writes: Vec<Write>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new run, or a run's changed header.
    Run(RunRow),
    /// A journal row of a run. `body` is sealed by the engine.
    Journal {
        /// The run it belongs to.
        run: RunId,
        /// The engine's kind of row; readable without the run's key.
        kind: u8,
        /// Opaque bytes, at most [`ROW_BYTES_MAX`].
        body: Vec<u8>,
    },
    /// An audit entry.
    Audit {
        /// The run it is about, if any: `Forget` of that run destroys salt and body.
        run: Option<RunId>,
        /// Makes the entry's commitment unguessable.
        salt: [u8; 16],
        /// Opaque bytes, at most [`ROW_BYTES_MAX`].
        body: Vec<u8>,
    },
    /// An attempt that this site executes or has executed; replaces an earlier row of that attempt.
    Inbox(InboxRow),
    /// A run uses a blob; blobs that no row names are collected.
    UseBlob {
        /// The run.
        run: RunId,
        /// The blob.
        blob: BlobId,
    },
    /// A named setting of this site.
    Setting {
        /// Its name.
        name: String,
        /// Its content.
        value: Vec<u8>,
    },
    /// Destroys a run's key, its inbox rows' outcomes, its blob uses, and the salts and bodies of
    /// its audit entries. The chains still verify.
    Forget {
        /// The run.
        run: RunId,
    },
}

/// A run's header: what can be listed without opening its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The engine's status code.
    pub status: u8,
    /// Wall time of its start.
    pub started_ms: u64,
    /// Wall time of its end, 0 while it goes on.
    pub ended_ms: u64,
    /// The run's key, sealed with the site's key; `None` once the run is forgotten.
    pub sealed_key: Option<Vec<u8>>,
    /// The workflow's name, sealed with the run's key.
    pub sealed_name: Vec<u8>,
}

/// One row of the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// The attempt.
    pub attempt: AttemptId,
    /// The run it belongs to.
    pub run: RunId,
    /// Hash of step and item within the run: the unit that fencing protects.
    pub unit: [u8; 16],
    /// The attempt's fencing token.
    pub token: FencingToken,
    /// Digest of the request; a redelivery with another one is a conflict.
    pub request: [u8; 32],
    /// The recorded outcome, once there is one.
    pub outcome: Option<Vec<u8>>,
    /// Wall time of the last change.
    pub changed_ms: u64,
}

/// A journal row as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place in the site's journal, from 1.
    pub seq: u64,
    /// The engine's kind.
    pub kind: u8,
    /// Opaque bytes.
    pub body: Vec<u8>,
}

/// An audit entry as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the audit log, from 1.
    pub seq: u64,
    /// The run it is about.
    pub run: Option<RunId>,
    /// Opaque bytes, `None` once forgotten.
    pub body: Option<Vec<u8>>,
    /// The chain's hash after this entry.
    pub hash: [u8; 32],
    /// The chain's hash before it.
    pub prev: [u8; 32],
}

/// Proof that a batch is durable. Only a store makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    audit: Vec<(u64, [u8; 32])>,
}

impl Receipt {
    pub(crate) fn new(audit: Vec<(u64, [u8; 32])>) -> Self {
        Self { audit }
    }

    /// Sequence number and hash of each audit entry of the batch, in the batch's order.
    pub fn audit(&self) -> &[(u64, [u8; 32])] {
        &self.audit
    }
}

/// The largest body of one row.
pub const ROW_BYTES_MAX: usize = 32 << 20;

/// Refuses a batch with a row that is too large before any store takes it in.
pub(crate) fn check_sizes(batch: &Batch) -> Result<(), StoreError> {
    let too_large = |write: &Write| {
        let bytes = match write {
            Write::Run(row) => row.sealed_name.len() + row.sealed_key.as_ref().map_or(0, Vec::len),
            Write::Journal { body, .. } | Write::Audit { body, .. } => body.len(),
            Write::Inbox(row) => row.outcome.as_ref().map_or(0, Vec::len),
            Write::Setting { name, value } => name.len() + value.len(),
            Write::UseBlob { .. } | Write::Forget { .. } => 0,
        };
        (bytes > ROW_BYTES_MAX).then_some(StoreError::TooLarge { bytes })
    };
    batch.writes.iter().find_map(too_large).map_or(Ok(()), Err)
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// An earlier write or sync failed. The process must stop: what the disk holds is unknown, and
    /// syncing again would lie about it (fault F3).
    #[error("the store stopped after a failed write: {0}; restart tidegate once the disk is well")]
    Stopped(String),
    /// The disk or the quota is full. Nothing of the batch was kept.
    #[error("no space left for the journal in {0}; free some space and start tidegate again")]
    Full(PathBuf),
    /// Stored bytes are not what was written.
    #[error("{what} is damaged at entry {seq}: {why}; restore a backup of the data folder")]
    Corrupt {
        /// Which chain or table.
        what: &'static str,
        /// The first bad entry.
        seq: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// A row is larger than allowed.
    #[error("a row of {bytes} bytes is over the limit of {ROW_BYTES_MAX} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Written by a newer program.
    #[error("the data folder has format {found}, this program reads up to {known}; update tidegate")]
    Version {
        /// The folder's format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Opening or reading failed.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's words.
        cause: String,
    },
}

/// What verifying found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Entries in the audit log.
    pub audit_entries: u64,
    /// The audit chain's head.
    pub audit_head: [u8; 32],
    /// Rows in the journal.
    pub journal_rows: u64,
    /// The journal chain's head.
    pub journal_head: [u8; 32],
}

/// A commit on its way. Awaiting it is the durability barrier; dropping it abandons the wait, not
/// the write.
#[derive(Debug)]
pub struct Ticket(TicketState);

#[derive(Debug)]
enum TicketState {
    Done(Option<Result<Receipt, StoreError>>),
    Waiting(oneshot::Receiver<Result<Receipt, StoreError>>),
}

impl Ticket {
    pub(crate) fn done(result: Result<Receipt, StoreError>) -> Self {
        Self(TicketState::Done(Some(result)))
    }

    pub(crate) fn waiting(receiver: oneshot::Receiver<Result<Receipt, StoreError>>) -> Self {
        Self(TicketState::Waiting(receiver))
    }
}

impl Future for Ticket {
    type Output = Result<Receipt, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            TicketState::Done(result) => {
                Poll::Ready(result.take().unwrap_or_else(|| Err(StoreError::Stopped("ticket polled twice".into()))))
            }
            TicketState::Waiting(receiver) => Pin::new(receiver)
                .poll(cx)
                .map(|answer| answer.unwrap_or_else(|_| Err(StoreError::Stopped("the store was closed".into())))),
        }
    }
}

/// Where a site keeps what it must not forget.
///
/// Commits are applied in the order of the calls. Reads see at least what was durable when they
/// began, and are short blocking calls.
pub trait Store: Send + Sync {
    /// Queues a batch. It is durable when the ticket resolves to a receipt.
    fn commit(&self, batch: Batch) -> Ticket;
    /// Headers of all runs, newest first, at most `limit`.
    fn runs(&self, limit: usize) -> Result<Vec<RunRow>, StoreError>;
    /// One run's header.
    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError>;
    /// A run's journal in order, each row checked against the chain.
    fn journal(&self, run: RunId) -> Result<Vec<JournalRow>, StoreError>;
    /// Audit entries after `after`, of one run if given, oldest first, at most `limit`.
    fn audit(&self, after: u64, run: Option<RunId>, limit: usize) -> Result<Vec<AuditRow>, StoreError>;
    /// What the inbox knows of an attempt.
    fn inbox(&self, attempt: AttemptId) -> Result<Option<InboxRow>, StoreError>;
    /// The highest fencing token the inbox has seen for a unit of a run.
    fn highest_token(&self, run: RunId, unit: [u8; 16]) -> Result<Option<FencingToken>, StoreError>;
    /// A setting.
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Every blob that some run still uses.
    fn blobs_in_use(&self) -> Result<Vec<BlobId>, StoreError>;
    /// Walks both chains from their first row and compares them with the head outside.
    fn verify(&self) -> Result<Verified, StoreError>;
    /// Waits for queued batches, syncs the head and refuses further commits.
    fn close(&self) -> Result<(), StoreError>;
}
