//! Audit entries about everything that is not a transfer of its own: what arrived, status frames in
//! total, administrative acts.
//!
//! Not here: transfers (`clearance`), the entry's form (`audit`).

use crate::audit::{AuditEntry, Direction, EntryKind, FrameTotal, Outcome, TransferState};
use crate::grants::{GrantId, GrantScope};
use std::fmt;
use tidegate_domain::ids::{AttemptId, RunId, SessionId, SiteId, WorkspaceId};
use tidegate_domain::label::Label;

/// Bytes that arrived; what they were cleared by is in the sender's log.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The run, if any.
    pub run: Option<RunId>,
    /// The attempt, if any.
    pub attempt: Option<AttemptId>,
    /// The step; empty outside a run.
    pub step: String,
    /// The item of a fan-out.
    pub item: Option<u32>,
    /// Where from.
    pub from: SiteId,
    /// The label they came with.
    pub label: Label,
    /// Their size.
    pub bytes: u64,
    /// BLAKE3 of them.
    pub digest: [u8; 32],
    /// The operation they came for.
    pub purpose: String,
}

impl Arrival {
    pub(crate) fn entry(&self, at: SiteId, time_ms: u64) -> AuditEntry {
        AuditEntry {
            state: Some(TransferState::Sent),
            direction: Some(Direction::In),
            run: self.run,
            attempt: self.attempt,
            step: self.step.clone(),
            item: self.item,
            from: Some(self.from),
            to: Some(at),
            label: Some(self.label.clone()),
            bytes: self.bytes,
            digest: Some(self.digest),
            purpose: self.purpose.clone(),
            ..AuditEntry::new(EntryKind::Transfer, time_ms)
        }
    }
}

/// Status frames of a session since its last totals.
#[derive(Clone, Debug)]
pub struct SessionTotals {
    /// The session.
    pub session: SessionId,
    /// The site at its other end.
    pub peer: SiteId,
    /// Which way they went.
    pub direction: Direction,
    /// The join of their labels.
    pub label: Label,
    /// Count and bytes for each kind of frame, at most [`TOTALS_MAX`] kinds.
    pub frames: Vec<FrameTotal>,
}

/// Kinds of frame in one entry of totals; further ones are added up as `other`.
pub const TOTALS_MAX: usize = 64;

impl SessionTotals {
    pub(crate) fn entry(&self, at: SiteId, time_ms: u64) -> AuditEntry {
        let (from, to) = match self.direction {
            Direction::Out => (at, self.peer),
            Direction::In => (self.peer, at),
        };
        let mut totals = self.frames.clone();
        if totals.len() > TOTALS_MAX {
            let rest = totals.split_off(TOTALS_MAX - 1);
            let sum = |of: fn(&FrameTotal) -> u64| rest.iter().map(of).fold(0, u64::saturating_add);
            totals.push(FrameTotal { frame: "other".into(), count: sum(|t| t.count), bytes: sum(|t| t.bytes) });
        }
        AuditEntry {
            direction: Some(self.direction),
            session: Some(self.session),
            from: Some(from),
            to: Some(to),
            label: Some(self.label.clone()),
            bytes: totals.iter().fold(0, |sum, t| sum.saturating_add(t.bytes)),
            totals,
            purpose: "status".into(),
            ..AuditEntry::new(EntryKind::Totals, time_ms)
        }
    }
}

/// A change of what may pass, or of who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAct {
    /// The gate opened.
    Opened,
    /// The owner's policies changed.
    PolicyAdopted {
        /// Their new version.
        number: u64,
    },
    /// Redacted text of a folder may go.
    GrantMade {
        /// The grant.
        grant: GrantId,
        /// The folder.
        workspace: WorkspaceId,
        /// How far it reaches.
        scope: GrantScope,
    },
    /// It may not any more.
    GrantRevoked {
        /// The grant.
        grant: GrantId,
    },
    /// The owner approved an effect that waited.
    Approved {
        /// The run.
        run: RunId,
    },
    /// The owner rejected it.
    Rejected {
        /// The run.
        run: RunId,
    },
    /// A run's content was destroyed.
    Forgotten {
        /// The run.
        run: RunId,
    },
    /// A site was enrolled.
    Enrolled {
        /// The site.
        site: SiteId,
    },
    /// A site's certificate was revoked.
    SiteRevoked {
        /// The site.
        site: SiteId,
    },
    /// Everything the hub's side receives is written to a file from now on.
    RecordingStarted,
    /// A downgraded text was given its private values back, here, from the vault.
    Restored {
        /// The run.
        run: RunId,
    },
}

impl AdminAct {
    /// The name that the entry carries as its purpose.
    pub fn as_str(&self) -> &'static str {
        match self {
            AdminAct::Opened => "gate.opened",
            AdminAct::PolicyAdopted { .. } => "policy.adopted",
            AdminAct::GrantMade { .. } => "grant.made",
            AdminAct::GrantRevoked { .. } => "grant.revoked",
            AdminAct::Approved { .. } => "approval.given",
            AdminAct::Rejected { .. } => "approval.refused",
            AdminAct::Forgotten { .. } => "run.forgotten",
            AdminAct::Enrolled { .. } => "site.enrolled",
            AdminAct::SiteRevoked { .. } => "site.revoked",
            AdminAct::RecordingStarted => "recording.started",
            AdminAct::Restored { .. } => "vault.restored",
        }
    }

    pub(crate) fn entry(&self, at: SiteId, time_ms: u64) -> AuditEntry {
        let (run, to, note) = match self {
            AdminAct::Opened | AdminAct::RecordingStarted => (None, None, String::new()),
            AdminAct::PolicyAdopted { number } => (None, None, format!("version {number}")),
            AdminAct::GrantMade { grant, workspace, scope } => {
                let run = if let GrantScope::Run(run) = scope { Some(*run) } else { None };
                (run, None, format!("{grant} for {workspace}{}", Reach(*scope)))
            }
            AdminAct::GrantRevoked { grant } => (None, None, grant.to_string()),
            AdminAct::Approved { run } | AdminAct::Rejected { run } | AdminAct::Restored { run } => {
                (Some(*run), None, String::new())
            }
            // Not under the run itself: its entries are about to lose their content.
            AdminAct::Forgotten { run } => (None, None, run.to_string()),
            AdminAct::Enrolled { site } | AdminAct::SiteRevoked { site } => (None, Some(*site), String::new()),
        };
        AuditEntry {
            run,
            from: Some(at),
            to,
            verdict: Some(Outcome::Allow),
            purpose: self.as_str().into(),
            note,
            ..AuditEntry::new(EntryKind::Admin, time_ms)
        }
    }
}

struct Reach(GrantScope);

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            GrantScope::Run(run) => write!(f, " in {run}"),
            GrantScope::Always => f.write_str(" until revoked"),
        }
    }
}
