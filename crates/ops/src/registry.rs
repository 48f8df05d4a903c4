//! The list of operations this program has.

use crate::builtin;
use crate::context::{Context, OpError};
use std::future::Future;
use std::pin::Pin;
use tidegate_domain::ops::OpSpec;
use tidegate_domain::value::Value;

/// An operation's answer on its way.
pub type Answer<'c> = Pin<Box<dyn Future<Output = Result<Value, OpError>> + Send + 'c>>;

/// The code behind an operation.
#[derive(Clone, Copy)]
pub enum Body {
    /// Microseconds of work: runs where it stands.
    Inline(fn(&Context, &Value) -> Result<Value, OpError>),
    /// Computes or reads files: runs on a thread that may block.
    Blocking(fn(&Context, &Value) -> Result<Value, OpError>),
    /// Waits for a confined child.
    Waiting(for<'c> fn(&'c Context, &'c Value) -> Answer<'c>),
}

/// A declared operation and its code.
pub struct Operation {
    /// What it declares.
    pub spec: OpSpec,
    /// What it does.
    pub body: Body,
}

static OPERATIONS: &[&Operation] = &[
    &builtin::files_read::OPERATION,
    &builtin::files_scan::OPERATION,
    &builtin::files_write::OPERATION,
    &builtin::library_match::OPERATION,
    &builtin::privacy_redact::OPERATION,
    &builtin::privacy_restore::OPERATION,
    &builtin::privacy_scan::OPERATION,
    &builtin::text_compose::OPERATION,
    &builtin::text_extract::OPERATION,
    &builtin::text_similar::OPERATION,
    &builtin::text_summarize::OPERATION,
    &builtin::value_set::OPERATION,
];

/// The operation called `name`.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|op| op.spec.name == name).copied()
}

/// The declaration of the operation called `name`.
pub fn spec(name: &str) -> Option<&'static OpSpec> {
    find(name).map(|op| &op.spec)
}

/// All declarations, sorted by name.
pub fn specs() -> impl Iterator<Item = &'static OpSpec> {
    OPERATIONS.iter().map(|op| &op.spec)
}

/// All names, sorted.
pub fn names() -> Vec<&'static str> {
    specs().map(|spec| spec.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::ops::{Effects, SiteKind};

    #[test]
    fn names_are_sorted_and_of_the_form_ns_verb() {
        let names = names();
        assert!(names.windows(2).all(|w| w[0] < w[1]));
        assert!(names.iter().all(|n| n.split('.').count() == 2));
    }

    #[test]
    fn whatever_touches_the_device_runs_on_the_device_alone() {
        for spec in specs() {
            if spec.effects == Effects::Write || spec.name.starts_with("files.") {
                assert_eq!(spec.sites, &[SiteKind::Device], "{}", spec.name);
            }
        }
    }
}
