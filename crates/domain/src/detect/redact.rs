//! Taking values out of a text and putting them back.
//!
//! Job: swap each found range for a placeholder such as `[EMAIL_1]`
//! ([`redact`]), swap placeholders back ([`restore`]), and number them
//! ([`PlaceholderTable`]).
//!
//! Not its job: where the table is kept and who may read it; the caller's vault
//! does that. Nor finding the same value where no rule saw it.
//!
//! Why: restoring must give the original byte for byte. So each spelling has
//! its own number, and text that looked like a placeholder from the start is
//! taken out like a value (`[LITERAL_1]`), else it could be mistaken for one.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::{Category, Finding};

/// The longest placeholder that is recognised, in bytes.
pub const PLACEHOLDER_BYTES_MAX: usize = 48;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A value that a detector found.
    Found(Category),
    /// Text that looked like a placeholder before anything was redacted.
    Literal,
}

impl Slot {
    /// The word inside the placeholder, in upper case: `EMAIL`.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Found(category) => category.as_str().to_ascii_uppercase(),
            Self::Literal => "LITERAL".to_owned(),
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "LITERAL" => Some(Self::Literal),
            _ => word.to_ascii_lowercase().parse().ok().map(Self::Found),
        }
    }

    /// The placeholder with this number: `[EMAIL_1]`.
    #[must_use]
    pub fn placeholder(self, number: u32) -> String {
        format!("[{}_{number}]", self.word())
    }
}

/// A text with its findings replaced.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text that is left.
    pub text: String,
    /// Where the placeholders stand in it, in order.
    pub replacements: Vec<Range<usize>>,
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redacted").field("bytes", &self.text.len()).field("replacements", &self.replacements).finish()
    }
}

/// Replaces each finding in `text` by the placeholder that `assign` gives for
/// its category and value.
///
/// Findings that overlap are replaced as one, in the category of the surest.
/// Text that already looks like a placeholder is replaced as [`Slot::Literal`].
/// Findings out of range or off a character boundary are widened to fit.
/// `assign` must give a [`Slot::placeholder`], the same for the same value.
pub fn redact(text: &str, findings: &[Finding], assign: &mut dyn FnMut(Slot, &str) -> String) -> Redacted {
    let mut out = String::with_capacity(text.len());
    let mut replacements = Vec::new();
    let mut at = 0;
    for (range, slot) in plan(text, findings) {
        let (Some(before), Some(value)) = (text.get(at..range.start), text.get(range.clone())) else {
            continue;
        };
        out.push_str(before);
        let from = out.len();
        out.push_str(&assign(slot, value));
        replacements.push(from..out.len());
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Redacted { text: out, replacements }
}

/// The ranges to replace: disjoint, in order, none empty.
fn plan(text: &str, findings: &[Finding]) -> Vec<(Range<usize>, Slot)> {
    let found = findings.iter().map(|finding| {
        let start = text.floor_char_boundary(finding.start);
        let end = text.ceil_char_boundary(finding.end.min(text.len()));
        (start..end, finding.confidence, Slot::Found(finding.category))
    });
    let literals = placeholders(text).map(|range| (range, f32::MIN, Slot::Literal));
    let mut all: Vec<_> = found.chain(literals).filter(|(range, _, _)| !range.is_empty()).collect();
    all.sort_by(|a, b| (a.0.start, b.0.end).cmp(&(b.0.start, a.0.end)).then(b.1.total_cmp(&a.1)));
    let mut joined: Vec<(Range<usize>, f32, Slot)> = Vec::with_capacity(all.len());
    for (range, confidence, slot) in all {
        match joined.last_mut() {
            Some(last) if range.start < last.0.end => {
                last.0.end = last.0.end.max(range.end);
                if confidence > last.1 {
                    (last.1, last.2) = (confidence, slot);
                }
            }
            _ => joined.push((range, confidence, slot)),
        }
    }
    joined.into_iter().map(|(range, _, slot)| (range, slot)).collect()
}

/// Puts the values back in one pass: each placeholder that `lookup` knows is
/// replaced, any other stays as it is. What is put in is not looked at again.
pub fn restore(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in placeholders(text) {
        let (Some(before), Some(name)) = (text.get(at..range.start), text.get(range.clone())) else {
            continue;
        };
        if let Some(value) = lookup(name) {
            out.push_str(before);
            out.push_str(&value);
            at = range.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Whether any part of the text looks like a placeholder.
#[must_use]
pub fn contains_placeholder(text: &str) -> bool {
    placeholders(text).next().is_some()
}

/// Everything in `text` that looks like a placeholder: `[`, a known word, `_`,
/// digits, `]`. None holds a bracket, so none overlap.
fn placeholders(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices('[').filter_map(|(start, _)| {
        let bytes = text.as_bytes().get(start + 1..)?;
        let inner = bytes
            .iter()
            .take(PLACEHOLDER_BYTES_MAX)
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')
            .count();
        if bytes.get(inner) != Some(&b']') {
            return None;
        }
        let end = start + 1 + inner;
        parse(text.get(start..=end)?).map(|_| start..end + 1)
    })
}

/// The slot of a placeholder and its number as written.
fn parse(placeholder: &str) -> Option<(Slot, &str)> {
    let inner = placeholder.strip_prefix('[')?.strip_suffix(']')?;
    let (word, number) = inner.rsplit_once('_')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Slot::from_word(word)).flatten().map(|slot| (slot, number))
}

/// A placeholder entry that cannot be taken into a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It does not have the form of a placeholder.
    #[error("`{0}` is not a placeholder")]
    NotAPlaceholder(String),
    /// The placeholder or its value is in the table already.
    #[error("`{0}` or its value is there twice")]
    Twice(String),
}

/// Which placeholder stands for which value, numbered by first appearance.
///
/// Equal strings of one slot share a number; any other spelling has its own.
#[derive(Clone, Default)]
pub struct PlaceholderTable {
    /// In order of appearance: the placeholder and its value.
    entries: Vec<(String, String)>,
    by_value: HashMap<Slot, HashMap<String, usize>>,
    by_placeholder: HashMap<String, usize>,
    last_number: HashMap<Slot, u32>,
}

impl fmt::Debug for PlaceholderTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.entries.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PlaceholderTable").field("placeholders", &names).finish()
    }
}

