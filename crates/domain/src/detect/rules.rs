//! Rules as data: reading `rules/*.toml` and making them ready to run.
//!
//! Job: the shape of a rule, its checks when it is loaded, and its compiled
//! form. A rule has one of two anchors that are cheap to find: a keyword, or a
//! run of digits with known surroundings.
//!
//! Not its job: running a rule (`scan.rs`) and checking a value (`validate.rs`).
//!
//! Why: adding a pattern should mean adding data with its own examples, and a
//! reader of the rules should not need to read code.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use regex::Regex;
use serde::Deserialize;

use super::Category;
use super::validate::Validator;

/// A rule file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file is not TOML of the expected shape.
    #[error("the rules cannot be read")]
    Toml(#[source] Box<toml::de::Error>),
    /// A rule's pattern is not a regular expression.
    #[error("the pattern of rule `{rule}` cannot be compiled")]
    Pattern {
        /// The rule's id.
        rule: String,
        /// What is wrong with the pattern.
        #[source]
        source: Box<regex::Error>,
    },
    /// A rule says something that makes no sense.
    #[error("rule `{rule}`: {problem}")]
    Rule {
        /// The rule's id.
        rule: String,
        /// What does not fit.
        problem: &'static str,
    },
    /// The keyword automaton cannot be built.
    #[error("the keywords cannot be compiled")]
    Keywords(#[source] Box<aho_corasick::BuildError>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    category: Category,
    #[serde(default)]
    keywords: Vec<String>,
    digits: Option<RawDigits>,
    back: Option<RawRun>,
    ahead: Option<RawRun>,
    needs: Option<String>,
    #[serde(default = "default_window")]
    window: usize,
    #[serde(default)]
    left: Edge,
    #[serde(default)]
    right: Edge,
    regex: String,
    #[serde(default)]
    validator: String,
    #[serde(default)]
    context: Vec<String>,
    #[serde(default = "default_context_window")]
    context_window: usize,
    #[serde(default)]
    unless: Vec<String>,
    confidence: f32,
    confidence_context: Option<f32>,
    #[serde(default)]
    test: Vec<RuleTest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDigits {
    run: Vec<(usize, usize)>,
    lead: Vec<Lead>,
    first: Option<String>,
    next: Option<String>,
    second: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRun {
    class: Class,
    #[serde(default)]
    min: usize,
    #[serde(default = "default_run_max")]
    max: usize,
}

/// An example inside a rule. `¦` is taken out before use: it keeps invented
/// tokens from looking like real ones to tools that search source code.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "only the rules' own test reads it"))]
pub struct RuleTest {
    /// The text to scan.
    pub text: String,
    /// The values this rule must find in it, in order.
    pub find: Vec<String>,
}

const fn default_window() -> usize {
    200
}

const fn default_context_window() -> usize {
    48
}

const fn default_run_max() -> usize {
    64
}

/// What may stand beside a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Anything.
    #[default]
    Any,
    /// No letter, digit or underscore.
    Word,
    /// No letter, digit, underscore, dash, plus or slash.
    Token,
    /// No word, and no separator that leads on to another digit.
    Number,
    /// No number, but the `T` between a date and a time may follow.
    NumberOrTime,
    /// No word and no at sign.
    At,
    /// No word and nothing that makes a name a call, an index or a path.
    NotCode,
}

/// A class of bytes that a cheap loop can run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What an e-mail's local part is made of.
    Local,
    /// What a host name is made of.
    Domain,
    /// Letters, digits, `_` and `-`.
    Token,
    /// ASCII digits.
    Digit,
    /// A word: letters, any byte beyond ASCII, `.`, `-`, `'`.
    Word,
}

impl Class {
    /// Whether the byte belongs to the class.
    pub const fn has(self, byte: u8) -> bool {
        match self {
            Self::Local => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'&' | b'~' | b'!' | b'#')
            }
            Self::Domain => byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'),
            Self::Token => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Digit => byte.is_ascii_digit(),
            Self::Word => byte.is_ascii_alphabetic() || byte >= 0x80 || matches!(byte, b'.' | b'-' | b'\''),
        }
    }
}

/// What stands right before a run of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lead {
    /// Nothing that belongs to a number or a word.
    Edge,
    /// A space after another digit.
    DigitSpace,
    /// A plus sign; the candidate starts with it.
    Plus,
    /// An opening parenthesis; the candidate starts with it.
    Paren,
    /// One letter; the candidate starts with it.
    Letters1,
    /// Two letters.
    Letters2,
    /// Six letters.
    Letters6,
    /// Two letters and a space.
    Letters2Space,
    /// A sign or separator that continues something, or a longer word.
    Inside,
}

