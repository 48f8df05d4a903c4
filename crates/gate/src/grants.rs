//! Grants: policies of the owner's that let redacted text of one folder sink to internal.
//!
//! A grant is a policy text signed with the owner's key. Its text is a function of its fields, and
//! a record whose text is anything else is refused even if it is signed: what is stored as a grant
//! can never be more than one.
//!
//! Not here: keeping the records over a restart (the caller's store).

use crate::error::GateError;
use crate::owner::{OwnerKey, hex, unhex};
use prost::Message;
use std::fmt;
use std::str::FromStr;
use tidegate_domain::ids::{RunId, SiteId, WorkspaceId};

/// Grants in force at once.
pub const GRANTS_MAX: usize = 1_024;

/// The setting under which [`crate::Gate::grants_setting`] keeps all grants.
pub const GRANTS_SETTING: &str = "gate/grants";

const RECORDS_FORMAT: u8 = 1;

/// How far a grant reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantScope {
    /// One run.
    Run(RunId),
    /// Every run, until it is revoked.
    Always,
}

/// A grant's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub(crate) [u8; 16]);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant-{}", hex(&self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GrantId {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let bits = text.strip_prefix("grant-").and_then(unhex);
        bits.map(GrantId).ok_or_else(|| GateError::GrantRefused { id: text.chars().take(64).collect() })
    }
}

/// A signed grant, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its name.
    pub id: GrantId,
    /// The folder.
    pub workspace: WorkspaceId,
    /// How far it reaches.
    pub scope: GrantScope,
    /// Wall time of its making.
    pub made_ms: u64,
    text: String,
    signature: String,
}

impl GrantRecord {
    pub(crate) fn sign(
        key: &OwnerKey,
        site: SiteId,
        id: GrantId,
        workspace: WorkspaceId,
        scope: GrantScope,
        made_ms: u64,
    ) -> Self {
        let text = policy(id, workspace, scope, made_ms);
        let signature = key.sign("grant", site, &text);
        Self { id, workspace, scope, made_ms, text, signature }
    }

    /// Whether the owner's key signed it and it says no more than a grant may.
    pub(crate) fn verify(&self, key: &OwnerKey, site: SiteId) -> Result<(), GateError> {
        let plain = self.text == policy(self.id, self.workspace, self.scope, self.made_ms);
        if plain && key.verify("grant", site, &self.text, &self.signature) {
            Ok(())
        } else {
            Err(GateError::GrantRefused { id: self.id.to_string() })
        }
    }

    /// The record with other words, to see it refused.
    #[cfg(test)]
    pub(crate) fn with_text(&self, text: &str, signature: String) -> Self {
        Self { text: text.to_owned(), signature, ..self.clone() }
    }

    /// The policy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The stored form of several records.
    pub fn encode_all<'a>(records: impl IntoIterator<Item = &'a GrantRecord>) -> Vec<u8> {
        let grants = records.into_iter().map(|r| WireGrant {
            id: r.id.to_string(),
            workspace: r.workspace.to_string(),
            run: if let GrantScope::Run(run) = r.scope { run.to_string() } else { String::new() },
            made_ms: r.made_ms,
            text: r.text.clone(),
            signature: r.signature.clone(),
        });
        let wire = WireGrants { grants: grants.collect() };
        let mut out = Vec::with_capacity(1 + wire.encoded_len());
        out.push(RECORDS_FORMAT);
        // Cannot fail: a Vec grows.
        let _ = wire.encode(&mut out);
        out
    }

    /// Reads what [`GrantRecord::encode_all`] wrote. Signatures are checked when they are loaded.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<GrantRecord>, GateError> {
        let refused = |id: &str| GateError::GrantRefused { id: id.chars().take(64).collect() };
        let wire = match bytes.split_first() {
            Some((&RECORDS_FORMAT, rest)) => WireGrants::decode(rest).map_err(|_| refused("unreadable"))?,
            _ => return Err(refused("unreadable")),
        };
        let read = |g: WireGrant| {
            Ok(GrantRecord {
                id: g.id.parse()?,
                workspace: g.workspace.parse().map_err(|_| refused(&g.id))?,
                scope: match g.run.as_str() {
                    "" => GrantScope::Always,
                    run => GrantScope::Run(run.parse().map_err(|_| refused(&g.id))?),
                },
                made_ms: g.made_ms,
                text: g.text,
                signature: g.signature,
            })
        };
        wire.grants.into_iter().map(read).collect()
    }
}

/// The text of a grant. Ids hold no character that would need escaping.
fn policy(id: GrantId, workspace: WorkspaceId, scope: GrantScope, made_ms: u64) -> String {
    let (says, within) = match scope {
        GrantScope::Run(run) => (format!(" in {run}"), format!(" && context.run == \"{run}\"")),
        GrantScope::Always => (String::new(), String::new()),
    };
    format!(
        "// made at {made_ms} ms\n\
         @id(\"{id}\")\n\
         @says(\"redacted text of {workspace} may go to the hub{says}\")\n\
         permit (principal, action == Action::\"downgrade\", resource == Workspace::\"{workspace}\")\n\
         when {{ context.kind == \"redact\" && context.to_level == 1{within} }};\n"
    )
}

#[derive(Clone, PartialEq, Message)]
struct WireGrants {
    #[prost(message, repeated, tag = "1")]
    grants: Vec<WireGrant>,
}

#[derive(Clone, PartialEq, Message)]
struct WireGrant {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    workspace: String,
    /// Empty for a grant that is not bound to a run.
    #[prost(string, tag = "3")]
    run: String,
    #[prost(uint64, tag = "4")]
    made_ms: u64,
    #[prost(string, tag = "5")]
    text: String,
    #[prost(string, tag = "6")]
    signature: String,
}
