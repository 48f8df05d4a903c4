//! Speed of runs over the durable store, beside one synced SQLite append in the same run.
//!
//! `cargo xtask bench journal`. A step is its intent and its outcome row; a run of n steps has
//! 2n + 2 rows and a header, and its submission and its end are each acknowledged after a sync.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock and stops at any failure"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_domain::ops::SiteKind;
use tidegate_domain::run::Status;
use tidegate_engine::remote::Remote;
use tidegate_engine::site::Site;
use tidegate_engine::{Engine, Submission};
use tidegate_ops::context::SiteTools;
use tidegate_seams::Seams;

fn chain(steps: usize) -> String {
    let mut yaml = String::from("name: chain\nsteps:\n  - { id: s0, op: value.set, with: { value: 1 } }\n");
    for i in 1..steps {
        yaml.push_str(&format!("  - {{ id: s{i}, op: value.set, with: {{ value: \"${{s{}}}\" }} }}\n", i - 1));
    }
    yaml.push_str(&format!("outputs:\n  it: \"${{s{}}}\"\n", steps - 1));
    yaml
}

async fn one(engine: &Arc<Engine>, source: &str, out: &std::path::Path) {
    let submission = Submission {
        source: source.to_owned(),
        inputs: BTreeMap::new(),
        outputs: out.to_owned(),
        allow_redacted: false,
    };
    let view = engine.submit(submission).await.unwrap();
    let mut seen = view.version();
    while engine.is_active(view.row.run) {
        seen = view.changed(seen).await;
    }
    assert_eq!(view.finished(), Some(Status::Succeeded));
}

fn percentile(sorted: &[Duration], per_cent: usize) -> f64 {
    sorted[(sorted.len() - 1) * per_cent / 100].as_secs_f64() * 1e6
}

fn floor(dir: &std::path::Path) -> f64 {
    let db = rusqlite::Connection::open(dir.join("floor.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute("CREATE TABLE t (seq INTEGER PRIMARY KEY, body BLOB)", []).unwrap();
    let mut times: Vec<Duration> = (0..500)
        .map(|_| {
            let start = Instant::now();
            db.execute("INSERT INTO t (body) VALUES (?1)", [vec![7u8; 200]]).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    percentile(&times, 50)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path(), SiteKind::Device, Seams::system(), SiteTools::default(), 2).await.unwrap();
    let site = Arc::new(site);
    let engine = Engine::new(Arc::clone(&site), Remote::new(&site));
    let out = dir.path().join("outputs");
    let append_us = floor(dir.path());

    for (name, steps, goal) in [("journal.run_of_1_step", 1, 4.0), ("journal.run_of_10_steps", 10, 10.0)] {
        let source = chain(steps);
        for _ in 0..50 {
            one(&engine, &source, &out).await;
        }
        let mut times = Vec::new();
        for _ in 0..500 {
            let start = Instant::now();
            one(&engine, &source, &out).await;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let p50 = percentile(&times, 50);
        println!(
            "{}",
            serde_json::json!({"name": name, "unit": "us", "p50": p50, "p99": percentile(&times, 99), "n": 500,
                "floor": append_us, "floor_name": "one synced SQLite append", "ratio": p50 / append_us, "goal_ratio": goal})
        );
    }

    let source: Arc<str> = chain(10).into();
    let (clients, each) = (128, 40);
    let start = Instant::now();
    let mut work = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (engine, source, out) = (Arc::clone(&engine), Arc::clone(&source), out.clone());
        work.spawn(async move {
            for _ in 0..each {
                one(&engine, &source, &out).await;
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    let steps = (clients * each * 10) as f64;
    let rate = steps / start.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({"name": "journal.128_runs_at_once", "unit": "steps/s", "value": rate, "n": steps,
            "floor": 1e6 / append_us, "floor_name": "synced SQLite appends per second", "ratio": rate * append_us / 1e6, "goal": 30_000})
    );
}
