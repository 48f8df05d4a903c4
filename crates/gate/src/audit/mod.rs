//! Audit entries: what they say, how they are stored, how they are shown.
//!
//! An entry is stored as a format version byte and a protobuf message, salted and chained by the
//! store. It holds labels, sizes, digests of *cleared* bytes and names of rules; never content.
//!
//! Not here: when entries are written (`gate`) and the chain (`store`).

mod wire;

use serde_json::{Map, Value, json};
use std::collections::HashSet;
use tidegate_domain::ids::{AttemptId, RunId, SessionId, SiteId};
use tidegate_domain::label::{Category, Label};

/// The version byte in front of every stored entry.
pub const AUDIT_FORMAT: u8 = 1;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Bytes that pass.
    Transfer,
    /// A decision by which nothing passes: a refusal, a downgrade.
    Verdict,
    /// A change of what may pass.
    Admin,
    /// Status frames of a session, in total.
    Totals,
}

impl EntryKind {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Transfer => "transfer",
            EntryKind::Verdict => "verdict",
            EntryKind::Admin => "admin",
            EntryKind::Totals => "totals",
        }
    }
}

/// How far a transfer is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// Durable before the bytes leave.
    Intent,
    /// The bytes left.
    Sent,
    /// Nothing says whether they did. Never stored; [`fold_states`] finds it.
    PossiblySent,
}

impl TransferState {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            TransferState::Intent => "intent",
            TransferState::Sent => "sent",
            TransferState::PossiblySent => "possibly_sent",
        }
    }
}

/// Which way bytes pass, seen from this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// They leave.
    Out,
    /// They arrive.
    In,
}

impl Direction {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may.
    Allow,
    /// It may not.
    Deny,
    /// The owner would have to say.
    Ask,
}

impl Outcome {
    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::Ask => "ask",
        }
    }
}

/// Status frames of one kind in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameTotal {
    /// The kind of frame, from the wire schema.
    pub frame: String,
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An audit entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// What it is about.
    pub kind: EntryKind,
    /// Of transfers: how far.
    pub state: Option<TransferState>,
    /// Of `sent`: the sequence number of its intent.
    pub refers_to: Option<u64>,
    /// Of transfers and totals: which way.
    pub direction: Option<Direction>,
    /// Wall time.
    pub time_ms: u64,
    /// The run, if any.
    pub run: Option<RunId>,
    /// The attempt, if any.
    pub attempt: Option<AttemptId>,
    /// Of totals: the session.
    pub session: Option<SessionId>,
    /// The step; empty outside a run.
    pub step: String,
    /// The item of a fan-out.
    pub item: Option<u32>,
    /// Where from.
    pub from: Option<SiteId>,
    /// Where to.
    pub to: Option<SiteId>,
    /// Destinations beyond `to`.
    pub onward: Vec<String>,
    /// The label of what passes or would have; of a downgrade, the one before.
    pub label: Option<Label>,
    /// Of a downgrade: the label afterwards.
    pub label_after: Option<Label>,
    /// Size of what passes or would have.
    pub bytes: u64,
    /// BLAKE3 of the cleared bytes. A refusal has none: digests are minted at clearance.
    pub digest: Option<[u8; 32]>,
    /// What was decided.
    pub verdict: Option<Outcome>,
    /// What decided.
    pub rule: String,
    /// The operation, or what an administrator did.
    pub purpose: String,
    /// Further words, of administrative entries.
    pub note: String,
    /// Of totals: per kind of frame.
    pub totals: Vec<FrameTotal>,
    /// Makes each entry's bytes its own, so that no two drafts can be taken for each other.
    pub nonce: [u8; 16],
}

/// Why stored bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Written by a newer program, or no entry at all.
    #[error("an audit entry has format {0}, this program reads format {AUDIT_FORMAT}; update tidegate")]
    Format(u8),
    /// The bytes behind the version do not parse.
    #[error("an audit entry does not parse")]
    Malformed,
}

