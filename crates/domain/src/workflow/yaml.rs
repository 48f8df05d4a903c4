//! From YAML text to a tree in which every node and key knows its place.
//!
//! Everything that a hostile file could do to the parser is bounded here: its size, its depth, what
//! its aliases expand to. One mistake in the syntax ends the reading; what the tree *says* is
//! judged elsewhere, all of it at once.

use super::mistake::Mistake;
use crate::limits;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;
use std::ops::Range;

/// Nesting of a workflow file. One has six levels or so.
const DEPTH_MAX: usize = 24;
/// Nodes of a file, what its aliases stand for included.
const NODES_MAX: usize = 120_000;

/// Nodes that anchors keep and aliases stand for.
const REPLAYED_MAX: usize = 10_000;

/// A place in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// From 1; 0 where it is unknown.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// Bytes of the file.
    pub(super) span: Option<Range<usize>>,
}

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Yaml {
    pub(super) what: What,
    pub(super) at: At,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum What {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
}

/// A key of a map and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: At,
}

impl Yaml {
    /// For messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.what {
            What::Null => "nothing",
            What::Bool(_) => "a truth value",
            What::Int(_) | What::Float(_) => "a number",
            What::Text(_) => "text",
            What::List(_) => "a list",
            What::Map(_) => "a map",
        }
    }
}

/// Parses a file.
pub(super) fn parse(source: &str) -> Result<Yaml, Mistake> {
    let at_start = At { line: 1, column: 1, span: None };
    if source.len() > limits::WORKFLOW_FILE_BYTES_MAX {
        return Err(Mistake::new(
            "E1002",
            &at_start,
            format!("the file is larger than {} bytes", limits::WORKFLOW_FILE_BYTES_MAX),
        ));
    }
    if let Some(offset) = source.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')) {
        let at = place_of(source, offset, offset + 1);
        return Err(Mistake::new("E1002", &at, "the file holds control characters; it is not a workflow"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: REPLAYED_MAX,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_MAX,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<What>>(source, options) {
        Ok(root) => Ok(root.into()),
        Err(e) => {
            let at = e.location().map_or(at_start, At::from);
            Err(syntax_mistake(e.without_snippet(), &at))
        }
    }
}

/// The parser's error in our words where people meet it, in its own where they hardly do.
fn syntax_mistake(error: &serde_saphyr::Error, at: &At) -> Mistake {
    use serde_saphyr::Error;
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let message = match key {
                Some(key) => format!("the key `{key}` stands twice in the same map"),
                None => "a key stands twice in the same map".to_owned(),
            };
            Mistake::new("E1001", at, message)
        }
        Error::MultipleDocuments { .. } => {
            Mistake::new("E1001", at, "a second document begins here").hint("a file holds one workflow")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Mistake::new("E1001", at, "an alias stands inside of what it refers to")
        }
        Error::NullIntoString { .. } => Mistake::new("E1001", at, "a key is missing here"),
        Error::Budget { .. } => too_much(at),
        _ => {
            // The place stands in front of every mistake already.
            let text = error.to_string();
            if text.contains("limit exceeded") || text.contains("budget breached") {
                return too_much(at);
            }
            let text = text.split(" at line ").next().unwrap_or_default().split(" (line ").next().unwrap_or_default();
            let text = text.lines().next().unwrap_or_default();
            let mut letters = text.chars();
            let text = letters
                .next()
                .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str());
            Mistake::new("E1001", at, text.replace('\'', "`"))
        }
    }
}

fn too_much(at: &At) -> Mistake {
    let message = format!(
        "the file nests too deep or stands for too much: more than {DEPTH_MAX} levels, {NODES_MAX} nodes, or {REPLAYED_MAX} nodes behind aliases"
    );
    Mistake::new("E1002", at, message)
}

/// Line and column of a range of bytes.
pub(super) fn place_of(source: &str, from: usize, to: usize) -> At {
    let start = At { line: 1, column: 1, span: None };
    Walk::new(source, &start).to(from, to)
}

/// Finds line and column of bytes further and further on, without counting from the top each time.
pub(super) struct Walk<'a> {
    source: &'a str,
    byte: usize,
    line: usize,
    column: usize,
}

impl<'a> Walk<'a> {
    /// Starts at a known place.
    pub(super) fn new(source: &'a str, at: &At) -> Self {
        let byte = at.span.as_ref().map_or(0, |span| span.start);
        Self { source, byte, line: at.line, column: at.column }
    }

    /// The place of `from`, which is not before the last one asked for.
    pub(super) fn to(&mut self, from: usize, to: usize) -> At {
        let rest = self.source.get(self.byte..).unwrap_or_default();
        for (at, letter) in rest.char_indices() {
            if self.byte + at >= from {
                break;
            }
            if letter == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.byte = from.clamp(self.byte, self.source.len());
        while !self.source.is_char_boundary(self.byte) {
            self.byte += 1;
        }
        At { line: self.line, column: self.column, span: Some(self.byte..to.clamp(self.byte, self.source.len())) }
    }
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let span = location.span();
        let span = match (span.byte_offset(), span.byte_len()) {
            (Some(from), Some(len)) => Some(number(from)..number(from + len)),
            _ => None,
        };
        At { line: number(location.line()), column: number(location.column()), span }
    }
}

impl From<Spanned<What>> for Yaml {
    fn from(spanned: Spanned<What>) -> Self {
        Yaml { what: spanned.value, at: spanned.referenced.into() }
    }
}

impl<'de> Deserialize<'de> for What {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = What;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<What, E> {
        Ok(What::Null)
    }

    fn visit_none<E>(self) -> Result<What, E> {
        Ok(What::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<What, D::Error> {
        deserializer.deserialize_any(Builder)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<What, E> {
        Ok(What::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<What, E> {
        Ok(What::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<What, E> {
        Ok(i64::try_from(number).map_or_else(|_| What::Text(number.to_string()), What::Int))
    }

    fn visit_i128<E>(self, number: i128) -> Result<What, E> {
        Ok(i64::try_from(number).map_or_else(|_| What::Text(number.to_string()), What::Int))
    }

    fn visit_u128<E>(self, number: u128) -> Result<What, E> {
        Ok(What::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<What, E> {
        Ok(What::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<What, E> {
        Ok(What::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<What, E> {
        Ok(What::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<What, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<What>>()? {
            list.push(item.into());
        }
        Ok(What::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<What, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = members.next_key::<Spanned<String>>()? {
            let value = members.next_value::<Spanned<What>>()?;
            map.push((Key { name: key.value, at: key.referenced.into() }, value.into()));
        }
        Ok(What::Map(map))
    }
}
