//! Questions in the terms of the policies' schema.
//!
//! Not here: the answers (`rules`).

use crate::downgrade::{Downgrade, DowngradeKind};
use crate::gate::Side;
use crate::question::{Act, Action, Actor, Question};
use crate::rules::Rules;
use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Term};
use std::fmt::Display;
use tidegate_domain::ids::{SiteId, WorkspaceId};
use tidegate_domain::label::{Categories, Integrity, Label, Level};
use tidegate_domain::ops::SiteKind;

/// Type and action names, parsed once.
pub(crate) struct Names {
    owner: EntityTypeName,
    site: EntityTypeName,
    workspace: EntityTypeName,
    operation: EntityTypeName,
    action: EntityTypeName,
}

impl Names {
    pub(crate) fn new() -> Option<Self> {
        let name = |text: &str| text.parse::<EntityTypeName>().ok();
        Some(Self {
            owner: name("Owner")?,
            site: name("Site")?,
            workspace: name("Workspace")?,
            operation: name("Operation")?,
            action: name("Action")?,
        })
    }
}

/// The number by which policies speak of a level.
pub(crate) fn level_number(level: Level) -> i64 {
    match level {
        Level::Public => 0,
        Level::Internal => 1,
        Level::Confidential => 2,
        Level::Restricted => 3,
    }
}

/// A downgrade in one of the folders it concerns.
pub(crate) struct Sinking<'a> {
    pub(crate) downgrade: &'a Downgrade<'a>,
    pub(crate) cleared: Categories,
    pub(crate) lowers: bool,
    pub(crate) to: Level,
    pub(crate) workspace: Option<WorkspaceId>,
}

/// `None` if a question does not fit the schema: the caller then denies.
impl Rules {
    /// "May this leave?"
    pub(crate) fn transfer(&self, side: Side, from: SiteId, q: &Question<'_>) -> Option<Request> {
        let to = q.destination;
        let context = [
            ("data", sensitivity(q.label)?),
            ("from", text(side.as_str())),
            ("to", text(to.kind.as_str())),
            ("onward", Term::new_set(to.onward.iter().map(|o| text(o)))),
            ("purpose", text(q.purpose)),
            ("speculative", Term::new_bool(q.speculative)),
            ("returning", Term::new_bool(q.origin == Some(to.site))),
        ];
        let resource = entity(&self.names.site, &to.site);
        self.request(entity(&self.names.site, &from), "transfer", resource, context)
    }

    /// "May this label sink?", for one folder.
    pub(crate) fn sinking(&self, side: Side, at: SiteId, s: &Sinking<'_>) -> Option<Request> {
        let d = s.downgrade;
        let kind = match d.kind {
            DowngradeKind::Redact => "redact",
            DowngradeKind::Extract => "extract",
        };
        let context = [
            ("data", sensitivity(d.from)?),
            ("from", text(side.as_str())),
            ("kind", text(kind)),
            ("operation", text(d.op)),
            ("cleared", categories(s.cleared)),
            ("lowers", Term::new_bool(s.lowers)),
            ("to_level", Term::new_long(level_number(s.to))),
            ("run", Term::new_string(d.run.map(|r| r.to_string()).unwrap_or_default())),
            ("placed", Term::new_bool(s.workspace.is_some())),
        ];
        let resource = match &s.workspace {
            Some(workspace) => entity(&self.names.workspace, workspace),
            None => entity(&self.names.workspace, &"none"),
        };
        self.request(entity(&self.names.site, &at), "downgrade", resource, context)
    }

    /// "May this be done here?"
    pub(crate) fn act(&self, side: Side, act: &Act<'_>) -> Option<Request> {
        let (principal, by) = match act.actor {
            Actor::Owner => (entity(&self.names.owner, &"owner"), "owner"),
            Actor::Site(site, kind) => (entity(&self.names.site, &site), SiteKind::as_str(kind)),
        };
        let action = match act.action {
            Action::Place => "place",
            Action::Read => "read",
            Action::Write => "write",
            Action::Run => "run",
            Action::Approve => "approve",
        };
        let context = [("data", sensitivity(act.label)?), ("by", text(by)), ("at", text(side.as_str()))];
        self.request(principal, action, entity(&self.names.operation, &act.operation), context)
    }

    /// Checked against the schema, so that a policy never meets a context it was not validated for.
    fn request<const N: usize>(
        &self,
        principal: EntityUid,
        action: &str,
        resource: EntityUid,
        context: [(&str, Term); N],
    ) -> Option<Request> {
        let context = Context::from_pairs(context.map(|(k, v)| (k.to_owned(), v))).ok()?;
        let action = entity(&self.names.action, &action);
        Request::new(principal, action, resource, context, Some(&self.schema)).ok()
    }
}

fn entity(kind: &EntityTypeName, name: &impl Display) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name.to_string()))
}

fn text(text: &str) -> Term {
    Term::new_string(text.to_owned())
}

fn categories(set: Categories) -> Term {
    Term::new_set(set.iter().map(|c| text(c.as_str())))
}

fn sensitivity(label: &Label) -> Option<Term> {
    Term::new_record([
        ("level".to_owned(), Term::new_long(level_number(label.level))),
        ("categories".to_owned(), categories(label.categories)),
        ("untrusted".to_owned(), Term::new_bool(label.integrity == Integrity::Untrusted)),
    ])
    .ok()
}
