//! Expressions: CEL over labelled values.
//!
//! An expression is parsed once and says what it reads ([`Expr::reads`]). A *bare path*
//! (`scan.files`, `extract[index].text`) copies the subtree it names, labels and all, and never
//! meets the CEL interpreter; it is what a step's inputs mostly are. Anything else is evaluated by
//! the `cel` crate on the subtrees that it reads, and every node of its result carries the join of
//! everything it could have read.
//!
//! The `cel` crate bounds nothing and prints values in its errors. Around it stand: a parser that
//! bounds depth ([`parse`]), a rewriting of the parsed tree that puts a meter into every loop and call
//! ([`plan`], [`meters`]), a pinned set of functions without clock or randomness ([`functions`]), and errors
//! that carry a kind and the author's text, never content.
//!
//! Not its job: finding expressions in a workflow file, and what a step's output is.

mod budget;
mod convert;
mod functions;
mod meters;
mod parse;
mod path;
mod plan;
mod scan;
mod suggest;

use crate::label::Label;
use crate::limits;
use crate::value::Value;
use budget::Budget;
use std::fmt;
use std::sync::Arc;

pub use functions::NAMES as FUNCTIONS;
pub use suggest::closest;

/// Roots that are not steps.
pub const RESERVED_ROOTS: &[&str] = &["inputs", "item", "index", "run"];

/// Words that CEL keeps for itself, which no step can be called.
pub const RESERVED_WORDS: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// A parsed expression.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: String,
    optional: bool,
    reads: Vec<Read>,
    /// `None`: a bare path, which is `reads[0]`.
    program: Option<cel::IdedExpr>,
}

/// Something an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// A step's id, or one of [`RESERVED_ROOTS`].
    pub root: String,
    /// The way from there. It ends at a [`Segment::Dynamic`], which stands for the whole subtree.
    pub keys: Vec<Segment>,
    /// How much of what is there is read.
    pub extent: Extent,
}

/// How much of a place is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All of it.
    Whole,
    /// How many elements it has: `size(path)`. Reads the shape alone.
    Size,
    /// Whether the last key is there: `has(path)`. Reads the shape of what is above it alone.
    Presence,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// `.name` or `["name"]`
    Name(String),
    /// `[3]`
    Index(u64),
    /// `[index]`: the element with the number of the fan-out's current item.
    LoopIndex,
    /// `[anything else]`
    Dynamic,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        for key in &self.keys {
            match key {
                Segment::Name(name) if plain_name(name) => write!(f, ".{name}")?,
                Segment::Name(name) => write!(f, "[\"{}\"]", name.escape_debug())?,
                Segment::Index(at) => write!(f, "[{at}]")?,
                Segment::LoopIndex => f.write_str("[index]")?,
                Segment::Dynamic => f.write_str("[…]")?,
            }
        }
        Ok(())
    }
}

fn plain_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Where an expression finds its roots.
pub trait Scope {
    /// What stands behind a name: a step's output, `inputs`, `item`, `index`, `run`. `None` where
    /// there is no such thing, `item` outside of a fan-out for one.
    fn root(&self, name: &str) -> Option<Found<'_>>;
}

/// What stands behind a root.
#[derive(Clone, Copy)]
pub enum Found<'a> {
    /// A value.
    Whole(&'a Value),
    /// The output of a fan-out: a list whose elements are kept one by one.
    Items {
        /// Label of the list's shape: how many elements there are.
        label: &'a Label,
        /// The elements.
        items: &'a dyn Items,
    },
    /// A step that was refused, failed or skipped.
    Missing {
        /// What its absence tells: the label of the control flow that led to it.
        control: &'a Label,
    },
}

/// The elements of a fan-out's output.
pub trait Items {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them; `None` past the end.
    fn item(&self, at: usize) -> Option<Item<'_>>;
}

/// One element of a fan-out's output.
#[derive(Clone, Copy)]
pub enum Item<'a> {
    /// Its output.
    Done(&'a Value),
    /// It was refused, failed or skipped. A read of the whole list shows it as `null`.
    Missing {
        /// What its absence tells.
        control: &'a Label,
    },
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// One line for people.
    pub message: String,
    /// Where in the expression, in bytes.
    pub offset: usize,
    /// What to do instead, where that is known.
    pub hint: Option<String>,
}

