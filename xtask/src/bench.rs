//! Builds the benchmarks in release and runs them. Each prints one JSON line a figure: `name`,
//! `unit`, `p50`, `p99` or `value`, `n`, `floor` and `ratio`, the floor measured in the same run.

use crate::shell;

/// The benchmarks: name, package, example.
const BENCHMARKS: &[(&str, &str, &str)] = &[
    ("journal", "tidegate-engine", "bench_journal"),
    ("session", "tidegate-engine", "bench_session"),
    ("detectors", "tidegate-domain", "detect_speed"),
    ("memory", "tidegate", "bench_memory"),
];

/// Runs all benchmarks, or one.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    let names: Vec<&&str> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let wanted: Vec<_> = BENCHMARKS.iter().filter(|(name, ..)| names.is_empty() || names.contains(&name)).collect();
    if wanted.is_empty() {
        let known: Vec<&str> = BENCHMARKS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("there is no such benchmark; there are {}", known.join(", ")));
    }
    shell::cargo(&["build", "--release", "--quiet", "-p", "tidegate"])?;
    for (name, package, example) in wanted {
        shell::cargo(&["build", "--release", "--quiet", "-p", package, "--example", example])?;
        eprintln!("# {name}");
        shell::run(&shell::root().join("target/release/examples").join(example), &[])?;
    }
    Ok(())
}
