//! What the gate is asked and what it answers.
//!
//! Not here: how an answer is found (`rules`) and what becomes of it (`clearance`).

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tidegate_domain::ids::{AttemptId, RunId, SiteId};
use tidegate_domain::label::Label;
use tidegate_domain::ops::SiteKind;

/// Where bytes go, and where the operation there sends them on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The receiving site.
    pub site: SiteId,
    /// Its kind.
    pub kind: SiteKind,
    /// Destinations beyond it that the operation declares, sorted.
    pub onward: Vec<String>,
}

/// What would be decided about data with this label.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The data's joined label.
    pub label: &'a Label,
    /// Where it would go.
    pub destination: &'a Destination,
    /// The operation it would go for.
    pub purpose: &'a str,
    /// Whether it would go for work that may never run.
    pub speculative: bool,
    /// The one site that everything in it was derived from, if there is one.
    pub origin: Option<SiteId>,
}

/// Bytes that are to leave this site.
#[derive(Clone)]
pub struct Transfer {
    /// The run they leave for, if any.
    pub run: Option<RunId>,
    /// The attempt, if any.
    pub attempt: Option<AttemptId>,
    /// The step's name; empty outside a run.
    pub step: String,
    /// The item of a fan-out.
    pub item: Option<u32>,
    /// The joined label of everything in `payload`, its shape included.
    pub label: Label,
    /// Where they go.
    pub destination: Destination,
    /// The operation they go for, `ns.verb`.
    pub purpose: String,
    /// Whether they go for work that may never run.
    pub speculative: bool,
    /// The one site that everything in it was derived from, if there is one. The hub gives back to
    /// a device what came from it; leave it `None` as soon as anything else is mixed in.
    pub origin: Option<SiteId>,
    /// The final bytes as they will be sent: nothing encodes them again.
    pub payload: Bytes,
}

impl Transfer {
    /// The same as a question without the bytes.
    pub fn question(&self) -> Question<'_> {
        Question {
            label: &self.label,
            destination: &self.destination,
            purpose: &self.purpose,
            speculative: self.speculative,
            origin: self.origin,
        }
    }
}

/// What may be done at this site besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Give a step to this site.
    Place,
    /// Look at something outside.
    Read,
    /// Change something.
    Write,
    /// Run an operation.
    Run,
    /// Approve an effect that waits.
    Approve,
}

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Whoever controls this site.
    Owner,
    /// Another site.
    Site(SiteId, SiteKind),
}

/// Something to be done here.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// What.
    pub action: Action,
    /// By whom.
    pub actor: Actor,
    /// With which operation, `ns.verb`.
    pub operation: &'a str,
    /// On data with this label.
    pub label: &'a Label,
}

/// The name of what decided: `owner/…` and `organisation/…` are policies, `gate/…` is built in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Rule(Arc<str>);

impl Rule {
    pub(crate) fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The gate's answer. Its words come from policies and never from content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go.
    Allow {
        /// What allows it.
        rule: Rule,
    },
    /// It may not go.
    Deny {
        /// What forbids it.
        rule: Rule,
        /// Why, in plain words.
        why: Arc<str>,
    },
    /// It may not go unless the owner says so.
    Ask {
        /// What asks.
        rule: Rule,
        /// The question, in plain words.
        question: Arc<str>,
    },
}

impl Verdict {
    /// Whether it may go.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Verdict::Allow { .. })
    }

    /// What decided.
    pub fn rule(&self) -> &Rule {
        match self {
            Verdict::Allow { rule } | Verdict::Deny { rule, .. } | Verdict::Ask { rule, .. } => rule,
        }
    }

    /// Why it may not go, or the question; empty where it may.
    pub fn words(&self) -> &str {
        match self {
            Verdict::Allow { .. } => "",
            Verdict::Deny { why, .. } => why,
            Verdict::Ask { question, .. } => question,
        }
    }
}