impl ExprError {
    fn new(message: impl Into<String>, offset: usize) -> Self {
        Self { message: message.into(), offset, hint: None }
    }

    /// For texts with more expressions in them than anyone writes.
    pub(crate) fn too_many(pieces_max: usize) -> Self {
        Self::new(format!("a text of more than {pieces_max} pieces"), 0)
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Why an expression has no value. Carries the author's text at most, never content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It reads a step or an item that was refused, failed or skipped.
    #[error("`{root}` has no output here")]
    Missing {
        /// The root of what was read.
        root: String,
    },
    /// The scope knows no such root.
    #[error("`{root}` means nothing here")]
    NoSuchRoot {
        /// The root of what was read.
        root: String,
    },
    /// What it reads is not there.
    #[error("`{path}` is not there")]
    NoSuchKey {
        /// The path, or the whole expression where the key was computed.
        path: String,
    },
    /// It reads the inside of a blob.
    #[error(
        "`{expression}` reads a value that is kept as a blob; give it to an operation instead (`text.extract`, `text.chunk`), or pass it on by its bare path"
    )]
    Blob {
        /// The expression.
        expression: String,
    },
    /// It works more than [`limits::EXPRESSION_STEPS_MAX`] allows.
    #[error("`{expression}` takes more than {} steps on this input", limits::EXPRESSION_STEPS_MAX)]
    Steps {
        /// The expression.
        expression: String,
    },
    /// Its result is larger or deeper than a value may be.
    #[error("the result of `{expression}` is larger than a value may be")]
    Size {
        /// The expression.
        expression: String,
    },
    /// An operator or function does not take what it was given.
    #[error("`{expression}`: {what}")]
    Type {
        /// The expression.
        expression: String,
        /// The kind of disagreement.
        what: String,
    },
}

impl Expr {
    /// Parses the text between `${` and `}`. A leading `?` makes it optional: its value is `null`
    /// where anything that it reads is missing.
    pub fn parse(source: &str) -> Result<Expr, ExprError> {
        if source.len() > limits::EXPRESSION_BYTES_MAX {
            return Err(ExprError::new(format!("longer than {} bytes", limits::EXPRESSION_BYTES_MAX), 0));
        }
        let body = source.trim_start();
        let (optional, body) = match body.strip_prefix('?') {
            Some(rest) => (true, rest),
            None => (false, body),
        };
        let shift = source.len() - body.len();
        if body.trim().is_empty() {
            return Err(ExprError::new("an empty expression", shift));
        }
        let shifted = |e: ExprError| ExprError { offset: (e.offset + shift).min(source.len()), ..e };
        let planned = plan::plan(body).map_err(shifted)?;
        Ok(Expr(Arc::new(Inner {
            source: source.trim().to_owned(),
            optional,
            reads: planned.reads,
            program: planned.program,
        })))
    }

    /// Where the `}` stands that ends the expression starting at byte `from` of `text`.
    pub fn end_in(text: &str, from: usize) -> Result<usize, ExprError> {
        scan::closing_brace(text, from)
    }

    /// The text, without the spaces around it.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Everything it reads, each place once.
    pub fn reads(&self) -> &[Read] {
        &self.0.reads
    }

    /// Whether it only names a place.
    pub fn is_bare_path(&self) -> bool {
        self.0.program.is_none()
    }

    /// Whether it yields `null` where something it reads is missing.
    pub fn is_optional(&self) -> bool {
        self.0.optional
    }

    /// Whether its value may differ between the items of a fan-out.
    pub fn is_per_item(&self) -> bool {
        self.reads().iter().any(|read| read.is_per_item())
    }

    /// Its value.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, EvalError> {
        self.eval_within(scope, limits::EXPRESSION_STEPS_MAX)
    }

    fn eval_within(&self, scope: &dyn Scope, steps: u64) -> Result<Value, EvalError> {
        match &self.0.program {
            None => path::copy(self, &self.0.reads[0], scope),
            Some(program) => convert::evaluate(self, program, scope, &Budget::of(steps)),
        }
    }
}

impl Read {
    /// Whether it may differ between the items of a fan-out.
    pub fn is_per_item(&self) -> bool {
        self.root == "item" || self.root == "index" || self.keys.contains(&Segment::LoopIndex)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.0.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

#[cfg(test)]
mod tests;