/// A run of bytes beside an anchor.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub class: Class,
    pub min: usize,
    pub max: usize,
}

/// The surroundings of a run of digits that make it worth a closer look.
#[derive(Debug, Clone)]
pub struct DigitAnchor {
    pub lengths: Vec<(usize, usize)>,
    pub leads: Vec<Lead>,
    pub first: Option<Vec<u8>>,
    /// What may follow the run.
    pub next: Option<Vec<u8>>,
    /// What may follow that.
    pub second: Option<Vec<u8>>,
}

/// A rule that is ready to run.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: Arc<str>,
    pub category: Category,
    pub keywords: Vec<String>,
    pub digits: Option<DigitAnchor>,
    pub back: Option<Run>,
    pub ahead: Option<Run>,
    /// Bytes of which one must stand in the window after the keyword.
    pub needs: Option<Vec<u8>>,
    pub window: usize,
    pub left: Edge,
    pub right: Edge,
    pub regex: Regex,
    pub has_groups: bool,
    pub validator: Validator,
    /// Words without one of which nearby the rule finds nothing.
    pub required: Vec<String>,
    pub context: Option<AhoCorasick>,
    pub context_window: usize,
    pub unless: Option<AhoCorasick>,
    pub confidence: f32,
    pub confidence_context: f32,
    #[cfg_attr(not(test), expect(dead_code, reason = "only the rules' own test reads them"))]
    pub tests: Vec<RuleTest>,
}

/// Reads rules from TOML; patterns are anchored at the candidate's start.
pub fn read(toml_text: &str) -> Result<Vec<Rule>, RulesError> {
    let file: RawFile = toml::from_str(toml_text).map_err(|error| RulesError::Toml(Box::new(error)))?;
    file.rule.into_iter().map(compile).collect()
}

fn words(words: &[String]) -> Result<Option<AhoCorasick>, RulesError> {
    if words.is_empty() {
        return Ok(None);
    }
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(true)
        .build(words)
        .map(Some)
        .map_err(|error| RulesError::Keywords(Box::new(error)))
}

fn compile(raw: RawRule) -> Result<Rule, RulesError> {
    let bad = |problem| RulesError::Rule { rule: raw.id.clone(), problem };
    if raw.keywords.is_empty() == raw.digits.is_none() {
        return Err(bad("give either keywords or digits"));
    }
    if raw.keywords.iter().any(String::is_empty) {
        return Err(bad("a keyword is empty"));
    }
    if raw.test.is_empty() {
        return Err(bad("it has no test"));
    }
    if !(0.0..=1.0).contains(&raw.confidence) || !(0.0..=1.0).contains(&raw.confidence_context.unwrap_or(1.0)) {
        return Err(bad("a confidence is not between 0 and 1"));
    }
    let validator = Validator::parse(&raw.validator).ok_or_else(|| bad("unknown validator"))?;
    let regex = Regex::new(&format!("^(?:{})", raw.regex))
        .map_err(|source| RulesError::Pattern { rule: raw.id.clone(), source: Box::new(source) })?;
    let run = |raw: RawRun| Run { class: raw.class, min: raw.min, max: raw.max };
    Ok(Rule {
        id: Arc::from(raw.id.as_str()),
        category: raw.category,
        keywords: raw.keywords.iter().map(|w| w.to_ascii_lowercase()).collect(),
        digits: raw.digits.map(|digits| DigitAnchor {
            lengths: digits.run,
            leads: digits.lead,
            first: digits.first.map(String::into_bytes),
            next: digits.next.map(String::into_bytes),
            second: digits.second.map(String::into_bytes),
        }),
        back: raw.back.map(run),
        ahead: raw.ahead.map(run),
        needs: raw.needs.map(String::into_bytes),
        window: raw.window,
        left: raw.left,
        right: raw.right,
        has_groups: validator != Validator::Secret && regex.captures_len() > 1,
        regex,
        validator,
        context: words(&raw.context)?,
        required: match raw.confidence > 0.0 {
            true => Vec::new(),
            false => raw.context,
        },
        context_window: raw.context_window,
        unless: words(&raw.unless)?,
        confidence: raw.confidence,
        confidence_context: raw.confidence_context.unwrap_or(raw.confidence),
        tests: raw.test,
    })
}
