//! Workflows: what a file says once it has been read and found sound.
//!
//! [`read`] turns YAML text into a [`Workflow`] or into *all* of its mistakes at once. A
//! `Workflow` holds no loose ends: every reference is resolved, every operation exists, there is no
//! cycle. The run machine (`run`) relies on that.
//!
//! Not here: running, and reading the file from disk.

mod bind;
mod check;
mod json_schema;
mod literal;
mod mistake;
mod read;
mod template;
mod texts;
mod yaml;

pub use json_schema::json_schema;
pub use mistake::Mistake;
pub use read::read;

use crate::expr::Expr;
use crate::value::Value;
use std::collections::BTreeMap;

/// A sound workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// One paragraph for people, possibly empty.
    pub description: String,
    /// What a request may set.
    pub inputs: BTreeMap<String, Input>,
    /// In the file's order.
    pub steps: Vec<Step>,
    /// What the run is for: name → where the value comes from.
    pub outputs: BTreeMap<String, Template>,
    /// The text this was read from: journaled with a run, which is pinned to it.
    pub source: String,
}

/// An input of a workflow.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its type.
    pub ty: InputType,
    /// Its value where a request sets none; without one it is required.
    pub default: Option<Value>,
    /// One line for people.
    pub doc: String,
}

/// The types an input can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    /// Any text.
    Text,
    /// A path; relative defaults count from the workflow file, relative `--set` values from the
    /// current folder. Whoever submits makes it absolute.
    Path,
    /// An integer.
    Int,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Any JSON.
    Json,
}

/// A step of a workflow.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, unique in the workflow.
    pub id: String,
    /// The operation, known to exist.
    pub op: String,
    /// Its input.
    pub with: Template,
    /// Indices of the steps it waits for: named ones and those that its expressions read.
    pub needs: Vec<usize>,
    /// One attempt for each element of a list.
    pub each: Option<Each>,
    /// Runs only if this is true.
    pub when: Option<Expr>,
    /// Wishes about where.
    pub place: Place,
    /// What to do after a failure.
    pub retry: Retry,
    /// Limit of one attempt, in milliseconds.
    pub timeout_ms: u64,
}

/// A fan-out.
#[derive(Clone, Debug)]
pub struct Each {
    /// Gives the list.
    pub over: Template,
    /// Items worked on at once.
    pub concurrency: u32,
}

/// What a request says about where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which side.
    pub at: At,
    /// What to prefer among possible sites.
    pub prefer: Prefer,
    /// When the step should be complete, in milliseconds from the run's start.
    pub deadline_ms: Option<u64>,
    /// What to do while the site it needs is away.
    pub offline: Offline,
}

/// Which side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The run's own device.
    Local,
    /// A hub or worker.
    Remote,
    /// Wherever placement says.
    #[default]
    Auto,
}

/// What to prefer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Earliest completion.
    #[default]
    Fastest,
    /// Least money.
    Cheapest,
    /// Stay on the device if that is possible at all.
    Private,
}

/// What to do while a site is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offline {
    /// Run on another possible site, else wait.
    #[default]
    Run,
    /// Wait for it.
    Wait,
    /// Fail at once.
    Fail,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub backoff_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, backoff_ms: 200 }
    }
}

/// A value with expressions in it.
#[derive(Clone, Debug)]
pub enum Template {
    /// No expression inside.
    Literal(Value),
    /// `${…}` alone: the expression's value as it is.
    Expr(Expr),
    /// Text around expressions.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// A map.
    Map(BTreeMap<String, Template>),
}

/// A piece of text with expressions.
#[derive(Clone, Debug)]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// An expression whose value is printed.
    Expr(Expr),
}

#[cfg(test)]
mod tests;
