//! Running the rules over a text.
//!
//! Job: one pass that finds keywords, one that finds runs of digits, and the
//! few rules that each candidate wakes, tried at that place in a bounded window.
//!
//! Not its job: what a rule looks for (`rules/*.toml`), whether a value is
//! valid (`validate.rs`), disguises (`disguise.rs`), overlaps (`resolve.rs`).
//!
//! Why: a regular expression over everything costs the same on prose as on
//! secrets. Nearly all bytes are prose, so they meet only an automaton step and
//! a vector comparison; and since each window is bounded and each rule goes on
//! after the end of what it found, no input costs more than linear time.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

use super::digits::{self, DigitIndex};
use super::rules::{self, Edge, Lead, Rule, RulesError};
use super::validate::{Candidate, Validator};
use super::{Category, Finding, disguise, resolve, secret};

const BUILTIN: [&str; 5] = [
    include_str!("rules/contact.toml"),
    include_str!("rules/person.toml"),
    include_str!("rules/financial.toml"),
    include_str!("rules/tokens.toml"),
    include_str!("rules/secrets.toml"),
];

/// A compiled set of rules.
#[derive(Debug)]
pub struct Detectors {
    pub(super) rules: Vec<Rule>,
    /// None when the rules could not be loaded: then everything is a finding.
    keywords: Option<AhoCorasick>,
    /// For each keyword, the rules it wakes and, a bit each, the digit rules
    /// that need it nearby.
    by_keyword: Vec<(Vec<usize>, u64)>,
    digits: DigitIndex,
}

