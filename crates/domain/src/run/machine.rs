//! The transitions of a run.
//!
//! Two kinds of change: those that a [`Record`] carries ([`Run::apply`]) and those that follow from
//! them (a step opens when what it needs has ended; an item whose input is missing is skipped).
//! The second kind is derived again on replay by the same code, so it needs no rows.

use super::{
    Action, Attempt, Event, Failure, Outcome, Phase, PlaceRequest, Record, Run, RunError, Start, Status, StepState,
    Unit, UnitPhase, UnitState, failure_of, may_repeat, scope::RunScope,
};
use crate::expr::EvalError;
use crate::ids::{AttemptId, FencingToken, RunId};
use crate::label::Label;
use crate::limits;
use crate::ops::OpSpec;
use crate::placement::Decision;
use crate::value::{Node, Value};
use crate::workflow::{Each, Template, Workflow};
use std::sync::Arc;

/// Finds an operation's declaration by name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<&'static OpSpec>;

impl Run {
    /// A fresh run. Its first row is [`Record::Started`], which the caller appends before
    /// [`Event::Begin`].
    pub fn new(id: RunId, workflow: Arc<Workflow>, start: Arc<Start>, ops: Lookup<'_>) -> Result<Run, RunError> {
        let specs = workflow
            .steps
            .iter()
            .map(|step| ops(&step.op).ok_or_else(|| RunError::UnknownOperation(step.op.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let mut dependents = vec![Vec::new(); workflow.steps.len()];
        let mut required = vec![Vec::new(); workflow.steps.len()];
        let mut steps = Vec::with_capacity(workflow.steps.len());
        for (at, step) in workflow.steps.iter().enumerate() {
            let read = super::scope::roots_read(step);
            for need in &step.needs {
                dependents[*need].push(at as u32);
                if !read.contains(&workflow.steps[*need].id) {
                    required[at].push(*need as u32);
                }
            }
            steps.push(StepState {
                control: Label::PUBLIC,
                phase: Phase::Waiting { needs: step.needs.len() as u32 },
                units: Vec::new(),
                fan_out: step.each.is_some(),
                items: None,
                next_item: 0,
                running: 0,
                unfinished: 0,
                ended: None,
            });
        }
        let run_value =
            Value::map([("id", Value::text(id.to_string())), ("outputs", Value::text(start.outputs_dir.as_str()))]);
        let inputs_value =
            Value::new(Node::Map(start.inputs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()), Label::PUBLIC);
        let unfinished_steps = steps.len();
        Ok(Run {
            id,
            workflow,
            specs,
            dependents,
            required,
            start,
            run_value,
            inputs_value,
            steps,
            next_token: 1,
            cancelled: false,
            finished: None,
            unfinished_steps,
        })
    }

    /// Rebuilds a run from its journal, the first row ([`Record::Started`]) excepted, which made
    /// `self`. Afterwards [`Event::Begin`] goes on where the rows end.
    pub fn replay(&mut self, records: impl IntoIterator<Item = Record>) -> Result<(), RunError> {
        let mut unused = Vec::new();
        self.open_ready_steps(&mut unused);
        for record in records {
            self.apply(record)?;
            self.settle(&mut unused);
            unused.clear();
        }
        Ok(())
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The workflow it is pinned to.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// What it was started with.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// How it ended, if it has.
    pub fn finished(&self) -> Option<Status> {
        self.finished
    }

    /// Takes an event; the actions are to be carried out in order.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.finished.is_some() {
            return out;
        }
        match event {
            Event::Begin => self.begin(&mut out),
            Event::Placed { unit, attempt, decision, input, label } => {
                self.placed(unit, attempt, decision, input, label, &mut out);
            }
            Event::NotPlaced { unit, failure, decision } => self.not_placed(unit, failure, decision, &mut out),
            Event::Ended { unit, attempt, outcome } => self.ended(unit, attempt, outcome, &mut out),
            Event::Due { unit } => {
                if self.unit(unit).is_some_and(|u| u.phase == UnitPhase::BackingOff) {
                    self.ask_for_place(unit, &mut out);
                }
            }
            Event::SitesChanged => {
                for unit in self.units_in(UnitPhase::Stuck) {
                    self.ask_for_place(unit, &mut out);
                }
            }
            Event::Cancel => self.cancel(&mut out),
        }
        self.settle(&mut out);
        out
    }

    fn begin(&mut self, out: &mut Vec<Action>) {
        // What an earlier process had asked for or waited on is asked again.
        for phase in [UnitPhase::Placing, UnitPhase::Stuck, UnitPhase::BackingOff] {
            for unit in self.units_in(phase) {
                self.ask_for_place(unit, out);
            }
        }
        for unit in self.units_in(UnitPhase::Running) {
            self.recover(unit, out);
        }
        self.open_ready_steps(out);
        if self.cancelled {
            self.stop_everything(out);
        }
    }

    /// An attempt that an earlier process began: made again under the same id, so that whoever
    /// recorded its outcome gives that back instead of doing it twice.
    fn recover(&mut self, unit: Unit, out: &mut Vec<Action>) {
        let op = self.specs[unit.step as usize];
        let Some(history) = self.unit(unit).and_then(|u| u.history.clone()) else { return };
        let (Some((attempt, token)), Some(decision)) = (history.attempt, history.decision.clone()) else { return };
        let Some(winner) = decision.winner() else { return };
        if !may_repeat(op.effects) {
            let message = format!("`{}` was begun and nobody can know whether it happened", op.name);
            let failure = Failure::new(Status::Unknown, "E4005", message);
            return self.conclude(unit, Some(attempt), failed(failure), None, out);
        }
        match self.evaluate(unit) {
            Ok((input, label)) => out.push(Action::Perform(Box::new(Attempt {
                unit,
                attempt,
                token,
                op,
                input,
                label,
                site: winner.site,
                site_kind: winner.kind,
                timeout_ms: self.workflow.steps[unit.step as usize].timeout_ms,
                recovering: true,
                prepared: history.prepared,
            }))),
            Err(failure) => self.conclude(unit, Some(attempt), failed(failure), None, out),
        }
    }

    fn placed(
        &mut self,
        unit: Unit,
        attempt: AttemptId,
        decision: Arc<Decision>,
        input: Arc<Value>,
        label: Label,
        out: &mut Vec<Action>,
    ) {
        if self.unit(unit).is_none_or(|u| u.phase != UnitPhase::Placing) {
            return;
        }
        let Some((site, site_kind)) = decision.winner().map(|w| (w.site, w.kind)) else { return };
        let token = FencingToken(self.next_token);
        self.record(Record::Intent { unit, attempt, token, decision }, out);
        out.push(Action::Perform(Box::new(Attempt {
            unit,
            attempt,
            token,
            op: self.specs[unit.step as usize],
            input,
            label,
            site,
            site_kind,
            timeout_ms: self.workflow.steps[unit.step as usize].timeout_ms,
            recovering: false,
            prepared: None,
        })));
    }

    fn not_placed(&mut self, unit: Unit, failure: Failure, decision: Arc<Decision>, out: &mut Vec<Action>) {
        let Some(state) = self.unit_mut(unit) else { return };
        if state.phase != UnitPhase::Placing {
            return;
        }
        if failure.status == Status::Waiting {
            state.phase = UnitPhase::Stuck;
            state.failure = Some(Box::new(failure));
            out.push(Action::Notify(unit));
            return;
        }
        let mut outcome = failed(failure);
        outcome.denied = u32::from(outcome.result.as_ref().is_err_and(|f| f.status == Status::Refused));
        self.conclude(unit, None, outcome, Some(decision), out);
    }

    fn ended(&mut self, unit: Unit, attempt: AttemptId, outcome: Outcome, out: &mut Vec<Action>) {
        let current = self.unit(unit).filter(|u| u.phase == UnitPhase::Running);
        let ours = current.and_then(|u| u.history.as_ref()?.attempt).is_some_and(|(id, _)| id == attempt);
        // An outcome of an attempt that is not the current one is of no interest any more.
        if ours {
            self.conclude(unit, Some(attempt), outcome, None, out);
        }
    }

    fn conclude(
        &mut self,
        unit: Unit,
        attempt: Option<AttemptId>,
        mut outcome: Outcome,
        decision: Option<Arc<Decision>>,
        out: &mut Vec<Action>,
    ) {
        let retry = self.workflow.steps[unit.step as usize].retry;
        let attempts = self.unit(unit).map_or(0, |u| u.attempts);
        let again = !self.cancelled
            && attempts < retry.attempts
            && outcome.result.as_ref().is_err_and(|f| f.retryable && f.status == Status::Failed);
        let control = &self.steps[unit.step as usize].control;
        if let Ok(value) = &mut outcome.result
            && *control != Label::PUBLIC
        {
            Arc::make_mut(value).raise_all(control);
        }
        self.record(Record::Outcome { unit, attempt, outcome, decision, again }, out);
        if again {
            let doublings = attempts.saturating_sub(1).min(10);
            out.push(Action::Later { unit, after_ms: retry.backoff_ms.saturating_mul(1 << doublings) });
        } else {
            out.push(Action::Notify(unit));
        }
    }

    fn cancel(&mut self, out: &mut Vec<Action>) {
        if self.cancelled {
            return;
        }
        self.record(Record::Cancelled, out);
        self.stop_everything(out);
    }

    fn stop_everything(&mut self, out: &mut Vec<Action>) {
        for unit in self.units_in(UnitPhase::Running) {
            let history = self.unit(unit).and_then(|u| u.history.as_ref());
            let attempt = history.and_then(|h| h.attempt);
            let site = history.and_then(|h| h.decision.as_ref()?.winner()).map(|w| w.site);
            if let (Some((attempt, _)), Some(site)) = (attempt, site) {
                out.push(Action::Abort { attempt, site });
            }
        }
        let idle = [UnitPhase::Idle, UnitPhase::Placing, UnitPhase::Stuck, UnitPhase::BackingOff];
        for unit in idle.into_iter().flat_map(|phase| self.units_in(phase)).collect::<Vec<_>>() {
            self.end_unit(unit, Err(cancelled_failure()));
        }
        for step in 0..self.steps.len() {
            if matches!(self.steps[step].phase, Phase::Waiting { .. }) {
                self.end_step(step, cancelled_failure());
            }
        }
    }

    /// Applies a row and hands it out for the journal.
    fn record(&mut self, record: Record, out: &mut Vec<Action>) {
        // The rows made here speak of units that exist, so applying cannot fail.
        if self.apply(record.clone()).is_ok() {
            out.push(Action::Append(record));
        }
    }

    fn apply(&mut self, record: Record) -> Result<(), RunError> {
        match record {
            Record::Started(_) => {}
            Record::Intent { unit, attempt, token, decision } => {
                self.next_token = self.next_token.max(token.0 + 1);
                let state = self.unit_mut(unit).ok_or(RunError::StrayRow)?;
                let was_idle = state.phase == UnitPhase::Idle;
                state.phase = UnitPhase::Running;
                state.attempts += 1;
                let history = state.history.get_or_insert_default();
                history.attempt = Some((attempt, token));
                history.decision = Some(decision);
                history.prepared = None;
                if was_idle {
                    self.steps[unit.step as usize].running += 1;
                }
            }
            Record::Prepared { unit, attempt, state } => {
                let history = self.unit_mut(unit).ok_or(RunError::StrayRow)?.history.get_or_insert_default();
                if history.attempt.is_some_and(|(current, _)| current == attempt) {
                    history.prepared = Some(state);
                }
            }
            Record::Outcome { unit, outcome, decision, again, .. } => {
                let state = self.unit_mut(unit).ok_or(RunError::StrayRow)?;
                let history = state.history.get_or_insert_default();
                history.total_us += outcome.total_us;
                history.compute_us += outcome.compute_us;
                history.bytes_out += outcome.bytes_out;
                history.bytes_in += outcome.bytes_in;
                history.denied += outcome.denied;
                if decision.is_some() {
                    history.decision = decision;
                }
                if again {
                    state.phase = UnitPhase::BackingOff;
                } else {
                    self.end_unit(unit, outcome.result);
                }
            }
            Record::Cancelled => self.cancelled = true,
            Record::Finished { status } => self.finished = Some(status),
        }
        Ok(())
    }

    fn end_unit(&mut self, unit: Unit, result: Result<Arc<Value>, Failure>) {
        let Some(state) = self.unit_mut(unit) else { return };
        if matches!(state.phase, UnitPhase::Ended(_)) {
            return;
        }
        let was_begun = state.phase != UnitPhase::Idle;
        match result {
            Ok(output) => {
                state.phase = UnitPhase::Ended(Status::Succeeded);
                state.output = Some(output);
                state.failure = None;
            }
            Err(failure) => {
                state.phase = UnitPhase::Ended(failure.status);
                state.failure = Some(Box::new(failure));
            }
        }
        let step = &mut self.steps[unit.step as usize];
        step.unfinished -= 1;
        if was_begun {
            step.running = step.running.saturating_sub(1);
        }
    }

    /// Carries out everything that follows from the rows so far.
    fn settle(&mut self, out: &mut Vec<Action>) {
        if self.finished.is_some() {
            return;
        }
        let mut changed = true;
        while changed {
            changed = false;
            for step in 0..self.steps.len() {
                if self.steps[step].phase != Phase::Active {
                    continue;
                }
                self.begin_items(step, out);
                if self.steps[step].unfinished == 0 {
                    self.close_step(step);
                    changed = true;
                }
            }
            changed |= self.open_ready_steps(out);
        }
        if self.unfinished_steps == 0 {
            let status = self.conclusion();
            self.record(Record::Finished { status }, out);
            out.push(Action::Finish(status));
        }
    }

    fn close_step(&mut self, step: usize) {
        if self.steps[step].phase == Phase::Ended {
            return;
        }
        self.steps[step].phase = Phase::Ended;
        self.unfinished_steps -= 1;
        for at in 0..self.dependents[step].len() {
            let dependent = self.dependents[step][at] as usize;
            if let Phase::Waiting { needs } = &mut self.steps[dependent].phase {
                *needs = needs.saturating_sub(1);
            }
        }
    }

    fn end_step(&mut self, step: usize, failure: Failure) {
        self.steps[step].ended = Some(failure);
        self.close_step(step);
    }

    fn open_ready_steps(&mut self, out: &mut Vec<Action>) -> bool {
        let mut opened = false;
        for step in 0..self.steps.len() {
            if self.steps[step].phase == (Phase::Waiting { needs: 0 }) {
                self.open_step(step, out);
                opened = true;
            }
        }
        opened
    }

    fn open_step(&mut self, step: usize, out: &mut Vec<Action>) {
        let workflow = Arc::clone(&self.workflow);
        let definition = &workflow.steps[step];
        if self.cancelled {
            return self.end_step(step, cancelled_failure());
        }
        let fruitless = self.required[step].iter().find(|need| !self.came_to_something(**need as usize));
        if let Some(need) = fruitless {
            let message = format!("needs `{}`, which came to nothing", workflow.steps[*need as usize].id);
            return self.end_step(step, Failure::new(Status::Skipped, "E4002", message));
        }
        let mut control = Label::PUBLIC;
        let per_item = definition.when.as_ref().is_some_and(super::scope::reads_item);
        if let Some(when) = definition.when.as_ref().filter(|_| !per_item) {
            match truth(when, &RunScope::of(self, None)) {
                Ok((truth, label)) => {
                    control.raise(&label);
                    if !truth {
                        self.steps[step].control = control;
                        return self.end_step(step, not_needed());
                    }
                }
                Err(failure) => return self.end_step(step, failure),
            }
        }
        let count = match &definition.each {
            None => 1,
            Some(each) => match self.list_of(step, each) {
                Ok(list) => {
                    control.raise(&list.label);
                    let Some(length) = list.as_list().map(<[Value]>::len) else {
                        let message = format!("`each` needs a list and got a {}", list.kind_name());
                        return self.end_step(step, Failure::new(Status::Failed, "E4003", message));
                    };
                    if length > limits::ITEMS_MAX {
                        let message = format!("`each` has {length} items, the limit is {}", limits::ITEMS_MAX);
                        return self.end_step(step, Failure::new(Status::Failed, "E4004", message));
                    }
                    self.steps[step].items = Some(list);
                    length
                }
                Err(error) => return self.end_step(step, failure_of(&error)),
            },
        };
        let idle = UnitState { phase: UnitPhase::Idle, attempts: 0, output: None, failure: None, history: None };
        let state = &mut self.steps[step];
        state.control = control;
        state.phase = Phase::Active;
        state.units = vec![idle; count];
        state.unfinished = count;
        self.begin_items(step, out);
    }

    /// The list a fan-out goes over. Outputs never change, so steps that go over the same
    /// expression share one list: of a large folder it is the largest value of a run.
    fn list_of(&self, step: usize, each: &Each) -> Result<Arc<Value>, EvalError> {
        let source = |template: &Template| match template {
            Template::Expr(expr) => Some(expr.source().to_owned()),
            _ => None,
        };
        let same = source(&each.over).and_then(|wanted| {
            let other = |at: &usize| {
                let over = self.workflow.steps[*at].each.as_ref().map(|each| &each.over);
                *at != step && over.and_then(&source).is_some_and(|found| found == wanted)
            };
            (0..self.steps.len()).filter(other).find_map(|at| self.steps[at].items.clone())
        });
        match same {
            Some(list) => Ok(list),
            None => each.over.eval(&RunScope::of(self, None)).map(Arc::new),
        }
    }

    /// Begins items of a step up to its concurrency.
    fn begin_items(&mut self, step: usize, out: &mut Vec<Action>) {
        let concurrency = self.workflow.steps[step].each.as_ref().map_or(1, |each| each.concurrency.max(1));
        while self.steps[step].running < concurrency && self.steps[step].next_item < self.steps[step].units.len() {
            let item = self.steps[step].next_item;
            self.steps[step].next_item += 1;
            if self.steps[step].units[item].phase != UnitPhase::Idle {
                continue;
            }
            let unit = Unit { step: step as u32, item: self.steps[step].fan_out.then_some(item as u32) };
            if self.cancelled {
                self.end_unit(unit, Err(cancelled_failure()));
                continue;
            }
            self.begin_unit(unit, out);
        }
    }

    fn begin_unit(&mut self, unit: Unit, out: &mut Vec<Action>) {
        let workflow = Arc::clone(&self.workflow);
        let definition = &workflow.steps[unit.step as usize];
        if let Some(when) = definition.when.as_ref().filter(|when| super::scope::reads_item(when)) {
            match truth(when, &RunScope::of(self, Some(unit))) {
                Ok((true, label)) => self.steps[unit.step as usize].control.raise(&label),
                Ok((false, label)) => {
                    self.steps[unit.step as usize].control.raise(&label);
                    self.end_unit(unit, Err(not_needed()));
                    out.push(Action::Notify(unit));
                    return;
                }
                Err(failure) => {
                    self.end_unit(unit, Err(failure));
                    out.push(Action::Notify(unit));
                    return;
                }
            }
        }
        self.steps[unit.step as usize].running += 1;
        self.ask_for_place(unit, out);
    }

    fn ask_for_place(&mut self, unit: Unit, out: &mut Vec<Action>) {
        match self.evaluate(unit) {
            Ok((input, label)) => {
                if let Some(state) = self.unit_mut(unit) {
                    state.phase = UnitPhase::Placing;
                    state.failure = None;
                }
                let step = unit.step as usize;
                let place = self.workflow.steps[step].place;
                out.push(Action::Place(Box::new(PlaceRequest { unit, op: self.specs[step], input, label, place })));
            }
            Err(failure) => {
                if let Some(state) = self.unit_mut(unit) {
                    state.phase = UnitPhase::Placing;
                }
                self.end_unit(unit, Err(failure));
                out.push(Action::Notify(unit));
            }
        }
    }

    /// A unit's input, and the join of its labels with the control flow's.
    fn evaluate(&self, unit: Unit) -> Result<(Arc<Value>, Label), Failure> {
        let step = unit.step as usize;
        let scope = RunScope::of(self, Some(unit));
        let input = self.workflow.steps[step].with.eval(&scope).map_err(|error| failure_of(&error))?;
        let label = input.joined_label().join(&self.steps[step].control);
        Ok((Arc::new(input), label))
    }

    fn came_to_something(&self, step: usize) -> bool {
        let state = &self.steps[step];
        state.ended.is_none() && (state.units.is_empty() || state.units.iter().any(|u| u.output.is_some()))
    }

    pub(super) fn unit(&self, unit: Unit) -> Option<&UnitState> {
        self.steps.get(unit.step as usize)?.units.get(unit.item.unwrap_or(0) as usize)
    }

    fn unit_mut(&mut self, unit: Unit) -> Option<&mut UnitState> {
        self.steps.get_mut(unit.step as usize)?.units.get_mut(unit.item.unwrap_or(0) as usize)
    }

    fn units_in(&self, phase: UnitPhase) -> Vec<Unit> {
        let mut found = Vec::new();
        for (step, state) in self.steps.iter().enumerate() {
            for (item, unit) in state.units.iter().enumerate() {
                if unit.phase == phase {
                    found.push(Unit { step: step as u32, item: state.fan_out.then_some(item as u32) });
                }
            }
        }
        found
    }

    /// How the run ends, all its steps having ended.
    fn conclusion(&self) -> Status {
        if self.cancelled {
            return Status::Cancelled;
        }
        let statuses = || (0..self.steps.len()).map(|step| self.step_status(step));
        if statuses().any(|s| s == Status::Unknown) {
            return Status::Waiting;
        }
        if self.workflow.outputs.is_empty() {
            return if statuses().any(|s| matches!(s, Status::Failed | Status::Refused)) {
                Status::Failed
            } else {
                Status::Succeeded
            };
        }
        if self.outputs().is_ok() { Status::Succeeded } else { Status::Failed }
    }

    /// The values of the workflow's outputs, or the first failure that keeps one from existing.
    pub fn outputs(&self) -> Result<Vec<(String, Value)>, Failure> {
        let scope = RunScope::of(self, None);
        let mut values = Vec::with_capacity(self.workflow.outputs.len());
        for (name, template) in &self.workflow.outputs {
            match template.eval(&scope) {
                Ok(value) => values.push((name.clone(), value)),
                Err(error) => return Err(self.root_cause(failure_of(&error), &error)),
            }
        }
        Ok(values)
    }

    /// Follows a missing value to the step that failed or was refused first.
    fn root_cause(&self, failure: Failure, error: &crate::expr::EvalError) -> Failure {
        let mut cause = failure;
        let mut root = match error {
            crate::expr::EvalError::Missing { root } => root.clone(),
            _ => return cause,
        };
        for _ in 0..self.steps.len() {
            let Some(step) = self.workflow.steps.iter().position(|s| s.id == root) else { break };
            let Some(found) = self.step_failure(step) else { break };
            let next = self.workflow.steps[step].needs.iter().find(|need| self.step_failure(**need).is_some());
            cause = found;
            match next {
                Some(need) if cause.status == Status::Skipped => root = self.workflow.steps[*need].id.clone(),
                _ => break,
            }
        }
        cause
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome { result: Err(failure), total_us: 0, compute_us: 0, bytes_out: 0, bytes_in: 0, denied: 0 }
}

fn cancelled_failure() -> Failure {
    Failure::new(Status::Cancelled, "E4006", "the run was cancelled")
}

fn not_needed() -> Failure {
    Failure::new(Status::Skipped, "E4007", "`when` is false")
}

fn truth(when: &crate::expr::Expr, scope: &RunScope<'_>) -> Result<(bool, Label), Failure> {
    let value = when.eval(scope).map_err(|error| failure_of(&error))?;
    match value.as_bool() {
        Some(truth) => Ok((truth, value.joined_label())),
        None => {
            let message = format!("`when` needs true or false and got a {}", value.kind_name());
            Err(Failure::new(Status::Failed, "E4003", message))
        }
    }
}
