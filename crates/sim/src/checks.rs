//! What must hold, one named function each.
//!
//! Some are asked for every frame that leaves, some once everything has come to an end.

use crate::disk;
use crate::world::{Side, World};
use bytes::Bytes;
use std::collections::BTreeMap;
use tidegate_domain::ids::{Realm, RunId};
use tidegate_domain::label::Level;
use tidegate_domain::run::Status;
use tidegate_domain::value::codec;
use tidegate_engine::{Engine, RunView};
use tidegate_gate::AuditEntry;
use tidegate_store::Store;
use tidegate_transport::message::Message;

/// What a run came to, to be compared with the same run without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Result {
    pub(crate) status: Status,
    /// Name, canonical JSON and label of each output.
    pub(crate) outputs: Vec<(String, String, String)>,
    /// Each unit: step, item, status, label.
    pub(crate) units: Vec<(String, Option<u32>, Status, String)>,
}

impl Result {
    pub(crate) fn of(view: &RunView) -> Option<Self> {
        let status = view.finished()?;
        let output = |(name, value): (String, tidegate_domain::value::Value)| {
            (name, value.to_json(), value.joined_label().to_string())
        };
        let units = view.units().into_iter().filter_map(|unit| view.unit(unit));
        Some(Self {
            status,
            outputs: view.outputs().into_iter().map(output).collect(),
            units: units.map(|unit| (unit.id, unit.item, unit.status, unit.label.to_string())).collect(),
        })
    }
}

/// Promise 2: an acknowledged run exists, ends in time, and comes to what it comes to without
/// faults. One that was asked to stop may have stopped instead.
pub(crate) fn acknowledged_runs_end_as_without_faults(
    world: &World,
    engine: &Engine,
    acknowledged: &BTreeMap<usize, (RunId, bool)>,
    expected: Option<&BTreeMap<usize, Result>>,
) -> BTreeMap<usize, Result> {
    let mut found = BTreeMap::new();
    for (job, (run, cancelled)) in acknowledged {
        let view = match engine.view(*run) {
            Ok(view) => view,
            Err(error) => {
                world.violation(format!("job {job}: the acknowledged {run} is lost: {error}"));
                continue;
            }
        };
        let Some(result) = Result::of(&view) else {
            let report = view.report();
            let why = report.waiting_for.unwrap_or_default();
            world.violation(format!("job {job}: {run} has not ended: {} {why}", report.status.as_str()));
            continue;
        };
        let stopped = *cancelled && result.status == Status::Cancelled;
        match expected.and_then(|expected| expected.get(job)) {
            Some(expected) if *expected != result && !stopped => {
                let why = view.units().into_iter().filter_map(|unit| view.unit(unit)).find_map(|unit| {
                    let same = expected.units.iter().any(|e| {
                        e.0 == unit.id && e.1 == unit.item && e.2 == unit.status && e.3 == unit.label.to_string()
                    });
                    let failure = unit.failure.map(|f| format!("{} {}", f.code, f.message)).unwrap_or_default();
                    (!same).then(|| {
                        format!("{}[{:?}] {} {} {failure}", unit.id, unit.item, unit.status.as_str(), unit.label)
                    })
                });
                let (now, then) = (result.status.as_str(), expected.status.as_str());
                world.violation(format!(
                    "job {job}: {run} {now} differs from without faults ({then}): {}",
                    why.unwrap_or_default()
                ));
            }
            _ => {}
        }
        found.insert(*job, result);
    }
    found
}

/// Invariant I4: the hub records one outcome for one attempt, once.
pub(crate) fn each_attempt_is_recorded_once(world: &World) {
    let twice: Vec<String> = {
        let ledger = world.ledger();
        let twice = ledger.recorded.iter().filter(|(_, outcomes)| outcomes.len() > 1);
        twice.map(|(attempt, outcomes)| format!("{attempt} was recorded {} times", outcomes.len())).collect()
    };
    twice.into_iter().for_each(|what| world.violation(what));
}

