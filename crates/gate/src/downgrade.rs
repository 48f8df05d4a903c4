//! How a label may sink: the one way down (invariant I8).
//!
//! What a downgrade would give is computed here, purely, before any policy is asked; policies can
//! only say yes or no to it. So no policy text, however wrong, makes anything public, lowers
//! restricted data, mends integrity or forgets where data came from.
//!
//! Not here: the asking (`gate`), the grants (`grants`), the redaction itself.

use crate::question::Rule;
use std::sync::Arc;
use tidegate_domain::ids::{Realm, RunId, WorkspaceId};
use tidegate_domain::label::{Categories, Category, Label, Level};
use tidegate_store::Write;

/// The workspace of the content that ships with the program. Operations give it only to content
/// whose digest is in the shipped manifest; the default policies let its redacted text go.
pub const SAMPLES: WorkspaceId = WorkspaceId { realm: Realm::LOCAL, bits: 1 };

/// The flag that grants what an [`Ask`] asks for.
pub const ALLOW_REDACTED_FLAG: &str = "--allow-redacted";

/// What detectors can determine, and so what redaction can take off.
pub const CLEARABLE: Categories =
    Categories::only(Category::Pii).with(Category::Financial).with(Category::Credential).with(Category::Undetermined);

/// By what a label is to sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DowngradeKind {
    /// Private values were taken out of a text.
    Redact,
    /// An operation tells a declared part of what it knows.
    Extract,
}

/// A label that is to sink.
#[derive(Clone, Copy, Debug)]
pub struct Downgrade<'a> {
    /// By what.
    pub kind: DowngradeKind,
    /// The operation, `ns.verb`.
    pub op: &'a str,
    /// The label before.
    pub from: &'a Label,
    /// The run, if any.
    pub run: Option<RunId>,
    /// The step's name; empty outside a run.
    pub step: &'a str,
    /// The item of a fan-out.
    pub item: Option<u32>,
    /// What is still found in the result, by looking again after the redaction;
    /// [`Category::Undetermined`] if nobody looked.
    pub residue: Categories,
}

/// A question for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// In plain words, naming neither paths nor content.
    pub question: Arc<str>,
    /// What to give on the command line instead of an answer.
    pub flag: &'static str,
    /// The folders that lack a grant.
    pub workspaces: Vec<WorkspaceId>,
}

/// What became of a downgrade. `audit` is committed either way.
#[derive(Clone, Debug)]
pub enum DowngradeDecision {
    /// The result has `label`.
    Granted {
        /// The label of the result. With an `ask` its level is the one it had.
        label: Label,
        /// What allows it.
        rule: Rule,
        /// Present if categories were cleared but a grant is missing for the level.
        ask: Option<Ask>,
        /// The audit entry.
        audit: Write,
    },
    /// Nothing sank.
    Denied {
        /// The label the result keeps: the one before, joined with the residue.
        label: Label,
        /// What forbids it, or lacks.
        rule: Rule,
        /// Why, in plain words.
        why: Arc<str>,
        /// Present if a grant would help.
        ask: Option<Ask>,
        /// The audit entry.
        audit: Write,
    },
}

impl DowngradeDecision {
    /// The audit entry, to be committed with the step's outcome.
    pub fn audit(&self) -> &Write {
        match self {
            DowngradeDecision::Granted { audit, .. } | DowngradeDecision::Denied { audit, .. } => audit,
        }
    }

    /// What the owner could be asked.
    pub fn ask(&self) -> Option<&Ask> {
        match self {
            DowngradeDecision::Granted { ask, .. } | DowngradeDecision::Denied { ask, .. } => ask.as_ref(),
        }
    }

    /// What decided.
    pub fn rule(&self) -> &Rule {
        match self {
            DowngradeDecision::Granted { rule, .. } | DowngradeDecision::Denied { rule, .. } => rule,
        }
    }

    /// The label the result has from now on.
    pub fn label(&self) -> &Label {
        match self {
            DowngradeDecision::Granted { label, .. } | DowngradeDecision::Denied { label, .. } => label,
        }
    }
}

