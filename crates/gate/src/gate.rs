//! The gate itself: state, decisions, and the audit entries that go with them.
//!
//! Policies and grants are an immutable state behind one pointer; a change builds the next state
//! and swaps it, so a decision is always made under one whole version.
//!
//! Here are opening, transfers, acts and the entries about them; `gate/sinking` has downgrades,
//! `gate/granting` grants. Not here: what a policy language is (`rules`), how a draft becomes
//! cleared bytes (`clearance`).

mod granting;
mod sinking;

pub use sinking::Sunk;

use crate::audit::{AuditEntry, EntryKind, Outcome, TransferState};
use crate::cache::{self, Cache};
use crate::clearance::{CLEARANCE_MS, ClearedMeta, Draft};
use crate::error::GateError;
use crate::grants::{GrantId, GrantRecord};
use crate::owner::{Keeper, Kept, PolicyVersion, SetVersion};
use crate::question::{Act, Actor, Question, Rule, Transfer, Verdict};
use crate::records::{AdminAct, Arrival, SessionTotals};
use crate::rules::{Answer, RuleSet, Rules};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tidegate_domain::ids::SiteId;
use tidegate_domain::limits::TRANSFER_BYTES_MAX;
use tidegate_seams::{Seams, entropy};
use tidegate_store::Write;

const ORGANISATION: &str = include_str!("../policies/organisation.cedar");
/// The version of the embedded organisation's policies.
const ORGANISATION_NUMBER: u64 = 1;
const DEVICE_OWNER: &str = include_str!("../policies/device_owner.cedar");
const HUB_OWNER: &str = include_str!("../policies/hub_owner.cedar");

/// On which side of the session a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where user data lives.
    Device,
    /// The hub and its workers.
    Hub,
}

impl Side {
    /// The name that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Device => "device",
            Side::Hub => "hub",
        }
    }

    fn default_policies(self) -> &'static str {
        match self {
            Side::Device => DEVICE_OWNER,
            Side::Hub => HUB_OWNER,
        }
    }
}

/// The one way out of a site. Clones share everything.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    side: Side,
    site: SiteId,
    seams: Seams,
    rules: Rules,
    /// Held through every change, so that changes are made one after the other.
    keeper: Mutex<Keeper>,
    state: RwLock<Arc<State>>,
}

/// Policies, grants and the answers given under them. Never changed, only replaced.
struct State {
    version: PolicyVersion,
    organisation: RuleSet,
    /// The owner's, grants included.
    owner: RuleSet,
    grants: BTreeMap<GrantId, GrantRecord>,
    verdicts: Cache<Verdict>,
    sinkings: Cache<Sunk>,
}

/// What was decided about a transfer.
#[derive(Debug)]
pub enum Judged {
    /// It may go, once the draft's audit entry is durable.
    Allowed {
        /// What allows it.
        rule: Rule,
        /// The bytes and their audit entry.
        draft: Box<Draft>,
    },
    /// It may not.
    Refused {
        /// Why.
        verdict: Verdict,
        /// The audit entry of the refusal; commit it with the step's outcome.
        audit: Write,
    },
}

impl Judged {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match self {
            Judged::Allowed { rule, .. } => Verdict::Allow { rule: rule.clone() },
            Judged::Refused { verdict, .. } => verdict.clone(),
        }
    }

    /// The audit entry to commit: the intent or the refusal.
    pub fn write(&self) -> Write {
        match self {
            Judged::Allowed { draft, .. } => draft.write(),
            Judged::Refused { audit, .. } => audit.clone(),
        }
    }

    /// The draft, if it may go.
    pub fn into_draft(self) -> Option<Draft> {
        match self {
            Judged::Allowed { draft, .. } => Some(*draft),
            Judged::Refused { .. } => None,
        }
    }
}

impl Gate {
    /// Opens the gate whose key and policies are in `dir`.
    ///
    /// The first start makes both; later ones verify signature and version and refuse what does
    /// not fit. A gate that does not open lets nothing out.
    pub fn open(dir: &Path, side: Side, site: SiteId, seams: Seams) -> Result<Gate, GateError> {
        let seed = entropy::bytes(seams.entropy.as_ref());
        let kept = Keeper::open(dir, site, seed, side.default_policies())?;
        Self::with(kept, side, site, seams, ORGANISATION)
    }

