//! What a person sees: tables, the live tree, sentences. Data goes to standard output, everything
//! else to standard error.

mod brief;
mod screen;
mod tables;

pub use brief::{Question, mistakes};
pub use screen::Screen;
pub use tables::{AuditTable, checked, explained, finding, finished, operation, operations, runs, scanned, verified};

use serde_json::Value as Json;

/// A text member of a line; empty where there is none.
fn text<'j>(line: &'j Json, name: &str) -> &'j str {
    line.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A count among a line's members; 0 where there is none.
fn number(line: &Json, name: &str) -> u64 {
    line.get(name).and_then(Json::as_u64).unwrap_or_default()
}

/// Bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0 => "-".into(),
        1..=9_999 => format!("{count} B"),
        10_000..=9_999_999 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// A duration for people.
fn seconds(value: f64) -> String {
    match value {
        v if v <= 0.0 => "-".into(),
        v if v < 0.001 => format!("{:.0} µs", v * 1e6),
        v if v < 1.0 => format!("{:.1} ms", v * 1e3),
        v => format!("{v:.1} s"),
    }
}
