//! What scripts and other programs see of runs and of the audit log: the JSON of the contracts,
//! one line each, `v` 1. Additions are fine; a change raises `v`.

use crate::engine::{Engine, EngineError, RunView};
use serde_json::{Map, Value as Json, json};
use tidegate_domain::codes;
use tidegate_domain::detect::Category;
use tidegate_domain::ids::RunId;
use tidegate_domain::label::{Category as Labelled, Label};
use tidegate_domain::limits;
use tidegate_domain::placement::{Candidate, Decision};
use tidegate_domain::run::{Failure, RunReport, Status, StepReport, StepTotal};
use tidegate_domain::value::Value;
use tidegate_gate::{AuditEntry, TransferState, audit::forgotten_to_json};
use tidegate_store::{AuditRow, Store, StoreError};

/// Kinds of private data that no detector looks for; every output says so.
pub const NOT_COVERED: &[&str] = &[
    "names of people and places in running text",
    "health data",
    "pictures and scans",
    "secrets without a known shape",
];

/// A line of `type`.
pub fn line(kind: &str, members: Json) -> Json {
    let mut out = Map::new();
    out.insert("v".into(), json!(1));
    out.insert("type".into(), json!(kind));
    if let Json::Object(members) = members {
        out.extend(members);
    }
    Json::Object(out)
}

/// An error as scripts see it.
pub fn error(code: &str, message: &str) -> Json {
    let known = codes::find(code);
    line(
        "error",
        json!({
            "code": codes::word(code),
            "help": known.map(|c| c.code),
            "message": message,
            "hint": known.map(|c| c.remedy),
        }),
    )
}

fn failure(failure: &Failure) -> Json {
    let known = codes::find(&failure.code);
    json!({
        "code": codes::word(&failure.code),
        "help": known.map(|c| c.code),
        "message": failure.message,
        "hint": known.map(|c| c.remedy),
    })
}

/// A label.
pub fn label(label: &Label) -> Json {
    json!({
        "level": label.level.as_str(),
        "categories": label.categories.iter().map(Labelled::as_str).collect::<Vec<_>>(),
        "integrity": label.integrity.as_str(),
    })
}

/// The first line of a run.
pub fn run_started(view: &RunView) -> Json {
    let steps: Vec<Json> = view.steps().into_iter().map(|(id, op)| json!({"id": id, "op": op})).collect();
    line("run.started", json!({"run": view.row.run.to_string(), "workflow": view.workflow(), "steps": steps}))
}

/// A step's members.
pub fn step(report: &StepReport) -> Json {
    json!({
        "id": report.id,
        "item": report.item,
        "op": report.op,
        "site": report.site.map(|(site, _)| site.to_string()),
        "site_kind": report.site.map(|(_, kind)| kind.as_str()),
        "status": report.status.as_str(),
        "attempts": report.attempts,
        "label": label(&report.label),
        "seconds": report.seconds,
        "bytes_out": report.bytes_out,
        "bytes_in": report.bytes_in,
        "reason": report.reason,
        "error": report.failure.as_ref().map(failure),
    })
}

/// A step has ended.
pub fn step_finished(report: &StepReport) -> Json {
    line("step.finished", step(report))
}

fn step_total(total: &StepTotal) -> Json {
    json!({
        "id": total.id,
        "op": total.op,
        "site_kind": total.site_kind.map(|kind| kind.as_str()),
        "status": total.status.as_str(),
        "count": total.count,
        "seconds": total.seconds,
        "bytes_out": total.bytes_out,
        "bytes_in": total.bytes_in,
        "reason": total.reason,
    })
}

/// How far a run is, in totals.
pub fn run_progress(view: &RunView, report: &RunReport) -> Json {
    line(
        "run.progress",
        json!({
            "run": view.row.run.to_string(),
            "status": report.status.as_str(),
            "waiting_for": report.waiting_for,
            "units": report.units,
            "ended": report.ended,
            "step_totals": report.totals.iter().map(step_total).collect::<Vec<_>>(),
        }),
    )
}

