//! Plays many seeds and tells how fast, and what they met.
//!
//! `cargo run --release -p tidegate-sim --example simulate -- --seeds 1000 --from 1`

use std::collections::BTreeMap;
use std::process::ExitCode;
use tidegate_seams::{Clock, SystemClock};
use tidegate_sim::{Plan, Report, run};

fn number(arguments: &[String], name: &str, default: u64) -> u64 {
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (seeds, from) = (number(&arguments, "--seeds", 100), number(&arguments, "--from", 1));
    let plan = Plan::default();
    let clock = SystemClock::new();
    let mut sum = Report::default();
    let mut faults = BTreeMap::new();
    let mut bad = 0;
    for seed in from..from.saturating_add(seeds) {
        let report = run(seed, &plan);
        if !report.violations.is_empty() {
            bad += 1;
            println!("{report}");
        } else if seeds == 1 {
            println!("trace {}", report.trace);
        }
        for (kind, times) in &report.faults {
            *faults.entry(kind.as_str()).or_insert(0) += times;
        }
        sum.acknowledged += report.acknowledged;
        sum.steps += report.steps;
        sum.refused += report.refused;
        sum.cancelled += report.cancelled;
        sum.executed += report.executed;
        sum.executed_again += report.executed_again;
        sum.frames += report.frames;
        sum.payloads += report.payloads;
        sum.commits += report.commits;
        sum.virtual_s += report.virtual_s;
    }
    let seconds = (clock.boot_us() as f64 / 1e6).max(1e-6);
    println!(
        "{seeds} seeds in {seconds:.1} s: {:.1} seeds/s, {:.0} steps/s",
        seeds as f64 / seconds,
        sum.steps as f64 / seconds
    );
    println!("{:.1} virtual hours, {:.0} times as fast as time", sum.virtual_s / 3600.0, sum.virtual_s / seconds);
    println!("runs {}, steps {}, refused {}, cancelled {}", sum.acknowledged, sum.steps, sum.refused, sum.cancelled);
    println!("attempts at the hub {}, executed again {}", sum.executed, sum.executed_again);
    println!("frames {}, payloads {}, commits {}", sum.frames, sum.payloads, sum.commits);
    println!("faults {faults:?}");
    println!("seeds with violations: {bad}");
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
