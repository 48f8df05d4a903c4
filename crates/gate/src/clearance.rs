//! From a decision to bytes that may be sent.
//!
//! `judge` drafts; the engine commits the draft's audit entry with its journal rows in one batch;
//! the store's receipt turns the draft into [`Cleared`]. There is no other way to make one, so
//! whoever takes only `Cleared` sends nothing whose intent is not durable (invariants I1, I2).
//!
//! Not here: the decision (`gate`), sending (`transport`).

use crate::audit::{AuditEntry, Direction, EntryKind, TransferState};
use crate::gate::Gate;
use crate::owner::PolicyVersion;
use crate::question::Destination;
use bytes::Bytes;
use std::fmt;
use tidegate_domain::ids::{AttemptId, RunId, SiteId};
use tidegate_domain::label::Label;
use tidegate_store::{Receipt, Store, StoreError, Write};

/// How long cleared bytes may wait before they leave, in milliseconds. Longer, and what was true
/// when they were judged may no longer be.
pub const CLEARANCE_MS: u64 = 30_000;

/// A transfer that may go once its audit entry is durable.
pub struct Draft {
    pub(crate) meta: ClearedMeta,
    pub(crate) payload: Bytes,
    pub(crate) policy: PolicyVersion,
    pub(crate) expires_ms: u64,
    pub(crate) salt: [u8; 16],
    pub(crate) body: Vec<u8>,
    pub(crate) gate: Gate,
}

/// What is known of cleared bytes besides themselves: enough for the `sent` entry that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearedMeta {
    /// Sequence number of the intent in the audit log; 0 in a draft.
    pub seq: u64,
    /// The audit chain's hash after the intent; zeros in a draft.
    pub hash: [u8; 32],
    /// The run, if any.
    pub run: Option<RunId>,
    /// The attempt, if any.
    pub attempt: Option<AttemptId>,
    /// The step; empty outside a run.
    pub step: String,
    /// The item of a fan-out.
    pub item: Option<u32>,
    /// The site they leave.
    pub from: SiteId,
    /// Where they go.
    pub destination: Destination,
    /// Their label.
    pub label: Label,
    /// Their size.
    pub bytes: u64,
    /// BLAKE3 of them.
    pub digest: [u8; 32],
    /// What allowed it.
    pub rule: String,
    /// The operation they go for.
    pub purpose: String,
}

/// Bytes that may be sent to one destination, soon, under one policy. Made by [`Draft::clear`].
pub struct Cleared {
    meta: ClearedMeta,
    payload: Bytes,
    policy: PolicyVersion,
    expires_ms: u64,
    gate: Gate,
}

/// Why a draft did not become cleared bytes. Nothing may be sent; judge again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClearError {
    /// The receipt has no audit entry at that place.
    #[error("the receipt has no audit entry {entry}")]
    NoEntry {
        /// The place asked for.
        entry: usize,
    },
    /// The entry behind the receipt is not this draft's.
    #[error("audit entry {seq} is not the one drafted for these bytes")]
    OtherEntry {
        /// The entry.
        seq: u64,
    },
    /// The audit log could not be read back.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why cleared bytes may not be sent any more. Judge them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// They waited too long.
    #[error("these bytes were cleared until {expires_ms} ms; they must be judged again")]
    Expired {
        /// Wall time of the expiry.
        expires_ms: u64,
    },
    /// The policies changed.
    #[error("these bytes were cleared under other policies; they must be judged again")]
    OtherPolicy,
}

impl Draft {
    /// The audit entry `intent`. Commit it in the batch that holds the journal rows of the same
    /// step; nothing leaves if that fails.
    pub fn write(&self) -> Write {
        Write::Audit { run: self.meta.run, salt: self.salt, body: self.body.clone() }
    }

    /// What is known of the bytes.
    pub fn meta(&self) -> &ClearedMeta {
        &self.meta
    }