impl Detectors {
    /// The rules that come with Tidegate, compiled once for the process.
    ///
    /// Should they not load — a test makes sure they do — the result calls
    /// every text a finding, so that nothing passes for clean unseen.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILT: OnceLock<Detectors> = OnceLock::new();
        BUILT.get_or_init(|| load_builtin().unwrap_or_else(|_| Self::broken()))
    }

    /// Compiles rule files of the same shape as the built-in ones.
    ///
    /// # Errors
    ///
    /// [`RulesError`] names the rule that does not fit.
    pub fn from_toml(files: &[&str]) -> Result<Self, RulesError> {
        let mut rules = Vec::new();
        for file in files {
            rules.extend(rules::read(file)?);
        }
        let digits = DigitIndex::new(&rules)?;
        let mut words: Vec<String> = Vec::new();
        let mut by_keyword: Vec<(Vec<usize>, u64)> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let needed = digits.bit(index);
            for word in rule.keywords.iter().chain(&rule.required) {
                let at = words.iter().position(|w| w == word).unwrap_or_else(|| {
                    words.push(word.clone());
                    by_keyword.push((Vec::new(), 0));
                    words.len() - 1
                });
                if let Some((woken, needing)) = by_keyword.get_mut(at) {
                    *needing |= needed;
                    if needed == 0 && !woken.contains(&index) {
                        woken.push(index);
                    }
                }
            }
        }
        let keywords = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(&words)
            .map_err(|error| RulesError::Keywords(Box::new(error)))?;
        Ok(Self { rules, keywords: Some(keywords), by_keyword, digits })
    }

    /// Every private value in `text`, sorted by start.
    ///
    /// Of findings that lie within one another the longer stays; findings of
    /// one category that overlap become one. Takes time linear in the text.
    #[must_use]
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.keywords.is_none() {
            if !text.is_empty() {
                found.push(Finding {
                    category: Category::PrivateKey,
                    rule: Arc::from("builtin.unusable"),
                    confidence: 1.0,
                    start: 0,
                    end: text.len(),
                });
            }
            return found;
        }
        self.scan_plain(text, &mut found);
        disguise::scan_normalised(self, text, &mut found);
        disguise::scan_percent(self, text, &mut found);
        let found = resolve::settle(found);
        disguise::scan_base64(self, text, found)
    }

    /// The text as it stands, without looking behind disguises or settling
    /// overlaps.
    pub(super) fn scan_plain(&self, text: &str, found: &mut Vec<Finding>) {
        let mut done_until = vec![0usize; self.rules.len()];
        let words_seen = self.scan_keywords(text, &mut done_until, found);
        let resting = self.digits.needy & !words_seen;
        self.scan_digits(text, resting, &mut done_until, found);
    }

    /// Tries the rules on keywords; says which digit rules have a word they need.
    fn scan_keywords(&self, text: &str, done_until: &mut [usize], found: &mut Vec<Finding>) -> u64 {
        let mut words_seen = 0;
        let bytes = text.as_bytes();
        let Some(keywords) = &self.keywords else {
            return words_seen;
        };
        for hit in keywords.find_overlapping_iter(text) {
            let Some((woken, needing)) = self.by_keyword.get(hit.pattern().as_usize()) else {
                continue;
            };
            words_seen |= needing;
            for &index in woken {
                let (Some(rule), Some(done)) = (self.rules.get(index), done_until.get_mut(index)) else {
                    continue;
                };
                if hit.start() < *done || !edge_before(bytes, hit.start(), rule.left) {
                    continue;
                }
                if let Some(run) = rule.ahead {
                    let after = bytes.get(hit.end()..).unwrap_or_default();
                    let length = after.iter().take(run.min).take_while(|b| run.class.has(**b));
                    if length.count() < run.min {
                        continue;
                    }
                }
                let to = text.floor_char_boundary(hit.end() + rule.window);
                if let Some(needs) = &rule.needs {
                    let after = bytes.get(hit.end()..to).unwrap_or_default();
                    if !after.iter().any(|b| needs.contains(b)) {
                        continue;
                    }
                }
                let mut from = hit.start();
                if let Some(run) = rule.back {
                    let before = bytes.get(*done..hit.start()).unwrap_or_default();
                    let length = before.iter().rev().take(run.max).take_while(|b| run.class.has(**b));
                    let length = length.count();
                    if length < run.min {
                        continue;
                    }
                    from = text.ceil_char_boundary(hit.start() - length);
                }
                match attempt(rule, text, from, to) {
                    Attempt::Found(finding) => {
                        *done = finding.end;
                        found.push(finding);
                    }
                    Attempt::Read(until) => *done = until,
                    Attempt::Nothing => {}
                }
            }
        }
        words_seen
    }

    fn scan_digits(&self, text: &str, resting: u64, done_until: &mut [usize], found: &mut Vec<Finding>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(start) = digits::next_digit(bytes, at) {
            let rest = bytes.get(start..).unwrap_or_default();
            let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            at = start + length;
            let (lead, from) = digits::lead_of(bytes, start);
            self.try_digits(text, (lead, from), start..at, resting, done_until, found);
            if lead == Lead::Paren {
                // A number in parentheses, where none belongs to it.
                self.try_digits(text, (Lead::Edge, start), start..at, resting, done_until, found);
            }
        }
    }

    fn try_digits(
        &self,
        text: &str,
        (lead, from): (Lead, usize),
        run: Range<usize>,
        resting: u64,
        done_until: &mut [usize],
        found: &mut Vec<Finding>,
    ) {
        let mut woken = self.digits.wake(text.as_bytes(), lead, &run) & !resting;
        while woken != 0 {
            let bit = woken.trailing_zeros() as usize;
            woken &= woken - 1;
            let Some(&index) = self.digits.rules.get(bit) else {
                continue;
            };
            let (Some(rule), Some(done)) = (self.rules.get(index), done_until.get_mut(index)) else {
                continue;
            };
            if from < *done {
                continue;
            }
            let to = text.floor_char_boundary(run.end + rule.window);
            if let Attempt::Found(finding) = attempt(rule, text, from, to) {
                *done = finding.end;
                found.push(finding);
            }
        }
    }

    pub(super) fn broken() -> Self {
        Self { rules: Vec::new(), keywords: None, by_keyword: Vec::new(), digits: DigitIndex::default() }
    }
}