/// The last line of a run, or the same for one that goes on.
pub fn run_finished(view: &RunView, now_ms: u64) -> Json {
    let report = view.report();
    let ended_ms = if view.row.ended_ms > 0 { view.row.ended_ms } else { now_ms };
    let units = view.units();
    let outputs: Map<String, Json> = view.outputs().into_iter().map(|(name, value)| (name, output(&value))).collect();
    let mut members = json!({
        "run": view.row.run.to_string(),
        "workflow": view.workflow(),
        "status": report.status.as_str(),
        "seconds": ended_ms.saturating_sub(view.row.started_ms) as f64 / 1e3,
        "outputs": outputs,
        "transfers": {
            "count": report.transfers.count,
            "bytes_out": report.transfers.bytes_out,
            "bytes_in": report.transfers.bytes_in,
            "denied": report.transfers.denied,
        },
        "waiting_for": report.waiting_for,
        "not_covered": NOT_COVERED,
        "step_totals": report.totals.iter().map(step_total).collect::<Vec<_>>(),
    });
    if let Json::Object(members) = &mut members {
        if let Some(cause) = &report.error {
            members.insert("error".into(), failure(cause));
        }
        let steps = if units.len() <= limits::REPORTED_STEPS_MAX {
            units.into_iter().filter_map(|unit| view.unit(unit)).map(|r| step(&r)).collect()
        } else {
            Vec::new()
        };
        members.insert("steps".into(), Json::Array(steps));
    }
    line("run.finished", members)
}

/// An output as scripts see it: a file is `{"path": …}` already, text kept as a blob is told by its
/// size.
fn output(value: &Value) -> Json {
    value.to_tree()
}

/// A run in a list.
pub fn run_row(engine: &Engine, row: &tidegate_store::RunRow, now_ms: u64) -> Json {
    let id = row.run;
    let mut status = Status::from_code(row.status);
    let mut waiting_for = None;
    if status == Status::Running
        && engine.is_active(id)
        && let Ok(view) = engine.view(id)
    {
        let report = view.report();
        status = report.status;
        waiting_for = report.waiting_for;
    }
    let ended_ms = if row.ended_ms > 0 { row.ended_ms } else { now_ms };
    line(
        "run",
        json!({
            "run": id.to_string(),
            "workflow": engine.name(row),
            "status": status.as_str(),
            "started": timestamp(row.started_ms),
            "seconds": ended_ms.saturating_sub(row.started_ms) as f64 / 1e3,
            "waiting_for": waiting_for,
        }),
    )
}

fn candidate(candidate: &Candidate) -> Json {
    let seconds = |us: u64| us as f64 / 1e6;
    json!({
        "site": candidate.site.to_string(),
        "site_kind": candidate.kind.as_str(),
        "feasible": candidate.excluded_by.is_none(),
        "excluded_by": candidate.excluded_by.as_ref().map(|e| e.name()),
        "why": match &candidate.excluded_by {
            Some(tidegate_domain::placement::Exclusion::Policy { why, .. }) => Some(why.clone()),
            _ => None,
        },
        "predicted": {
            "queue_s": seconds(candidate.queue_us),
            "transfer_s": seconds(candidate.transfer_us),
            "compute_s": seconds(candidate.compute_us),
            "total_s": seconds(candidate.total_us()),
        },
    })
}

/// Why a step ran where it ran.
pub fn explain_step(report: &StepReport) -> Json {
    let decision = report.decision.as_deref();
    let rule = decision.map(Decision::reason);
    line(
        "step.explained",
        json!({
            "id": report.id,
            "item": report.item,
            "op": report.op,
            "status": report.status.as_str(),
            "label": label(&report.label),
            "chosen": decision.and_then(Decision::winner).map(|w| w.site.to_string()),
            "chosen_kind": decision.and_then(Decision::winner).map(|w| w.kind.as_str()),
            "candidates": decision.map(|d| d.candidates.iter().map(candidate).collect::<Vec<_>>()).unwrap_or_default(),
            "observed": {
                "total_s": report.seconds,
                "compute_s": report.compute_seconds,
                "bytes_out": report.bytes_out,
                "bytes_in": report.bytes_in,
            },
            "rule": rule,
            "reason": report.reason,
            "snapshot_version": decision.map(|d| d.snapshot_version),
            "error": report.failure.as_ref().map(failure),
        }),
    )
}

/// Explanations of a run's steps, or of one. Of a fan-out, the items that differ in site or status.
pub fn explain(view: &RunView, wanted: Option<&str>) -> Vec<Json> {
    let mut lines = Vec::new();
    let mut seen: std::collections::HashSet<(String, Option<String>, u8)> = std::collections::HashSet::new();
    for unit in view.units() {
        let Some(report) = view.unit(unit) else { continue };
        if wanted.is_some_and(|step| step != report.id) {
            continue;
        }
        let kind = report.site.map(|(site, _)| site.to_string());
        if wanted.is_some() || seen.insert((report.id.clone(), kind, report.status.code())) {
            lines.push(explain_step(&report));
        }
        if lines.len() >= limits::REPORTED_STEPS_MAX {
            break;
        }
    }
    lines
}

