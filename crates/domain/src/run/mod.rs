//! The run machine: what one execution of a workflow does next.
//!
//! [`Run::handle`] takes an [`Event`] and gives [`Action`]s; it is the only way a run changes.
//! Everything a run must not forget leaves it as [`Action::Append`], in the order in which it must
//! become durable; applying the same records with [`Run::replay`] gives the same run again, which
//! is how a restarted process goes on.
//!
//! Not here: where a unit runs (`placement`), the journal's encoding and the durability barrier
//! (`engine`).

mod machine;
mod report;
mod scope;

pub use report::{RunReport, StepReport, StepTotal, Transfers};

use crate::expr::EvalError;
use crate::ids::{AttemptId, FencingToken, RunId, SiteId};
use crate::label::Label;
use crate::ops::{Effects, OpSpec, SiteKind};
use crate::placement::Decision;
use crate::value::Value;
use crate::workflow::{Place, Workflow};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One thing that is tried: a step, or one item of a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unit {
    /// Index of the step in the workflow.
    pub step: u32,
    /// Index of the item, in a fan-out.
    pub item: Option<u32>,
}

/// What became of a unit, a step or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Has an output.
    Succeeded,
    /// Ran, or could not run, and has none.
    Failed,
    /// Was not needed, or what it needed is missing.
    Skipped,
    /// A policy forbids it everywhere it could run.
    Refused,
    /// Somebody cancelled the run.
    Cancelled,
    /// Cannot go on for now; the reason says what it waits for.
    Waiting,
    /// An effect was begun and nobody can know whether it happened.
    Unknown,
    /// Under way or not begun.
    Running,
}

impl Status {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
            Status::Refused => "refused",
            Status::Cancelled => "cancelled",
            Status::Waiting => "waiting",
            Status::Unknown => "unknown",
            Status::Running => "running",
        }
    }

    /// The stored number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// From the stored number; an unknown one reads as running, so that it is looked at again.
    pub fn from_code(code: u8) -> Status {
        use Status::{Cancelled, Failed, Refused, Running, Skipped, Succeeded, Unknown, Waiting};
        [Succeeded, Failed, Skipped, Refused, Cancelled, Waiting, Unknown]
            .into_iter()
            .find(|s| s.code() == code)
            .unwrap_or(Running)
    }
}

/// Why a unit has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `Failed`, `Refused`, `Skipped`, `Cancelled`, `Unknown` or `Waiting`.
    pub status: Status,
    /// A code of the registry (`codes`).
    pub code: String,
    /// Plain words. May quote user content and is treated as such: it stays on this site.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
}

impl Failure {
    /// A failure that trying again does not mend.
    pub fn new(status: Status, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retryable: false }
    }

    /// The same, worth another attempt.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

/// What an attempt gave, with what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The output, or why there is none.
    pub result: Result<Arc<Value>, Failure>,
    /// From dispatch to outcome, in microseconds.
    pub total_us: u64,
    /// Of that, computing.
    pub compute_us: u64,
    /// Cleared payload bytes that left this site for the attempt.
    pub bytes_out: u64,
    /// Cleared payload bytes that came back.
    pub bytes_in: u64,
    /// Transfers that the gate denied on the way.
    pub denied: u32,
}

/// A row of a run's journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The first row.
    Started(Box<Start>),
    /// An attempt is about to be made.
    Intent {
        /// Of which unit.
        unit: Unit,
        /// Its id.
        attempt: AttemptId,
        /// Its fencing token.
        token: FencingToken,
        /// Where, and why there.
        decision: Arc<Decision>,
    },
    /// A sink is about to be changed: what was there, and what shall be.
    Prepared {
        /// By which unit.
        unit: Unit,
        /// By which attempt.
        attempt: AttemptId,
        /// The sink's own words, given back to it on recovery.
        state: Vec<u8>,
    },
    /// A unit has come to its end, or one attempt of it has failed and another may follow.
    Outcome {
        /// The unit.
        unit: Unit,
        /// The attempt; `None` where the unit ended without one (refused, for instance).
        attempt: Option<AttemptId>,
        /// What came of it.
        outcome: Outcome,
        /// Where and why, where that was decided without an attempt.
        decision: Option<Arc<Decision>>,
        /// Whether the unit will be tried again.
        again: bool,
    },
    /// Somebody asked for cancellation.
    Cancelled,
    /// The last row.
    Finished {
        /// How it ended.
        status: Status,
    },
}

/// What a run is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The workflow's text, to which the run is pinned.
    pub source: String,
    /// The inputs, complete and typed.
    pub inputs: BTreeMap<String, Value>,
    /// The folder for what the workflow writes.
    pub outputs_dir: String,
    /// Wall time of the start, in milliseconds.
    pub started_ms: u64,
}

