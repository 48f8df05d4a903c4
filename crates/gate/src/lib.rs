//! The one way out of a site.
//!
//! Every byte that leaves is judged here first, under the organisation's policies *and* the
//! owner's: [`Gate::judge`] decides and drafts an audit entry; the engine commits it with its
//! journal rows in one transaction; [`Draft::clear`] turns the store's receipt into [`Cleared`],
//! which the transport sends as it is. [`Gate::downgrade`] is the one way a label sinks.
//!
//! Not here: sending (`transport`), committing (`engine`), finding private values (`domain`).
//! Policies are written in a policy language that is named nowhere outside this crate.

pub mod audit;
mod cache;
mod clearance;
mod downgrade;
mod error;
mod gate;
mod grants;
mod owner;
mod question;
mod records;
mod requests;
mod rules;

pub use audit::{AuditEntry, Direction, EntryKind, FrameTotal, Outcome, TransferState, fold_states};
pub use clearance::{CLEARANCE_MS, ClearError, Cleared, ClearedMeta, Draft, Stale};
pub use downgrade::{
    ALLOW_REDACTED_FLAG, Ask, CLEARABLE, Downgrade, DowngradeDecision, DowngradeKind, Proposal, SAMPLES, propose,
};
pub use error::GateError;
pub use gate::{Gate, Judged, Side, Sunk};
pub use grants::{GRANTS_MAX, GRANTS_SETTING, GrantId, GrantRecord, GrantScope};
pub use owner::{PolicyVersion, SetVersion};
pub use question::{Act, Action, Actor, Destination, Question, Rule, Transfer, Verdict};
pub use records::{AdminAct, Arrival, SessionTotals, TOTALS_MAX};
