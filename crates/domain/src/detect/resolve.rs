//! Settling findings that overlap.
//!
//! Job: of findings on the same bytes keep what a reader wants to see: the
//! longer, and of equal ones the surer.
//!
//! Not its job: confidence itself; merging ranges for redaction (`redact.rs`).
//!
//! Why: several rules may see one value. Dropping what is contained loses no
//! byte; where two of one category overlap, their union does.

use super::{Category, Finding};

/// Sorts by start, drops contained findings, joins overlapping ones of the same
/// category and keeps overlapping ones of different categories.
pub fn settle(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by(|a, b| {
        a.start
            .cmp(&b.start)
            .then(b.end.cmp(&a.end))
            .then(b.confidence.total_cmp(&a.confidence))
            .then(a.category.cmp(&b.category))
            .then(a.rule.cmp(&b.rule))
    });
    let mut kept: Vec<Finding> = Vec::with_capacity(found.len());
    let mut last = [None::<usize>; Category::ALL.len()];
    let mut covered = 0;
    for finding in found {
        if finding.end <= covered {
            continue;
        }
        covered = finding.end;
        let Some(slot) = last.get_mut(finding.category as usize) else {
            continue;
        };
        match slot.and_then(|at| kept.get_mut(at)) {
            Some(before) if finding.start < before.end => {
                before.end = finding.end;
                if finding.confidence > before.confidence {
                    before.confidence = finding.confidence;
                    before.rule = finding.rule;
                }
            }
            _ => {
                *slot = Some(kept.len());
                kept.push(finding);
            }
        }
    }
    kept
}