/// A page of the audit log as lines, with the number to ask from next.
///
/// An intent whose `sent` entry lies on this or a later page reads `intent`; one without any reads
/// `possibly_sent`. Entries that say `sent` are lines of their own.
pub fn audit(
    store: &dyn Store,
    after: u64,
    run: Option<RunId>,
    limit: usize,
) -> Result<(Vec<Json>, Option<u64>), StoreError> {
    let rows = store.audit(after, run, limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|r| r.seq)).flatten();
    let decoded: Vec<(AuditRow, Option<AuditEntry>)> = rows
        .into_iter()
        .map(|row| {
            let entry = row.body.as_deref().and_then(|body| AuditEntry::decode(body).ok());
            (row, entry)
        })
        .collect();
    let sent: std::collections::HashSet<u64> =
        decoded.iter().filter_map(|(_, entry)| entry.as_ref()).filter_map(|entry| entry.refers_to).collect();
    let lines = decoded
        .into_iter()
        .map(|(row, entry)| match entry {
            None => line("audit", forgotten_to_json(row.seq, row.run, &row.hash, &row.prev)),
            Some(mut entry) => {
                if entry.state == Some(TransferState::Intent) && !sent.contains(&row.seq) && next.is_none() {
                    entry.state = Some(TransferState::PossiblySent);
                }
                line("audit", entry.to_json(row.seq, &row.hash, &row.prev))
            }
        })
        .collect();
    Ok((lines, next))
}

/// The result of verifying a store's chains.
pub fn audit_verified(result: Result<tidegate_store::Verified, StoreError>) -> Result<Json, Json> {
    match result {
        Ok(verified) => Ok(line(
            "audit.verified",
            json!({
                "entries": verified.audit_entries,
                "head": format!("blake3:{}", blake3::Hash::from_bytes(verified.audit_head).to_hex()),
                "journal_rows": verified.journal_rows,
            }),
        )),
        Err(corrupt) => {
            let mut out = error("E2003", &corrupt.to_string());
            if let (StoreError::Corrupt { seq, what, .. }, Json::Object(members)) = (&corrupt, &mut out) {
                members.insert("seq".into(), json!(seq));
                members.insert("what".into(), json!(what));
            }
            Err(out)
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub fn timestamp(wall_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(wall_ms as i64).map(|t| format!("{t:.3}")).unwrap_or_default()
}

/// An engine's error with its code.
pub fn engine_error(failed: &EngineError) -> (&'static str, Json) {
    let code = match failed {
        EngineError::Workflow(mistakes) => {
            let list: Vec<Json> = mistakes
                .iter()
                .map(|m| json!({"code": m.code, "line": m.line, "column": m.column, "message": m.message, "hint": m.hint}))
                .collect();
            let mut out = error("E1000", &failed.to_string());
            if let Json::Object(members) = &mut out {
                members.insert("mistakes".into(), Json::Array(list));
            }
            return ("E1000", out);
        }
        EngineError::NoRun(_) | EngineError::Forgotten(_) => "E2007",
        EngineError::Busy => "E4011",
        EngineError::Store(StoreError::Corrupt { .. }) | EngineError::Row(_) | EngineError::Run(_) => "E2003",
        EngineError::Store(_) => "E2002",
        EngineError::Tools(op) => op.code,
        EngineError::Internal(_) => "E2006",
    };
    (code, error(code, &failed.to_string()))
}

/// The categories detectors look for, for output.
pub fn covered() -> Vec<&'static str> {
    Category::ALL.into_iter().map(Category::as_str).collect()
}

/// An operation's declaration.
pub fn operation(spec: &tidegate_domain::ops::OpSpec) -> Json {
    line(
        "operation",
        json!({
            "name": spec.name,
            "version": spec.version,
            "summary": spec.summary,
            "effects": spec.effects.as_str(),
            "sites": spec.sites.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
            "needs": spec.needs.iter().map(|n| n.as_str()).collect::<Vec<_>>(),
            "onward": spec.onward,
            "cost": {"fixed_s": spec.cost.fixed_us as f64 / 1e6, "s_per_byte": spec.cost.ns_per_byte as f64 / 1e9},
            "input": tidegate_domain::schema::Type::Record(spec.input).json_schema(),
            "output": spec.output.json_schema(),
        }),
    )
}