impl PlaceholderTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table from what [`Self::entries`] gave.
    ///
    /// # Errors
    ///
    /// [`TableError`] if an entry is no placeholder or contradicts another.
    pub fn from_entries<I>(entries: I) -> Result<Self, TableError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let mut table = Self::new();
        for (name, value) in entries {
            let parsed = parse(&name).and_then(|(slot, number)| {
                let number = number.parse::<u32>().ok()?;
                (slot.placeholder(number) == name).then_some((slot, number))
            });
            let Some((slot, number)) = parsed else {
                return Err(TableError::NotAPlaceholder(name));
            };
            let taken = table.by_placeholder.contains_key(&name)
                || table.by_value.get(&slot).is_some_and(|known| known.contains_key(&value));
            if taken {
                return Err(TableError::Twice(name));
            }
            let last = table.last_number.entry(slot).or_default();
            *last = number.max(*last);
            table.insert(slot, name, value);
        }
        Ok(table)
    }

    /// The placeholder of a value, a new one if the value is new.
    pub fn assign(&mut self, slot: Slot, value: &str) -> String {
        let known = self.by_value.get(&slot).and_then(|known| known.get(value));
        if let Some((name, _)) = known.and_then(|at| self.entries.get(*at)) {
            return name.clone();
        }
        let last = self.last_number.entry(slot).or_default();
        *last = last.saturating_add(1);
        let name = slot.placeholder(*last);
        self.insert(slot, name.clone(), value.to_owned());
        name
    }

    fn insert(&mut self, slot: Slot, name: String, value: String) {
        let at = self.entries.len();
        self.by_value.entry(slot).or_default().insert(value.clone(), at);
        self.by_placeholder.insert(name.clone(), at);
        self.entries.push((name, value));
    }

    /// The value of a placeholder.
    #[must_use]
    pub fn value(&self, placeholder: &str) -> Option<&str> {
        let at = self.by_placeholder.get(placeholder)?;
        self.entries.get(*at).map(|(_, value)| value.as_str())
    }

    /// Placeholders and values in order of first appearance.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// [`redact`] with this table's placeholders.
    pub fn redact(&mut self, text: &str, findings: &[Finding]) -> Redacted {
        redact(text, findings, &mut |slot, value| self.assign(slot, value))
    }

    /// [`restore`] with this table's values.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        restore(text, &|name| self.value(name).map(str::to_owned))
    }
}
