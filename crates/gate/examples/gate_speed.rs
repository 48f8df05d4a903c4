//! How long a decision takes: `cargo run --release -p tidegate-gate --example gate_speed`.
//!
//! One line a figure, in nanoseconds: median and 99th percentile of batches, compared with one bare
//! evaluation of the owner's policies, measured in the same run.

use bytes::Bytes;
use std::hint::black_box;
use tidegate_domain::ids::{Realm, RunId, SiteId, WorkspaceId};
use tidegate_domain::label::{Categories, Label, Level};
use tidegate_domain::ops::SiteKind;
use tidegate_gate::{Destination, Downgrade, DowngradeKind, Gate, GateError, GrantScope, Question, Side, Transfer};
use tidegate_seams::{Clock, Seams, SystemClock};

const BATCH: usize = 200;
const BATCHES: usize = 1_000;

fn main() -> Result<(), GateError> {
    let realm = Realm::LOCAL;
    let gate = Gate::in_memory(Side::Device, SiteId { realm, bits: 1 }, Seams::system())?;
    let label = Label { workspaces: vec![WorkspaceId { realm, bits: 10 }], ..Label::of(Level::Internal) };
    let destination = Destination { site: SiteId { realm, bits: 2 }, kind: SiteKind::Hub, onward: Vec::new() };
    let q =
        Question { label: &label, destination: &destination, purpose: "text.embed", speculative: false, origin: None };
    let clock = SystemClock::new();

    let Some(raw) = gate.floor_evaluation(&q) else { return Ok(()) };
    let floor = measure("floor: one bare evaluation, owner's set", None, &clock, BATCH, raw);

    let mut n = 0u32;
    let uncached = measure("would_transfer, not seen before", Some(floor), &clock, 20, || {
        n += 1;
        let purpose = format!("op.{n}");
        gate.would_transfer(&Question { purpose: &purpose, ..q }).is_allowed()
    });
    black_box(uncached);
    measure("would_transfer, repeated", Some(floor), &clock, BATCH, || gate.would_transfer(&q).is_allowed());

    for (name, size) in [("64 B", 64), ("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let payload = Bytes::from(vec![7u8; size]);
        let name = format!("judge, repeated, with audit entry, {name}");
        measure(&name, Some(floor), &clock, BATCH, || {
            let t = Transfer {
                run: Some(RunId { realm, bits: 5 }),
                attempt: None,
                step: "embed".to_owned(),
                item: Some(3),
                label: label.clone(),
                destination: destination.clone(),
                purpose: "text.embed".to_owned(),
                speculative: false,
                origin: None,
                payload: payload.clone(),
            };
            black_box(gate.judge(t, 1_790_000_000_000).write())
        });
    }

    gate.grant_redaction(WorkspaceId { realm, bits: 10 }, GrantScope::Always, 0)?;
    let from = Label { level: Level::Confidential, ..label.clone() };
    let d = Downgrade {
        kind: DowngradeKind::Redact,
        op: "text.redact",
        from: &from,
        run: None,
        step: "redact",
        item: None,
        residue: Categories::NONE,
    };
    measure("would_downgrade, repeated", Some(floor), &clock, BATCH, || gate.would_downgrade(&d).ask.is_some());
    measure("downgrade, repeated, with audit entry", Some(floor), &clock, BATCH, || gate.downgrade(&d, 0));
    let (mut n, mut unseen) = (0u128, d);
    measure("downgrade, not seen before, with audit entry", Some(floor), &clock, 20, || {
        n += 1;
        unseen.run = Some(RunId { realm, bits: n });
        gate.downgrade(&unseen, 0)
    });
    measure("grant and revoke", Some(floor), &clock, 1, || {
        let made = gate.grant_redaction(WorkspaceId { realm, bits: 11 }, GrantScope::Always, 0);
        made.ok().map(|(record, _)| gate.revoke(record.id, 0).is_some())
    });
    Ok(())
}

fn measure<T>(name: &str, floor: Option<f64>, clock: &dyn Clock, batch: usize, mut once: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..BATCHES + 50)
        .map(|_| {
            let start = clock.boot_us();
            // Whole microseconds: a batch must take many of them.
            for _ in 0..batch {
                black_box(once());
            }
            (clock.boot_us() - start) as f64 * 1_000.0 / batch as f64
        })
        .skip(50)
        .collect();
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let ratio = floor.map(|f| format!("  {:6.2} x floor", p50 / f)).unwrap_or_default();
    println!("{name:<48} p50 {p50:>9.0} ns  p99 {p99:>9.0} ns  n {}{ratio}", BATCHES * batch);
    p50
}
