//! Downgrades: asking for every folder, and what to ask the owner where a grant is missing.
//!
//! Not here: what a downgrade would give (`downgrade`), the grants (`granting`).

use super::{Gate, State, built_in, outcome, unaskable};
use crate::audit::{AuditEntry, EntryKind, Outcome};
use crate::cache;
use crate::downgrade::{self, Ask, Downgrade, DowngradeDecision, DowngradeKind};
use crate::question::Verdict;
use crate::requests::Sinking;
use tidegate_domain::ids::WorkspaceId;
use tidegate_domain::label::{Categories, Label, Level};

/// What a downgrade comes to, without its audit entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sunk {
    /// The label of the result.
    pub label: Label,
    /// Whether anything was granted, and by what.
    pub verdict: Verdict,
    /// What the owner could be asked.
    pub ask: Option<Ask>,
}

impl Gate {
    /// What would become of a label. Leaves no audit entry: nothing sinks by it.
    pub fn would_downgrade(&self, d: &Downgrade<'_>) -> Sunk {
        let state = self.state();
        state.sinkings.get_or(cache::downgrade_key(d), || self.sink(&state, d))
    }

    /// Decides whether a label sinks. Use the decision's label, and commit its audit entry with the
    /// outcome that carries it.
    pub fn downgrade(&self, d: &Downgrade<'_>, now_ms: u64) -> DowngradeDecision {
        let Sunk { label, verdict, ask } = self.would_downgrade(d);
        // What was cleared without its level having sunk is a question to the owner, not a refusal.
        let answer = if ask.is_some() { Outcome::Ask } else { outcome(&verdict) };
        let audit = self.audit(AuditEntry {
            run: d.run,
            step: d.step.to_owned(),
            item: d.item,
            from: Some(self.0.site),
            label: Some(d.from.clone()),
            label_after: Some(label.clone()),
            verdict: Some(answer),
            rule: verdict.rule().as_str().to_owned(),
            purpose: d.op.to_owned(),
            ..AuditEntry::new(EntryKind::Verdict, now_ms)
        });
        match verdict {
            Verdict::Allow { rule } => DowngradeDecision::Granted { label, rule, ask, audit },
            Verdict::Deny { rule, why } | Verdict::Ask { rule, question: why } => {
                DowngradeDecision::Denied { label, rule, why, ask, audit }
            }
        }
    }

    /// First the categories, then the level: each must be allowed for every folder the data comes
    /// from.
    fn sink(&self, state: &State, d: &Downgrade<'_>) -> Sunk {
        let proposal = downgrade::propose(d.kind, d.from, d.residue);
        let clears = !proposal.taken_off.is_empty();
        let Some(lowered) = proposal.lowered else {
            let (verdict, _) = self.ask_folders(state, d, proposal.taken_off, None);
            let label = if verdict.is_allowed() { proposal.cleared } else { proposal.kept };
            return Sunk { label, verdict, ask: None };
        };
        // With nothing to clear the question is about the level alone.
        let part = clears.then(|| self.ask_folders(state, d, proposal.taken_off, None).0);
        if let Some(refused) = part.as_ref().filter(|v| !v.is_allowed()) {
            return Sunk { label: proposal.kept, verdict: refused.clone(), ask: None };
        }
        let (verdict, lacking) = self.ask_folders(state, d, proposal.taken_off, Some(lowered.level));
        if verdict.is_allowed() {
            return Sunk { label: lowered, verdict, ask: None };
        }
        let askable = d.kind == DowngradeKind::Redact && !lacking.is_empty();
        let ask = askable.then(|| downgrade::ask(lacking));
        let verdict = match (part, &ask) {
            // The categories are gone, so a part of what was wanted is granted.
            (Some(cleared), _) => cleared,
            (None, Some(ask)) => Verdict::Ask { rule: verdict.rule().clone(), question: ask.question.clone() },
            (None, None) => verdict,
        };
        Sunk { label: proposal.cleared, verdict, ask }
    }

    /// The last permission if all folders have one; else the first refusal that no grant could
    /// change, else the first that one could. With it the folders that lack a grant, unless
    /// something forbids what the grant would allow.
    fn ask_folders(
        &self,
        state: &State,
        d: &Downgrade<'_>,
        cleared: Categories,
        to: Option<Level>,
    ) -> (Verdict, Vec<WorkspaceId>) {
        let known = d.from.workspaces.iter().copied().map(Some);
        let none = d.from.workspaces.is_empty().then_some(None);
        let (mut allowed, mut ungranted, mut lacking) = (None, None, Vec::new());
        for workspace in known.chain(none) {
            let sinking =
                Sinking { downgrade: d, cleared, lowers: to.is_some(), to: to.unwrap_or(d.from.level), workspace };
            let request = self.0.rules.sinking(self.0.side, self.0.site, &sinking);
            let answer = request.map_or_else(unaskable, |r| self.0.rules.decide(&state.organisation, &state.owner, &r));
            match (answer.verdict.is_allowed(), answer.ungranted) {
                (true, _) => allowed = Some(answer.verdict),
                (false, true) => {
                    ungranted.get_or_insert(answer.verdict);
                    lacking.extend(workspace);
                }
                (false, false) => return (answer.verdict, Vec::new()),
            }
        }
        let nothing = || built_in("no-rule", "no rule allows this");
        (ungranted.or(allowed).unwrap_or_else(nothing), lacking)
    }
}
