//! What is wrong, where, and what to do about it.

use super::yaml::At as Spot;
use crate::expr::closest;
use std::fmt;
use std::ops::Range;

/// Something wrong with a workflow file, or with what a request sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The code from the registry, `E1…`.
    pub code: &'static str,
    /// Line, from 1; 0 where the mistake is not in the file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the file, where they are known.
    pub span: Option<Range<usize>>,
    /// One line for people, lower case.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(code: &'static str, at: &Spot, message: impl Into<String>) -> Self {
        Self { code, line: at.line, column: at.column, span: at.span.clone(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `did you mean …?` where a known name is near, else `otherwise`.
    pub(super) fn nearest<'a>(
        self,
        wrong: &str,
        names: impl IntoIterator<Item = &'a str>,
        otherwise: impl Into<String>,
    ) -> Self {
        match closest(wrong, names) {
            Some(close) => self.hint(format!("did you mean `{close}`?")),
            None => {
                let otherwise = otherwise.into();
                if otherwise.is_empty() { self } else { self.hint(otherwise) }
            }
        }
    }
}

impl fmt::Display for Mistake {
    /// `3:7 E1006: unknown operation …`, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}: {}", self.line, self.column, self.code, self.message)
    }
}

/// `a`, `b`, `c`
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
