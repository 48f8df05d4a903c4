//! What can be told of a run: per step or item where it ran, why, how long and what it moved.

use super::{Failure, Run, Status, Unit, UnitPhase, UnitState};
use crate::ids::SiteId;
use crate::label::Label;
use crate::ops::SiteKind;
use crate::placement::Decision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One step, or one item of a fan-out.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step's id.
    pub id: String,
    /// The item, in a fan-out.
    pub item: Option<u32>,
    /// The operation.
    pub op: String,
    /// Where it ran.
    pub site: Option<(SiteId, SiteKind)>,
    /// What became of it.
    pub status: Status,
    /// Attempts made.
    pub attempts: u32,
    /// The label of its output, or of what led to it where there is none.
    pub label: Label,
    /// From first dispatch to outcome, waits between attempts not counted.
    pub seconds: f64,
    /// Of that, computing.
    pub compute_seconds: f64,
    /// Cleared payload bytes that left this site.
    pub bytes_out: u64,
    /// Cleared payload bytes that came back.
    pub bytes_in: u64,
    /// Transfers denied.
    pub denied: u32,
    /// Why there, or why not.
    pub reason: String,
    /// Why there is no output.
    pub failure: Option<Failure>,
    /// The whole decision.
    pub decision: Option<Arc<Decision>>,
}

/// Steps with the same operation, site and status, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTotal {
    /// The step's id.
    pub id: String,
    /// The operation.
    pub op: String,
    /// The kind of site.
    pub site_kind: Option<SiteKind>,
    /// What became of them.
    pub status: Status,
    /// How many.
    pub count: u64,
    /// Sum of their durations.
    pub seconds: f64,
    /// Sum of bytes out.
    pub bytes_out: u64,
    /// Sum of bytes in.
    pub bytes_in: u64,
    /// Why there, or why not: of the first of them.
    pub reason: String,
}

/// Sums over a run's transfers, as seen by its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Attempts that were sent elsewhere.
    pub count: u64,
    /// Cleared payload bytes sent.
    pub bytes_out: u64,
    /// Cleared payload bytes received.
    pub bytes_in: u64,
    /// Transfers denied.
    pub denied: u64,
}

/// What can be told of a run as a whole.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// How it ended; `Running` or `Waiting` while it has not.
    pub status: Status,
    /// What it waits for, in plain words.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Units by step, operation, site and status.
    pub totals: Vec<StepTotal>,
    /// Sums over transfers.
    pub transfers: Transfers,
    /// Units in all, so far as fan-outs are known.
    pub units: u64,
    /// Units that have ended.
    pub ended: u64,
}

impl Run {
    /// The report of one unit. A step that ended before it had units is reported as unit 0.
    pub fn report_unit(&self, unit: Unit) -> Option<StepReport> {
        let at = unit.step as usize;
        let definition = self.workflow.steps.get(at)?;
        let step = self.steps.get(at)?;
        let blank = || StepReport {
            id: definition.id.clone(),
            item: unit.item,
            op: definition.op.clone(),
            site: None,
            status: Status::Running,
            attempts: 0,
            label: step.control.clone(),
            seconds: 0.0,
            compute_seconds: 0.0,
            bytes_out: 0,
            bytes_in: 0,
            denied: 0,
            reason: String::new(),
            failure: None,
            decision: None,
        };
        let Some(state) = self.unit(unit) else {
            let failure = step.ended.clone()?;
            return Some(StepReport {
                status: failure.status,
                reason: failure.message.clone(),
                failure: Some(failure),
                ..blank()
            });
        };
        let mut report = blank();
        report.status = unit_status(state);
        report.attempts = state.attempts;
        report.failure = state.failure.as_deref().cloned();
        if let Some(output) = &state.output {
            report.label = output.joined_label();
        }
        if let Some(history) = &state.history {
            report.seconds = history.total_us as f64 / 1e6;
            report.compute_seconds = history.compute_us as f64 / 1e6;
            report.bytes_out = history.bytes_out;
            report.bytes_in = history.bytes_in;
            report.denied = history.denied;
            report.decision = history.decision.clone();
            report.site = history.decision.as_ref().and_then(|d| d.winner()).map(|w| (w.site, w.kind));
            report.reason = history.decision.as_ref().map(|d| d.reason()).unwrap_or_default();
        }
        if let Some(failure) = &report.failure
            && report.status != Status::Waiting
        {
            report.reason = failure.message.clone();
        }
        Some(report)
    }