pub(super) fn load_builtin() -> Result<Detectors, RulesError> {
    Detectors::from_toml(&BUILTIN)
}

/// What came of trying a rule.
enum Attempt {
    Found(Finding),
    /// A value that is no secret; it was read up to here, and need not be again.
    Read(usize),
    Nothing,
}

/// Tries a rule on `text[from..to]`, the pattern starting exactly at `from`.
fn attempt(rule: &Rule, text: &str, from: usize, to: usize) -> Attempt {
    let window = text.get(from..to).unwrap_or_default();
    let Some(whole) = rule.regex.find(window) else {
        return Attempt::Nothing;
    };
    let captures = match rule.has_groups {
        true => rule.regex.captures(window),
        false => None,
    };
    let value = captures.as_ref().and_then(|c| c.name("v"));
    let value = value.map_or(whole.range(), |v| v.range());
    let candidate = Candidate { text, start: from + value.start, end: from + value.end };
    let Some((start, end)) = rule.validator.accept(&candidate) else {
        return match rule.validator {
            Validator::Secret => Attempt::Read(secret::extent(&candidate)),
            _ => Attempt::Nothing,
        };
    };
    if !edge_after(text.as_bytes(), end, rule.right) {
        return Attempt::Nothing;
    }
    let mut confidence = rule.confidence;
    let near = |words: &Option<AhoCorasick>| {
        let words = words.as_ref();
        words.is_some_and(|words| nearby(text, start, rule.context_window, words))
    };
    if near(&rule.unless) {
        confidence = 0.0;
    }
    if near(&rule.context) {
        confidence = rule.confidence_context;
    }
    if confidence > 0.0 {
        Attempt::Found(Finding { category: rule.category, rule: Arc::clone(&rule.id), confidence, start, end })
    } else {
        Attempt::Nothing
    }
}

/// Whether one of `words` stands, as a word, in the `window` bytes before
/// `start`.
fn nearby(text: &str, start: usize, window: usize, words: &AhoCorasick) -> bool {
    let from = text.floor_char_boundary(start.saturating_sub(window));
    let Some(before) = text.get(from..start) else {
        return false;
    };
    let bytes = before.as_bytes();
    words.find_overlapping_iter(before).any(|word| {
        let left = word.start().checked_sub(1).and_then(|i| bytes.get(i));
        let right = bytes.get(word.end());
        !left.is_some_and(u8::is_ascii_alphanumeric) && !right.is_some_and(u8::is_ascii_alphanumeric)
    })
}

pub const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn edge_before(bytes: &[u8], at: usize, edge: Edge) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|i| bytes.get(i)) else {
        return true;
    };
    match edge {
        Edge::Any => true,
        Edge::Word | Edge::Number | Edge::NumberOrTime | Edge::At | Edge::NotCode => !is_word(before),
        Edge::Token => !is_word(before) && !matches!(before, b'-' | b'+' | b'/'),
    }
}

fn edge_after(bytes: &[u8], at: usize, edge: Edge) -> bool {
    let Some(&after) = bytes.get(at) else {
        return true;
    };
    match edge {
        Edge::Any => true,
        Edge::Word => !is_word(after),
        Edge::Token => !is_word(after) && !matches!(after, b'-' | b'+' | b'/'),
        Edge::At => !is_word(after) && after != b'@',
        Edge::NotCode => !is_word(after) && !matches!(after, b'(' | b'[' | b'.' | b':'),
        Edge::NumberOrTime if after == b'T' => true,
        Edge::Number | Edge::NumberOrTime => {
            let then = bytes.get(at + 1).copied().unwrap_or(b' ');
            let goes_on = match after {
                b'-' => then.is_ascii_alphanumeric(),
                b'.' | b'/' | b':' => then.is_ascii_digit(),
                other => is_word(other),
            };
            !goes_on
        }
    }
}
