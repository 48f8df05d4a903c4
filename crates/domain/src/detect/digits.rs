//! Waking the rules that look at numbers.
//!
//! Job: find runs of digits fast and say, from their length, what stands before
//! and what follows, which rules deserve a try there.
//!
//! Not its job: trying them (`scan.rs`).
//!
//! Why: tables of numbers are full of digits and empty of secrets. Five table
//! look-ups, and-ed, turn away nearly every run before any pattern is tried.

use std::ops::Range;

use super::rules::{Lead, Rule, RulesError};
use super::scan::is_word;

/// The longest run of digits told apart from longer ones.
const RUN_MAX: usize = 40;
/// How far letters before digits are counted.
const LETTERS_MAX: usize = 7;

/// Which digit rules a run of digits wakes: one bit a rule, and-ed together.
#[derive(Debug)]
pub struct DigitIndex {
    /// The rule behind each bit.
    pub rules: Vec<usize>,
    by_length: [u64; RUN_MAX + 1],
    by_lead: [u64; 16],
    by_first: [u64; 10],
    by_next: Box<[u64; 256]>,
    by_second: Box<[u64; 256]>,
    /// The rules that rest unless the text has one of the words they need.
    pub needy: u64,
}

/// The next digit at or after `at`, skipping sixteen bytes at a time.
pub fn next_digit(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(block) = bytes.get(at..at + 16) {
        let hits = block.iter().fold(0u8, |any, b| any | u8::from(b.wrapping_sub(b'0') < 10));
        if hits != 0 {
            break;
        }
        at += 16;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(u8::is_ascii_digit).map(|i| at + i)
}

impl Default for DigitIndex {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            by_length: [0; RUN_MAX + 1],
            by_lead: [0; 16],
            by_first: [0; 10],
            by_next: Box::new([0; 256]),
            by_second: Box::new([0; 256]),
            needy: 0,
        }
    }
}

impl DigitIndex {
    /// Gives each rule on digits its bit.
    pub fn new(all: &[Rule]) -> Result<Self, RulesError> {
        let mut index = Self::default();
        for (at, rule) in all.iter().enumerate() {
            let Some(anchor) = &rule.digits else {
                continue;
            };
            let bit = index.rules.len();
            if bit >= 64 {
                return Err(RulesError::Rule {
                    rule: rule.id.to_string(),
                    problem: "there are more than 64 rules on digits",
                });
            }
            let bit = 1u64 << bit;
            index.rules.push(at);
            for (length, mask) in index.by_length.iter_mut().enumerate() {
                if anchor.lengths.iter().any(|(low, high)| (*low..=*high).contains(&length)) {
                    *mask |= bit;
                }
            }
            for lead in &anchor.leads {
                if let Some(mask) = index.by_lead.get_mut(*lead as usize) {
                    *mask |= bit;
                }
            }
            for (digit, mask) in index.by_first.iter_mut().enumerate() {
                let byte = b'0' + digit as u8;
                if anchor.first.as_ref().is_none_or(|first| first.contains(&byte)) {
                    *mask |= bit;
                }
            }
            if !rule.required.is_empty() {
                index.needy |= bit;
            }
            for (byte, mask) in index.by_second.iter_mut().enumerate() {
                let byte = byte as u8;
                if anchor.second.as_ref().is_none_or(|second| second.contains(&byte)) {
                    *mask |= bit;
                }
            }
            for (byte, mask) in index.by_next.iter_mut().enumerate() {
                let byte = byte as u8;
                if anchor.next.as_ref().is_none_or(|next| next.contains(&byte)) {
                    *mask |= bit;
                }
            }
        }
        Ok(index)
    }

    /// The bit of a rule, if it is one on digits.
    pub fn bit(&self, rule: usize) -> u64 {
        let bit = self.rules.iter().position(|at| *at == rule);
        bit.map_or(0, |bit| 1 << bit)
    }

    /// The rules that a run of digits wakes, a bit each.
    pub fn wake(&self, bytes: &[u8], lead: Lead, run: &Range<usize>) -> u64 {
        let first = bytes.get(run.start).map_or(0, |b| usize::from(b - b'0'));
        let next = bytes.get(run.end).map_or(0, |b| usize::from(*b));
        let second = bytes.get(run.end + 1).map_or(0, |b| usize::from(*b));
        let pick = |masks: &[u64], at: usize| masks.get(at).copied().unwrap_or(0);
        pick(&self.by_lead, lead as usize)
            & pick(&self.by_length, run.len().min(RUN_MAX))
            & pick(&self.by_first, first)
            & pick(self.by_next.as_slice(), next)
            & pick(self.by_second.as_slice(), second)
    }
}

/// What stands before the digits at `start`, and where a candidate that takes
/// it in would start.
pub fn lead_of(bytes: &[u8], start: usize) -> (Lead, usize) {
    let back = |n: usize| start.checked_sub(n).and_then(|i| bytes.get(i)).copied();
    let Some(before) = back(1) else {
        return (Lead::Edge, start);
    };
    match before {
        b'+' => (Lead::Plus, start - 1),
        b'(' => (Lead::Paren, start - 1),
        b' ' => match (back(2), back(3), back(4)) {
            (Some(b'0'..=b'9'), _, _) => (Lead::DigitSpace, start),
            (Some(b'A'..=b'Z'), Some(b'A'..=b'Z'), other) if !other.is_some_and(is_word) => {
                (Lead::Letters2Space, start - 3)
            }
            _ => (Lead::Edge, start),
        },
        b'.' | b'/' | b'-' if back(2).is_none_or(|b| is_word(b) || b == b' ' || b == b'/') => (Lead::Inside, start),
        b'_' | b'$' | b'#' | b'\\' => (Lead::Inside, start),
        _ if before.is_ascii_alphabetic() => {
            let letters = bytes
                .get(..start)
                .unwrap_or_default()
                .iter()
                .rev()
                .take(LETTERS_MAX)
                .take_while(|b| b.is_ascii_alphabetic())
                .count();
            let joined = back(letters + 1).is_some_and(|b| is_word(b) || b == b'-');
            match letters {
                // `\n` and `\t` as JSON and source code write them.
                1 if back(2) == Some(b'\\') => (Lead::Edge, start),
                1 if !joined => (Lead::Letters1, start - 1),
                2 if !joined => (Lead::Letters2, start - 2),
                6 if !joined => (Lead::Letters6, start - 6),
                _ => (Lead::Inside, start),
            }
        }
        _ => (Lead::Edge, start),
    }
}