    /// The bytes may go: `receipt` is of the batch that held [`Draft::write`] as its audit entry
    /// number `entry` (from 0, audit entries alone counted), committed to `store`.
    ///
    /// A receipt tells sequence numbers and chain hashes but not for which contents, so the entry
    /// is read back: its hash must be the receipt's and its body this draft's, which no other
    /// draft shares.
    pub fn clear(self, receipt: &Receipt, entry: usize, store: &dyn Store) -> Result<Cleared, ClearError> {
        let (seq, hash) = *receipt.audit().get(entry).ok_or(ClearError::NoEntry { entry })?;
        let rows = store.audit(seq.saturating_sub(1), None, 1)?;
        let own = rows.first().is_some_and(|row| {
            row.seq == seq
                && row.hash == hash
                && row.run == self.meta.run
                && row.body.as_deref() == Some(self.body.as_slice())
        });
        if !own {
            return Err(ClearError::OtherEntry { seq });
        }
        let meta = ClearedMeta { seq, hash, ..self.meta };
        Ok(Cleared { meta, payload: self.payload, policy: self.policy, expires_ms: self.expires_ms, gate: self.gate })
    }
}

impl Cleared {
    /// The bytes, as they are to be sent.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The one destination they may be sent to.
    pub fn destination(&self) -> &Destination {
        &self.meta.destination
    }

    /// The policies they were cleared under.
    pub fn policy(&self) -> PolicyVersion {
        self.policy
    }

    /// Wall time from which they may not be sent any more.
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Sequence number of the intent in the audit log.
    pub fn seq(&self) -> u64 {
        self.meta.seq
    }

    /// The audit chain's hash after the intent.
    pub fn hash(&self) -> &[u8; 32] {
        &self.meta.hash
    }

    /// BLAKE3 of the bytes, minted by clearing them.
    pub fn digest(&self) -> &[u8; 32] {
        &self.meta.digest
    }

    /// What `Gate::sent` needs once they are gone.
    pub fn meta(&self) -> &ClearedMeta {
        &self.meta
    }

    /// Whether they may still be sent at `now_ms`, under the policies that their gate has now.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        self.check(now_ms, self.gate.policy_version()).is_ok()
    }

    /// Whether they may still be sent at `now_ms` under `policy`. Ask right before sending.
    pub fn check(&self, now_ms: u64, policy: PolicyVersion) -> Result<(), Stale> {
        if self.policy != policy {
            return Err(Stale::OtherPolicy);
        }
        // A clock set back must not lengthen a clearance: judged later than now is stale, too.
        if now_ms >= self.expires_ms || now_ms.saturating_add(CLEARANCE_MS) < self.expires_ms {
            return Err(Stale::Expired { expires_ms: self.expires_ms });
        }
        Ok(())
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "draft of {} bytes [{}]", self.meta.bytes, self.meta.label)
    }
}

impl fmt::Debug for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cleared {} bytes as audit entry {}", self.meta.bytes, self.meta.seq)
    }
}

impl ClearedMeta {
    /// The entry of these bytes in `state`.
    pub(crate) fn entry(&self, state: TransferState, time_ms: u64, nonce: [u8; 16]) -> AuditEntry {
        AuditEntry {
            state: Some(state),
            refers_to: (state == TransferState::Sent).then_some(self.seq),
            direction: Some(Direction::Out),
            run: self.run,
            attempt: self.attempt,
            step: self.step.clone(),
            item: self.item,
            from: Some(self.from),
            to: Some(self.destination.site),
            onward: self.destination.onward.clone(),
            label: Some(self.label.clone()),
            bytes: self.bytes,
            digest: Some(self.digest),
            verdict: Some(crate::audit::Outcome::Allow),
            rule: self.rule.clone(),
            purpose: self.purpose.clone(),
            nonce,
            ..AuditEntry::new(EntryKind::Transfer, time_ms)
        }
    }
}