    /// A gate with the default policies and a key that is forgotten with the process.
    pub fn in_memory(side: Side, site: SiteId, seams: Seams) -> Result<Gate, GateError> {
        let seed = entropy::bytes(seams.entropy.as_ref());
        let kept = Keeper::in_memory(site, seed, side.default_policies())?;
        Self::with(kept, side, site, seams, ORGANISATION)
    }

    fn with(
        (keeper, kept): (Keeper, Kept),
        side: Side,
        site: SiteId,
        seams: Seams,
        organisation: &str,
    ) -> Result<Gate, GateError> {
        let rules = Rules::new()?;
        let owner = rules.load("owner", &kept.text)?;
        let version = PolicyVersion {
            organisation: SetVersion::of(ORGANISATION_NUMBER, organisation),
            owner: SetVersion::of(kept.number, &kept.text),
        };
        let state = State {
            version,
            organisation: rules.load("organisation", organisation)?,
            owner,
            grants: BTreeMap::new(),
            verdicts: Cache::new(),
            sinkings: Cache::new(),
        };
        let state = RwLock::new(Arc::new(state));
        Ok(Gate(Arc::new(Inner { side, site, seams, rules, keeper: Mutex::new(keeper), state })))
    }

    /// The site this gate stands at.
    pub fn site(&self) -> SiteId {
        self.0.site
    }

    /// On which side it stands.
    pub fn side(&self) -> Side {
        self.0.side
    }

    /// Number and digest of both sets of policies. What was cleared under another version must be
    /// judged again.
    pub fn policy_version(&self) -> PolicyVersion {
        self.state().version
    }

    /// What would be decided. Leaves no audit entry: nothing passes by it.
    pub fn would_transfer(&self, q: &Question<'_>) -> Verdict {
        if q.destination.site.realm != self.0.site.realm {
            return built_in("realm", "the destination belongs to another realm");
        }
        let state = self.state();
        state.verdicts.get_or(cache::transfer_key(q), || {
            let request = self.0.rules.transfer(self.0.side, self.0.site, q);
            request.map_or_else(unaskable, |r| self.0.rules.decide(&state.organisation, &state.owner, &r)).verdict
        })
    }

    /// Decides about bytes that are to leave.
    pub fn judge(&self, t: Transfer, now_ms: u64) -> Judged {
        let policy = self.policy_version();
        let verdict = if t.payload.len() > TRANSFER_BYTES_MAX {
            let why = format!("it is over the limit of {TRANSFER_BYTES_MAX} bytes for one transfer");
            built_in("transfer-bytes-max", &why)
        } else {
            self.would_transfer(&t.question())
        };
        match verdict {
            Verdict::Allow { rule } => Judged::Allowed { draft: Box::new(self.draft(t, &rule, policy, now_ms)), rule },
            refused => Judged::Refused { audit: self.refusal(t, &refused, now_ms), verdict: refused },
        }
    }

    fn draft(&self, t: Transfer, rule: &Rule, policy: PolicyVersion, now_ms: u64) -> Draft {
        let meta = ClearedMeta {
            seq: 0,
            hash: [0; 32],
            run: t.run,
            attempt: t.attempt,
            step: t.step,
            item: t.item,
            from: self.0.site,
            destination: t.destination,
            label: t.label,
            bytes: t.payload.len() as u64,
            digest: *blake3::hash(&t.payload).as_bytes(),
            rule: rule.as_str().to_owned(),
            purpose: t.purpose,
        };
        let (salt, nonce) = self.salt_and_nonce();
        let body = meta.entry(TransferState::Intent, now_ms, nonce).encode();
        let expires_ms = now_ms.saturating_add(CLEARANCE_MS);
        Draft { meta, payload: t.payload, policy, expires_ms, salt, body, gate: self.clone() }
    }

    /// A refusal tells the size, but no digest: digests of what was not cleared stay unknown.
    fn refusal(&self, t: Transfer, verdict: &Verdict, now_ms: u64) -> Write {
        self.audit(AuditEntry {
            direction: Some(crate::audit::Direction::Out),
            run: t.run,
            attempt: t.attempt,
            step: t.step,
            item: t.item,
            from: Some(self.0.site),
            to: Some(t.destination.site),
            onward: t.destination.onward,
            label: Some(t.label),
            bytes: t.payload.len() as u64,
            verdict: Some(outcome(verdict)),
            rule: verdict.rule().as_str().to_owned(),
            purpose: t.purpose,
            ..AuditEntry::new(EntryKind::Verdict, now_ms)
        })
    }