impl AuditEntry {
    /// An entry of which nothing but kind and time is known yet.
    pub(crate) fn new(kind: EntryKind, time_ms: u64) -> Self {
        Self {
            kind,
            state: None,
            refers_to: None,
            direction: None,
            time_ms,
            run: None,
            attempt: None,
            session: None,
            step: String::new(),
            item: None,
            from: None,
            to: None,
            onward: Vec::new(),
            label: None,
            label_after: None,
            bytes: 0,
            digest: None,
            verdict: None,
            rule: String::new(),
            purpose: String::new(),
            note: String::new(),
            totals: Vec::new(),
            nonce: [0; 16],
        }
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads stored bytes. Names and numbers this version does not know read as the highest label
    /// and as a refusal.
    pub fn decode(body: &[u8]) -> Result<AuditEntry, AuditError> {
        wire::decode(body)
    }

    /// One line of `tidegate audit --json`. The contract's fields are always there, `null` where
    /// they do not apply; `attempt`, `session`, `purpose`, `refers_to`, `onward`, `label_after`,
    /// `note` and `totals` only where they do.
    pub fn to_json(&self, seq: u64, hash: &[u8; 32], prev: &[u8; 32]) -> Value {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| {
            line.insert(name.to_owned(), value);
        };
        put("seq", json!(seq));
        put("time", json!(rfc3339(self.time_ms)));
        put("run", json!(self.run.map(|r| r.to_string())));
        put("step", if self.step.is_empty() { Value::Null } else { json!(self.step) });
        put("item", json!(self.item));
        put("kind", json!(self.kind.as_str()));
        put("state", json!(self.state.map(TransferState::as_str)));
        put("direction", json!(self.direction.map(Direction::as_str)));
        put("from", json!(self.from.map(|s| s.to_string())));
        put("to", json!(self.to.map(|s| s.to_string())));
        put("label", self.label.as_ref().map_or(Value::Null, label_json));
        put("bytes", json!(self.bytes));
        put("digest", self.digest.as_ref().map_or(Value::Null, digest_json));
        put("verdict", json!(self.verdict.map(Outcome::as_str)));
        put("rule", if self.rule.is_empty() { Value::Null } else { json!(self.rule) });
        put("hash", digest_json(hash));
        put("prev", digest_json(prev));
        if let Some(attempt) = self.attempt {
            put("attempt", json!(attempt.to_string()));
        }
        if let Some(session) = self.session {
            put("session", json!(session.to_string()));
        }
        if let Some(seq) = self.refers_to {
            put("refers_to", json!(seq));
        }
        if let Some(after) = &self.label_after {
            put("label_after", label_json(after));
        }
        if !self.purpose.is_empty() {
            put("purpose", json!(self.purpose));
        }
        if !self.note.is_empty() {
            put("note", json!(self.note));
        }
        if !self.onward.is_empty() {
            put("onward", json!(self.onward));
        }
        if !self.totals.is_empty() {
            let line = |t: &FrameTotal| json!({"frame": t.frame, "count": t.count, "bytes": t.bytes});
            put("totals", self.totals.iter().map(line).collect());
        }
        Value::Object(line)
    }
}

/// The line of an entry whose content was destroyed with its run: the chain still holds it.
pub fn forgotten_to_json(seq: u64, run: Option<RunId>, hash: &[u8; 32], prev: &[u8; 32]) -> Value {
    json!({
        "seq": seq,
        "run": run.map(|r| r.to_string()),
        "forgotten": true,
        "hash": digest_json(hash),
        "prev": digest_json(prev),
    })
}

/// Entries with their sequence numbers, in order, as they are to be read: an intent without a
/// later `sent` reads `possibly_sent`. So each transfer counts once if one counts `sent` and
/// `possibly_sent`.
pub fn fold_states(entries: impl IntoIterator<Item = (u64, AuditEntry)>) -> Vec<(u64, AuditEntry)> {
    let mut entries: Vec<(u64, AuditEntry)> = entries.into_iter().collect();
    let sent: HashSet<u64> = entries
        .iter()
        .filter(|(_, e)| e.kind == EntryKind::Transfer && e.state == Some(TransferState::Sent))
        .filter_map(|(seq, e)| e.refers_to.filter(|intent| intent < seq))
        .collect();
    for (seq, entry) in &mut entries {
        if entry.state == Some(TransferState::Intent) && !sent.contains(seq) {
            entry.state = Some(TransferState::PossiblySent);
        }
    }
    entries
}

fn digest_json(digest: &[u8; 32]) -> Value {
    Value::String(format!("blake3:{}", blake3::Hash::from_bytes(*digest).to_hex()))
}

/// Level, categories and integrity: workspaces are for the device's own rules alone.
fn label_json(label: &Label) -> Value {
    let categories: Vec<&str> = label.categories.iter().map(Category::as_str).collect();
    json!({
        "level": label.level.as_str(),
        "categories": categories,
        "integrity": label.integrity.as_str(),
    })
}

/// Milliseconds since the epoch as RFC 3339 in UTC; a time beyond year 9999 shows as its last
/// millisecond.
fn rfc3339(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests;