/// What can happen to a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Begin, or go on after a replay.
    Begin,
    /// Answer to [`Action::Place`]: the unit runs at the decision's chosen site.
    Placed {
        /// The unit.
        unit: Unit,
        /// A fresh attempt id.
        attempt: AttemptId,
        /// Where and why.
        decision: Arc<Decision>,
        /// The request's input, given back.
        input: Arc<Value>,
        /// The request's label, given back.
        label: Label,
    },
    /// Answer to [`Action::Place`]: nowhere, for good (`Refused`, `Failed`) or for now (`Waiting`).
    NotPlaced {
        /// The unit.
        unit: Unit,
        /// Why.
        failure: Failure,
        /// The candidates that were looked at.
        decision: Arc<Decision>,
    },
    /// An attempt has ended.
    Ended {
        /// The unit.
        unit: Unit,
        /// The attempt.
        attempt: AttemptId,
        /// What came of it.
        outcome: Outcome,
    },
    /// The time of an [`Action::Later`] has come.
    Due {
        /// The unit.
        unit: Unit,
    },
    /// Sites came or went: units that wait may find a place now.
    SitesChanged,
    /// Somebody asked for cancellation.
    Cancel,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Append to the journal. Nothing leaves, is acknowledged or has an effect before this is
    /// durable; pure local work may go on.
    Append(Record),
    /// Find a site and answer with `Placed` or `NotPlaced`.
    Place(Box<PlaceRequest>),
    /// Make the attempt and answer with `Ended`.
    Perform(Box<Attempt>),
    /// Say `Due` after this time.
    Later {
        /// The unit.
        unit: Unit,
        /// How long, in milliseconds.
        after_ms: u64,
    },
    /// Stop an attempt and what it started.
    Abort {
        /// The attempt.
        attempt: AttemptId,
        /// Where it runs.
        site: SiteId,
    },
    /// Tell whoever watches that a unit has come to its end.
    Notify(Unit),
    /// The run has ended; the journal has its last row.
    Finish(Status),
}

/// What placement must know of a unit.
#[derive(Clone, Debug)]
pub struct PlaceRequest {
    /// The unit.
    pub unit: Unit,
    /// What it runs.
    pub op: &'static OpSpec,
    /// Its input.
    pub input: Arc<Value>,
    /// The join of the input's labels and of the control flow that leads here.
    pub label: Label,
    /// The request's wishes.
    pub place: Place,
}

/// What an executor must know of an attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The unit.
    pub unit: Unit,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fencing token.
    pub token: FencingToken,
    /// What it runs.
    pub op: &'static OpSpec,
    /// Its input.
    pub input: Arc<Value>,
    /// The join of the input's labels and of the control flow that leads here.
    pub label: Label,
    /// Where.
    pub site: SiteId,
    /// What kind of site that is.
    pub site_kind: SiteKind,
    /// Its limit.
    pub timeout_ms: u64,
    /// Whether an earlier process began this attempt and may have finished it.
    pub recovering: bool,
    /// What the sink said it would do, if it got that far.
    pub prepared: Option<Vec<u8>>,
}

/// One execution of a workflow.
#[derive(Clone, Debug)]
pub struct Run {
    id: RunId,
    workflow: Arc<Workflow>,
    specs: Vec<&'static OpSpec>,
    /// Steps that wait for each step.
    dependents: Vec<Vec<u32>>,
    /// For each step, the steps it names in `needs` without reading them: it runs only if they
    /// came to something.
    required: Vec<Vec<u32>>,
    start: Arc<Start>,
    run_value: Value,
    inputs_value: Value,
    steps: Vec<StepState>,
    next_token: u64,
    cancelled: bool,
    finished: Option<Status>,
    unfinished_steps: usize,
}

#[derive(Clone, Debug)]
struct StepState {
    /// What the step's existence and number of items tells: the join of `when`, the list's shape
    /// and the control labels of what it needs.
    control: Label,
    phase: Phase,
    /// The elements of a fan-out, or one unit.
    units: Vec<UnitState>,
    fan_out: bool,
    items: Option<Arc<Value>>,
    /// The next item to begin.
    next_item: usize,
    running: u32,
    unfinished: usize,
    /// Why the whole step ended before it had units.
    ended: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { needs: u32 },
    Active,
    Ended,
}

#[derive(Clone, Debug)]
struct UnitState {
    phase: UnitPhase,
    attempts: u32,
    output: Option<Arc<Value>>,
    failure: Option<Box<Failure>>,
    history: Option<Box<UnitHistory>>,
}

#[derive(Clone, Debug, Default)]
struct UnitHistory {
    attempt: Option<(AttemptId, FencingToken)>,
    decision: Option<Arc<Decision>>,
    prepared: Option<Vec<u8>>,
    total_us: u64,
    compute_us: u64,
    bytes_out: u64,
    bytes_in: u64,
    denied: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnitPhase {
    Idle,
    Placing,
    /// No site for now.
    Stuck,
    Running,
    BackingOff,
    Ended(Status),
}

/// Why a run cannot be begun or replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The workflow names an operation that this program does not have.
    #[error("this program has no operation `{0}`")]
    UnknownOperation(String),
    /// A journal that does not begin with its first row.
    #[error("the run's journal does not begin with its start")]
    NoStart,
    /// A row that speaks of a unit the run cannot have.
    #[error("the run's journal speaks of a step or item that the workflow does not have")]
    StrayRow,
}

/// Whether a failed evaluation means that something is missing, or that the expression is wrong.
fn failure_of(error: &EvalError) -> Failure {
    match error {
        EvalError::Missing { root } => {
            Failure::new(Status::Skipped, "E4002", format!("needs the output of `{root}`, which does not exist"))
        }
        other => Failure::new(Status::Failed, "E4001", other.to_string()),
    }
}

/// Whether an attempt of an earlier process may simply be made again.
fn may_repeat(effects: Effects) -> bool {
    // A write joins our journal and finds its prepared state; an external effect cannot be asked.
    effects != Effects::External
}

#[cfg(test)]
mod tests;
