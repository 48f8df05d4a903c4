//! Policies: loading them strictly and asking them.
//!
//! This is the only file that knows which policy language is used. Two rules of ours stand above
//! the language's own: *both* sets must allow, and any policy that fails while it is evaluated
//! denies. The language would skip a failing policy, so that a failing `forbid` would let through
//! what it was written to stop.
//!
//! Not here: what is asked (`requests`), caching (`cache`), signatures (`owner`).

use crate::error::GateError;
use crate::question::{Rule, Verdict};
use crate::requests::Names;
use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Entities, Policy, PolicyId, PolicySet, Request, Response, Schema,
    ValidationMode, Validator,
};
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

/// Policies of one set, grants included, and bytes of its text.
pub(crate) const POLICIES_MAX: usize = 2_048;
pub(crate) const POLICY_TEXT_BYTES_MAX: usize = 1 << 20;

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");

/// Evaluates policies of any set against the one schema.
pub(crate) struct Rules {
    pub(crate) schema: Schema,
    pub(crate) names: Names,
    validator: Validator,
    authorizer: Authorizer,
    entities: Entities,
}

/// A set of policies that passed strict validation.
#[derive(Clone)]
pub(crate) struct RuleSet {
    name: &'static str,
    policies: PolicySet,
    listed: HashMap<PolicyId, Listed>,
    /// The place of the next policy that is added.
    next: usize,
}

/// What is said of a policy.
#[derive(Clone)]
struct Listed {
    /// Its place in the file: of several that decide, the first is named.
    place: usize,
    rule: Rule,
    says: Arc<str>,
    asks: Option<Arc<str>>,
}

/// An answer, and whether a grant could change it.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Nothing forbids it; the owner's set just has nothing that permits it.
    pub(crate) ungranted: bool,
}

impl Rules {
    /// The rules' engine with the embedded schema.
    pub(crate) fn new() -> Result<Self, GateError> {
        let broken = |why: &dyn Display| GateError::Policies { set: "built-in", why: why.to_string() };
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).map_err(|e| broken(&e))?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(broken(&warning));
        }
        let names = Names::new().ok_or_else(|| broken(&"a name does not parse"))?;
        let validator = Validator::new(schema.clone());
        Ok(Self { schema, names, validator, authorizer: Authorizer::new(), entities: Entities::empty() })
    }

    /// Parses and validates a set. Every policy needs `@id` and `@says`.
    pub(crate) fn load(&self, name: &'static str, text: &str) -> Result<RuleSet, GateError> {
        let refused = |why: String| GateError::Policies { set: name, why };
        if text.len() > POLICY_TEXT_BYTES_MAX {
            return Err(refused(format!("the text is over the limit of {POLICY_TEXT_BYTES_MAX} bytes")));
        }
        let parsed: PolicySet = text.parse().map_err(|e| refused(format!("{e}")))?;
        if parsed.num_of_templates() > 0 {
            return Err(refused("templates are not supported".into()));
        }
        // Unnamed policies are called `policy<n>` in the order of the text.
        let mut ordered: Vec<&Policy> = parsed.policies().collect();
        ordered.sort_by_key(|p| p.id().to_string().strip_prefix("policy").and_then(|n| n.parse::<usize>().ok()));
        let mut set = RuleSet::empty(name);
        for policy in ordered {
            set.add(policy).map_err(refused)?;
        }
        self.validate(&set)?;
        Ok(set)
    }

    /// The set with further policies, each a text of its own. Only these are validated: a policy
    /// is valid or not whatever stands beside it.
    pub(crate) fn extend<'a>(
        &self,
        base: &RuleSet,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<RuleSet, GateError> {
        let (mut set, mut further) = (base.clone(), RuleSet::empty(base.name));
        for text in texts {
            let refused = |why: String| GateError::Policies { set: base.name, why };
            let policy = Policy::parse(None, text).map_err(|e| refused(format!("{e}")))?;
            set.add(&policy).map_err(refused)?;
            further.add(&policy).map_err(refused)?;
        }
        self.validate(&further)?;
        Ok(set)
    }

    /// Warnings count: a `forbid` that can never hold is a typing error that lets things through.
    fn validate(&self, set: &RuleSet) -> Result<(), GateError> {
        let result = self.validator.validate(&set.policies, ValidationMode::Strict);
        let first = result
            .validation_errors()
            .map(|e| e.to_string())
            .chain(result.validation_warnings().map(|w| w.to_string()))
            .next();
        match first {
            None => Ok(()),
            Some(why) => Err(GateError::Policies { set: set.name, why }),
        }
    }

    /// Asks both sets. Both must allow; a policy that fails denies.
    pub(crate) fn decide(&self, organisation: &RuleSet, owner: &RuleSet, request: &Request) -> Answer {
        let asked = [organisation, owner]
            .map(|set| (set, self.authorizer.is_authorized(request, &set.policies, &self.entities)));
        decide(&asked)
    }

    /// One bare evaluation of one set, for the speed comparison in `examples/gate_speed.rs`.
    pub(crate) fn evaluate_raw(&self, set: &RuleSet, request: &Request) -> bool {
        self.authorizer.is_authorized(request, &set.policies, &self.entities).decision() == Decision::Allow
    }
}