    /// What became of one unit, without the rest of its report: asked for every unit that ends.
    pub fn status_of(&self, unit: Unit) -> Option<Status> {
        match self.unit(unit) {
            Some(state) => Some(unit_status(state)),
            None => self.steps.get(unit.step as usize)?.ended.as_ref().map(|failure| failure.status),
        }
    }

    /// All units that exist, in the workflow's order.
    pub fn all_units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let number = at as u32;
            if step.units.is_empty() && step.ended.is_some() {
                units.push(Unit { step: number, item: None });
            }
            units.extend((0..step.units.len()).map(|i| Unit { step: number, item: step.fan_out.then_some(i as u32) }));
        }
        units
    }

    /// Index of the step called `id`.
    pub fn step_index(&self, id: &str) -> Option<u32> {
        self.workflow.steps.iter().position(|s| s.id == id).map(|i| i as u32)
    }

    /// The run as a whole.
    pub fn report(&self) -> RunReport {
        let mut totals: BTreeMap<(usize, Option<SiteKind>, u8), StepTotal> = BTreeMap::new();
        let mut transfers = Transfers::default();
        let mut waiting_for = None;
        let (mut units, mut ended) = (0, 0);
        for unit in self.all_units() {
            units += 1;
            let Some(report) = self.report_unit(unit) else { continue };
            if !matches!(report.status, Status::Running | Status::Waiting) {
                ended += 1;
            }
            let kind = report.site.map(|(_, kind)| kind);
            if report.status == Status::Waiting && waiting_for.is_none() {
                waiting_for = report.failure.as_ref().map(|f| f.message.clone());
            }
            transfers.count += u64::from(report.bytes_out > 0);
            transfers.bytes_out += report.bytes_out;
            transfers.bytes_in += report.bytes_in;
            transfers.denied += u64::from(report.denied);
            let total = totals.entry((unit.step as usize, kind, report.status.code())).or_insert_with(|| StepTotal {
                id: report.id.clone(),
                op: report.op.clone(),
                site_kind: kind,
                status: report.status,
                count: 0,
                seconds: 0.0,
                bytes_out: 0,
                bytes_in: 0,
                reason: report.reason.clone(),
            });
            total.count += 1;
            total.seconds += report.seconds;
            total.bytes_out += report.bytes_out;
            total.bytes_in += report.bytes_in;
        }
        let status = match self.finished {
            Some(status) => status,
            None if waiting_for.is_some() && self.nothing_runs() => Status::Waiting,
            None => Status::Running,
        };
        let error = match self.finished {
            Some(Status::Failed) => self.outputs().err().or_else(|| self.first_failure()),
            Some(Status::Waiting) => self.first_failure(),
            _ => None,
        };
        RunReport { status, waiting_for, error, totals: totals.into_values().collect(), transfers, units, ended }
    }

    fn nothing_runs(&self) -> bool {
        self.steps
            .iter()
            .flat_map(|s| &s.units)
            .all(|u| matches!(u.phase, UnitPhase::Ended(_) | UnitPhase::Stuck | UnitPhase::Idle))
    }

    fn first_failure(&self) -> Option<Failure> {
        (0..self.steps.len()).filter_map(|step| self.step_failure(step)).find(|f| f.status != Status::Skipped)
    }

    /// What became of a step as a whole.
    pub(super) fn step_status(&self, step: usize) -> Status {
        let state = &self.steps[step];
        if let Some(failure) = &state.ended {
            return failure.status;
        }
        if state.units.is_empty() {
            return Status::Succeeded;
        }
        let has = |wanted: Status| state.units.iter().any(|u| unit_status(u) == wanted);
        // One success is enough for a fan-out; otherwise the worst is told.
        for status in [Status::Unknown, Status::Succeeded, Status::Failed, Status::Refused, Status::Cancelled] {
            if has(status) {
                return status;
            }
        }
        Status::Skipped
    }

    /// Why a step has no output at all, if it has none.
    pub(super) fn step_failure(&self, step: usize) -> Option<Failure> {
        let state = &self.steps[step];
        if let Some(failure) = &state.ended {
            return Some(failure.clone());
        }
        if state.units.iter().any(|u| u.output.is_some()) {
            return None;
        }
        let worst = self.step_status(step);
        state.units.iter().find(|u| unit_status(u) == worst).and_then(|u| u.failure.as_deref().cloned())
    }
}

pub(super) fn unit_status(unit: &UnitState) -> Status {
    match unit.phase {
        UnitPhase::Ended(status) => status,
        UnitPhase::Stuck => Status::Waiting,
        _ => Status::Running,
    }
}