    /// What would be decided about doing something here.
    pub fn may(&self, act: &Act<'_>) -> Verdict {
        if let Actor::Site(site, _) = act.actor
            && site.realm != self.0.site.realm
        {
            return built_in("realm", "the asking site belongs to another realm");
        }
        let state = self.state();
        state.verdicts.get_or(cache::act_key(act), || {
            let request = self.0.rules.act(self.0.side, act);
            request.map_or_else(unaskable, |r| self.0.rules.decide(&state.organisation, &state.owner, &r)).verdict
        })
    }

    /// Replaces the owner's policies: validated, signed, durable, then in force. What was cleared
    /// before is stale from then on. The version rises even if the text is the same.
    pub fn adopt_policies(&self, text: &str, now_ms: u64) -> Result<(PolicyVersion, Write), GateError> {
        let keeper = self.keeper();
        let state = self.state();
        let policies = self.0.rules.load("owner", text)?;
        let owner = self.0.rules.extend(&policies, state.grants.values().map(GrantRecord::text))?;
        let number = state.version.owner.number.saturating_add(1);
        keeper.keep(&Kept { number, text: text.to_owned() })?;
        let version = PolicyVersion { owner: SetVersion::of(number, text), ..state.version };
        self.swap(State {
            version,
            organisation: state.organisation.clone(),
            owner,
            grants: state.grants.clone(),
            verdicts: Cache::new(),
            sinkings: Cache::new(),
        });
        Ok((version, self.admin_entry(&AdminAct::PolicyAdopted { number }, now_ms)))
    }

    /// The entry that follows once cleared bytes are gone.
    pub fn sent(&self, cleared: &ClearedMeta, now_ms: u64) -> Write {
        let (salt, nonce) = self.salt_and_nonce();
        let body = cleared.entry(TransferState::Sent, now_ms, nonce).encode();
        Write::Audit { run: cleared.run, salt, body }
    }

    /// The entry of bytes that arrived.
    pub fn received(&self, arrival: &Arrival, now_ms: u64) -> Write {
        self.audit(arrival.entry(self.0.site, now_ms))
    }

    /// The entry of a session's status frames, which are not audited one by one.
    pub fn totals(&self, totals: &SessionTotals, now_ms: u64) -> Write {
        self.audit(totals.entry(self.0.site, now_ms))
    }

    /// The entry of an administrative act.
    pub fn admin_entry(&self, what: &AdminAct, now_ms: u64) -> Write {
        self.audit(what.entry(self.0.site, now_ms))
    }

    fn audit(&self, mut entry: AuditEntry) -> Write {
        let (salt, nonce) = self.salt_and_nonce();
        entry.nonce = nonce;
        Write::Audit { run: entry.run, salt, body: entry.encode() }
    }

    fn salt_and_nonce(&self) -> ([u8; 16], [u8; 16]) {
        let both: [u8; 32] = entropy::bytes(self.0.seams.entropy.as_ref());
        let (mut salt, mut nonce) = ([0; 16], [0; 16]);
        salt.copy_from_slice(&both[..16]);
        nonce.copy_from_slice(&both[16..]);
        (salt, nonce)
    }

    /// One bare policy evaluation of the owner's set, uncached: what the figures of
    /// `examples/gate_speed.rs` are compared with. Decides nothing.
    #[doc(hidden)]
    pub fn floor_evaluation(&self, q: &Question<'_>) -> Option<impl Fn() -> bool + use<'_>> {
        let request = self.0.rules.transfer(self.0.side, self.0.site, q)?;
        let state = self.state();
        Some(move || self.0.rules.evaluate_raw(&state.owner, &request))
    }

    // Neither lock guards anything that a panic could leave half changed.

    fn state(&self) -> Arc<State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn swap(&self, next: State) {
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn built_in(name: &str, why: &str) -> Verdict {
    Verdict::Deny { rule: Rule::new(format!("gate/{name}")), why: why.into() }
}

/// A question that does not fit the schema is refused.
fn unaskable() -> Answer {
    Answer { verdict: built_in("question", "the question does not fit the policies' schema"), ungranted: false }
}

fn outcome(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Allow { .. } => Outcome::Allow,
        Verdict::Deny { .. } => Outcome::Deny,
        Verdict::Ask { .. } => Outcome::Ask,
    }
}

#[cfg(test)]
mod tests;