/// The first failure, else the first ban, else the first lack of a permission, else the owner's
/// permission.
fn decide(asked: &[(&RuleSet, Response); 2]) -> Answer {
    let plain = |verdict| Answer { verdict, ungranted: false };
    for (set, response) in asked {
        if let Some(error) = response.diagnostics().errors().next() {
            let AuthorizationError::PolicyEvaluationError(failure) = error;
            let failed = failure.policy_id();
            let rule = set.listed.get(failed).map_or_else(|| set.rule("no-rule"), |l| l.rule.clone());
            let why = "a rule could not be evaluated, and a rule that fails refuses".into();
            return plain(Verdict::Deny { rule, why });
        }
    }
    let banning: Vec<&Listed> = asked
        .iter()
        .filter(|(_, response)| response.decision() == Decision::Deny)
        .flat_map(|(set, response)| set.deciding(response))
        .collect();
    if let Some(first) = banning.iter().find(|l| l.asks.is_none()) {
        return plain(Verdict::Deny { rule: first.rule.clone(), why: first.says.clone() });
    }
    for (at, (set, response)) in asked.iter().enumerate() {
        if response.decision() == Decision::Deny && set.deciding(response).is_empty() {
            let why = format!("no rule of the {}'s policies allows this", set.name).into();
            let owner_lacks_it = at == 1 && banning.is_empty();
            return Answer { verdict: Verdict::Deny { rule: set.rule("no-rule"), why }, ungranted: owner_lacks_it };
        }
    }
    if let Some(Listed { rule, asks: Some(question), .. }) = banning.first() {
        return plain(Verdict::Ask { rule: rule.clone(), question: question.clone() });
    }
    let [_, (owner, response)] = asked;
    match owner.deciding(response).first() {
        Some(permit) if asked.iter().all(|(_, r)| r.decision() == Decision::Allow) => {
            plain(Verdict::Allow { rule: permit.rule.clone() })
        }
        _ => plain(Verdict::Deny { rule: owner.rule("no-rule"), why: "no rule allows this".into() }),
    }
}

impl RuleSet {
    fn empty(name: &'static str) -> Self {
        Self { name, policies: PolicySet::new(), listed: HashMap::new(), next: 0 }
    }

    /// The set without the policies of these names.
    pub(crate) fn without(&self, ids: impl Iterator<Item = String>) -> Self {
        let mut set = self.clone();
        for id in ids {
            let key = PolicyId::new(id);
            // Not being there is what is wanted.
            let _ = set.policies.remove_static(key.clone());
            set.listed.remove(&key);
        }
        set
    }

    fn add(&mut self, policy: &Policy) -> Result<(), String> {
        let place = self.next;
        if self.listed.len() >= POLICIES_MAX {
            return Err(format!("there are more than the limit of {POLICIES_MAX} policies"));
        }
        let id = policy.annotation("id").ok_or_else(|| format!("policy {} lacks @id(\"…\")", place + 1))?;
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
            return Err(format!("`{id}` is no id: 1 to 64 characters of a-z, 0-9 and '-'"));
        }
        let says = policy.annotation("says").filter(|s| !s.is_empty());
        let says = says.ok_or_else(|| format!("policy `{id}` lacks @says(\"…\") in plain words"))?;
        let key = PolicyId::new(id);
        let listed = Listed {
            place,
            rule: self.rule(id),
            says: says.into(),
            asks: policy.annotation("asks").filter(|s| !s.is_empty()).map(Into::into),
        };
        self.policies.add(policy.new_id(key.clone())).map_err(|_| format!("two policies are called `{id}`"))?;
        self.listed.insert(key, listed);
        self.next += 1;
        Ok(())
    }

    fn rule(&self, id: &str) -> Rule {
        Rule::new(format!("{}/{id}", self.name))
    }

    /// The policies that decided, in the order of the file.
    fn deciding(&self, response: &Response) -> Vec<&Listed> {
        let mut found: Vec<&Listed> = response.diagnostics().reason().filter_map(|id| self.listed.get(id)).collect();
        found.sort_by_key(|l| l.place);
        found
    }
}

#[cfg(test)]
mod tests;