/// Invariant I4, seen from the line: every answer to one attempt is the same answer.
pub(crate) fn one_answer(world: &World, from: Side, payload: &Bytes) {
    let Ok(Message::Outcome(outcome)) = Message::decode(payload.clone(), Realm::LOCAL) else { return };
    let digest = *blake3::hash(payload).as_bytes();
    let before = world.ledger().answered.insert(outcome.attempt, digest);
    if from == Side::Hub && before.is_some_and(|before| before != digest) {
        world.violation(format!("{} was answered in two ways", outcome.attempt));
    }
}

/// Invariant I2: as many intents with these bytes' digest were durable here as frames with them
/// have left, this one included.
pub(crate) fn payload_is_audited(world: &World, from: Side, payload: &Bytes) {
    let key = (from, *blake3::hash(payload).as_bytes());
    let (sent, intents) = {
        let mut ledger = world.ledger();
        let sent = ledger.sent.entry(key).or_default();
        *sent += 1;
        (*sent, ledger.intents.get(&key).copied().unwrap_or(0))
    };
    if sent > intents {
        let what = format!("a payload of {} bytes left the {}", payload.len(), from.as_str());
        world.violation(format!("{what} for the {sent}. time with {intents} durable intents"));
    }
}

/// Invariant I2, afterwards: the log itself still holds an intent for everything that left.
pub(crate) fn audit_log_covers_the_wire(world: &World, side: Side, store: &dyn Store) {
    let rows = match store.audit(0, None, usize::MAX) {
        Ok(rows) => rows,
        Err(error) => {
            return world.violation(format!("the audit log of the {} cannot be read: {error}", side.as_str()));
        }
    };
    let entries = rows.iter().filter_map(|row| AuditEntry::decode(row.body.as_deref()?).ok());
    let mut logged: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    entries.filter_map(|entry| disk::intent(&entry)).for_each(|digest| *logged.entry(digest).or_default() += 1);
    let missing = {
        let ledger = world.ledger();
        let sent = ledger.sent.iter().filter(|((from, _), _)| *from == side);
        sent.filter(|((_, digest), times)| logged.get(digest).is_none_or(|logged| logged < times)).count()
    };
    if missing > 0 {
        world.violation(format!("{missing} payloads left the {} and are not in its audit log", side.as_str()));
    }
}

/// Invariant I1, by content: no canary is on the wire, in any of the forms one is looked for.
pub(crate) fn no_canary(world: &World, from: Side, frame: &Bytes) {
    let found = world.canaries.iter().any(|canary| contains(frame, canary));
    if found {
        world.violation(format!("a secret is in a frame of the {}", from.as_str()));
    }
}

/// The forms in which a canary is looked for: as it is, reversed, in hex.
pub(crate) fn forms(canary: &str) -> [Vec<u8>; 3] {
    let hex = canary.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    [canary.as_bytes().to_vec(), canary.bytes().rev().collect(), hex]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut left = haystack;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = &left[at + 1..];
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Invariant I1, by label: what leaves is labelled as something that may leave.
pub(crate) fn labels_are_cleared(world: &World, from: Side, payload: &Bytes) {
    let value = match Message::decode(payload.clone(), Realm::LOCAL) {
        Ok(Message::Attempt(attempt)) => attempt.input,
        Ok(Message::Outcome(outcome)) => match outcome.result {
            Ok(done) => done.value,
            Err(_) => return,
        },
        Err(error) => return world.violation(format!("a payload of the {} cannot be read: {error}", from.as_str())),
    };
    match codec::decode(value.expose()) {
        Ok(value) => {
            let label = value.joined_label();
            if label.level > Level::Internal || !label.categories.is_empty() {
                world.violation(format!("a value labelled {label} left the {}", from.as_str()));
            }
        }
        Err(error) => world.violation(format!("a value on the wire cannot be read: {error}")),
    }
}

/// Invariant I9: both chains of a site verify.
pub(crate) fn chains_verify(world: &World, side: Side, store: &dyn Store) {
    if let Err(error) = store.verify() {
        world.violation(format!("the chains of the {} do not verify: {error}", side.as_str()));
    }
}