/// What a downgrade comes to, before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The label if nothing is allowed.
    pub kept: Label,
    /// The label once categories are cleared.
    pub cleared: Label,
    /// The label if the level may sink as well; `None` where nothing is left to sink or something
    /// stands in its way.
    pub lowered: Option<Label>,
    /// The categories that go.
    pub taken_off: Categories,
}

/// What a downgrade of `kind` would give.
///
/// Laws: the level never sinks below internal, and only by `lowered`; restricted stays as it is;
/// residue is always in the result; integrity and workspaces never change; redaction lowers no
/// level while any category is left.
pub fn propose(kind: DowngradeKind, from: &Label, residue: Categories) -> Proposal {
    let kept = Label { categories: from.categories.union(residue), ..from.clone() };
    if from.level == Level::Restricted {
        return Proposal { cleared: kept.clone(), kept, lowered: None, taken_off: Categories::NONE };
    }
    let clearable = match kind {
        DowngradeKind::Redact => CLEARABLE,
        DowngradeKind::Extract => Categories::NONE,
    };
    let taken_off = from.categories.iter().filter(|c| clearable.contains(*c) && !residue.contains(*c));
    let taken_off = taken_off.fold(Categories::NONE, Categories::with);
    let left = taken_off.iter().fold(kept.categories, Categories::without);
    let cleared = Label { categories: left, ..kept.clone() };
    let clean_enough = match kind {
        DowngradeKind::Redact => left.is_empty(),
        DowngradeKind::Extract => !left.contains(Category::Unknown),
    };
    let lowered =
        (from.level > Level::Internal && clean_enough).then(|| Label { level: Level::Internal, ..cleared.clone() });
    Proposal { kept, cleared, lowered, taken_off }
}

/// The question for folders that lack a grant.
pub(crate) fn ask(workspaces: Vec<WorkspaceId>) -> Ask {
    let folders = match workspaces.len() {
        1 => "this folder".to_owned(),
        n => format!("these {n} folders"),
    };
    let question = format!(
        "may redacted text from {folders} go to the hub? names, places and anything no detector knows would go with it"
    );
    Ask { question: question.into(), flag: ALLOW_REDACTED_FLAG, workspaces }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidegate_domain::label::Integrity;

    fn any_label() -> impl Strategy<Value = Label> {
        (0usize..4, 0u32..64, any::<bool>(), proptest::collection::btree_set(0u128..5, 0..3)).prop_map(
            |(level, bits, untrusted, spaces)| Label {
                level: Level::ALL[level],
                categories: Categories::from_bits(bits),
                integrity: if untrusted { Integrity::Untrusted } else { Integrity::Trusted },
                workspaces: spaces.into_iter().map(|bits| WorkspaceId { realm: Realm::LOCAL, bits }).collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn no_downgrade_breaks_the_laws(from in any_label(), bits in 0u32..64, redact: bool) {
            let kind = if redact { DowngradeKind::Redact } else { DowngradeKind::Extract };
            let residue = Categories::from_bits(bits);
            let p = propose(kind, &from, residue);
            prop_assert!(p.kept.covers(&from));
            prop_assert_eq!(p.cleared.level, from.level);
            for label in [Some(&p.kept), Some(&p.cleared), p.lowered.as_ref()].into_iter().flatten() {
                prop_assert!(label.categories.contains_all(residue), "residue stays");
                prop_assert_eq!(label.integrity, from.integrity);
                prop_assert_eq!(&label.workspaces, &from.workspaces);
                prop_assert!(label.level >= from.level.min(Level::Internal), "never below internal");
                prop_assert!(p.kept.covers(label), "nothing rises beyond the residue");
                for fixed in [Category::Health, Category::Unknown] {
                    prop_assert_eq!(label.categories.contains(fixed), p.kept.categories.contains(fixed));
                }
            }
            if from.level == Level::Restricted {
                prop_assert_eq!(&p.cleared, &p.kept);
            }
            if let (Some(lowered), true) = (&p.lowered, redact) {
                prop_assert_eq!(lowered.categories, Categories::NONE);
            }
            prop_assert_eq!(p.lowered.is_some() && from.level != Level::Confidential, false);
        }
    }
}
