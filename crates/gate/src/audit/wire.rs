//! The stored form of an audit entry. Field numbers are never reused.
//!
//! Not here: the meaning of the fields (`super`).

use super::{AUDIT_FORMAT, AuditEntry, AuditError, Direction, EntryKind, FrameTotal, Outcome, TransferState};
use prost::Message;
use tidegate_domain::ids::{AttemptId, Realm, RunId, SessionId, SiteId, WorkspaceId};
use tidegate_domain::label::{Categories, Integrity, Label, Level};

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    state: u32,
    #[prost(uint64, optional, tag = "3")]
    refers_to: Option<u64>,
    #[prost(uint32, tag = "4")]
    direction: u32,
    #[prost(uint64, tag = "5")]
    time_ms: u64,
    /// Of every id below; empty for the default realm.
    #[prost(string, tag = "6")]
    realm: String,
    #[prost(bytes = "vec", tag = "7")]
    run: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    attempt: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    session: Vec<u8>,
    #[prost(string, tag = "10")]
    step: String,
    #[prost(uint32, optional, tag = "11")]
    item: Option<u32>,
    #[prost(bytes = "vec", tag = "12")]
    from: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    to: Vec<u8>,
    #[prost(string, repeated, tag = "14")]
    onward: Vec<String>,
    #[prost(message, optional, tag = "15")]
    label: Option<WireLabel>,
    #[prost(message, optional, tag = "16")]
    label_after: Option<WireLabel>,
    #[prost(uint64, tag = "17")]
    bytes: u64,
    #[prost(bytes = "vec", tag = "18")]
    digest: Vec<u8>,
    #[prost(uint32, tag = "19")]
    verdict: u32,
    #[prost(string, tag = "20")]
    rule: String,
    #[prost(string, tag = "21")]
    purpose: String,
    #[prost(string, tag = "22")]
    note: String,
    #[prost(message, repeated, tag = "23")]
    totals: Vec<Total>,
    #[prost(bytes = "vec", tag = "24")]
    nonce: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WireLabel {
    /// 1 public, 2 internal, 3 confidential; anything else, none included, restricted.
    #[prost(uint32, tag = "1")]
    level: u32,
    #[prost(uint32, tag = "2")]
    categories: u32,
    /// 1 trusted; anything else untrusted.
    #[prost(uint32, tag = "3")]
    integrity: u32,
    #[prost(bytes = "vec", repeated, tag = "4")]
    workspaces: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Total {
    #[prost(string, tag = "1")]
    frame: String,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
}

pub(super) fn encode(entry: &AuditEntry) -> Vec<u8> {
    let AuditEntry { run, attempt, session, from, to, .. } = entry;
    let realm = (run.map(|i| i.realm))
        .or(attempt.map(|i| i.realm))
        .or(session.map(|i| i.realm))
        .or(from.map(|i| i.realm))
        .or(to.map(|i| i.realm))
        .unwrap_or(Realm::LOCAL);
    let wire = Entry {
        kind: match entry.kind {
            EntryKind::Transfer => 1,
            EntryKind::Verdict => 2,
            EntryKind::Admin => 3,
            EntryKind::Totals => 4,
        },
        state: match entry.state {
            None => 0,
            Some(TransferState::Intent) => 1,
            Some(TransferState::Sent) => 2,
            Some(TransferState::PossiblySent) => 3,
        },
        refers_to: entry.refers_to,
        direction: match entry.direction {
            None => 0,
            Some(Direction::Out) => 1,
            Some(Direction::In) => 2,
        },
        time_ms: entry.time_ms,
        realm: if realm == Realm::LOCAL { String::new() } else { realm.to_string() },
        run: run.map(|i| i.to_bytes().to_vec()).unwrap_or_default(),
        attempt: attempt.map(|i| i.to_bytes().to_vec()).unwrap_or_default(),
        session: session.map(|i| i.to_bytes().to_vec()).unwrap_or_default(),
        step: entry.step.clone(),
        item: entry.item,
        from: from.map(|i| i.to_bytes().to_vec()).unwrap_or_default(),
        to: to.map(|i| i.to_bytes().to_vec()).unwrap_or_default(),
        onward: entry.onward.clone(),
        label: entry.label.as_ref().map(label_to_wire),
        label_after: entry.label_after.as_ref().map(label_to_wire),
        bytes: entry.bytes,
        digest: entry.digest.map(|d| d.to_vec()).unwrap_or_default(),
        verdict: match entry.verdict {
            None => 0,
            Some(Outcome::Allow) => 1,
            Some(Outcome::Deny) => 2,
            Some(Outcome::Ask) => 3,
        },
        rule: entry.rule.clone(),
        purpose: entry.purpose.clone(),
        note: entry.note.clone(),
        totals: entry.totals.iter().map(|t| Total { frame: t.frame.clone(), count: t.count, bytes: t.bytes }).collect(),
        nonce: entry.nonce.to_vec(),
    };
    let mut out = Vec::with_capacity(1 + wire.encoded_len());
    out.push(AUDIT_FORMAT);
    // Cannot fail: a Vec grows.
    let _ = wire.encode(&mut out);
    out
}

pub(super) fn decode(body: &[u8]) -> Result<AuditEntry, AuditError> {
    let (version, rest) = body.split_first().ok_or(AuditError::Malformed)?;
    if *version != AUDIT_FORMAT {
        return Err(AuditError::Format(*version));
    }
    let wire = Entry::decode(rest).map_err(|_| AuditError::Malformed)?;
    let realm = match wire.realm.as_str() {
        "" => Realm::LOCAL,
        name => name.parse().map_err(|_| AuditError::Malformed)?,
    };
    let label = |wire: WireLabel| label_from_wire(realm, wire);
    Ok(AuditEntry {
        kind: match wire.kind {
            1 => EntryKind::Transfer,
            2 => EntryKind::Verdict,
            3 => EntryKind::Admin,
            4 => EntryKind::Totals,
            _ => return Err(AuditError::Malformed),
        },
        state: match wire.state {
            0 => None,
            1 => Some(TransferState::Intent),
            2 => Some(TransferState::Sent),
            _ => Some(TransferState::PossiblySent),
        },
        refers_to: wire.refers_to,
        direction: match wire.direction {
            0 => None,
            2 => Some(Direction::In),
            _ => Some(Direction::Out),
        },
        time_ms: wire.time_ms,
        run: id(&wire.run)?.map(|b| RunId::from_bytes(realm, b)),
        attempt: id(&wire.attempt)?.map(|b| AttemptId::from_bytes(realm, b)),
        session: id(&wire.session)?.map(|b| SessionId::from_bytes(realm, b)),
        step: wire.step,
        item: wire.item,
        from: id(&wire.from)?.map(|b| SiteId::from_bytes(realm, b)),
        to: id(&wire.to)?.map(|b| SiteId::from_bytes(realm, b)),
        onward: wire.onward,
        label: wire.label.map(label).transpose()?,
        label_after: wire.label_after.map(label).transpose()?,
        bytes: wire.bytes,
        digest: id(&wire.digest)?,
        verdict: match wire.verdict {
            0 => None,
            1 => Some(Outcome::Allow),
            3 => Some(Outcome::Ask),
            _ => Some(Outcome::Deny),
        },
        rule: wire.rule,
        purpose: wire.purpose,
        note: wire.note,
        totals: wire
            .totals
            .into_iter()
            .map(|t| FrameTotal { frame: t.frame, count: t.count, bytes: t.bytes })
            .collect(),
        nonce: id(&wire.nonce)?.unwrap_or_default(),
    })
}

/// Empty is none; any other length than `N` is malformed.
fn id<const N: usize>(bytes: &[u8]) -> Result<Option<[u8; N]>, AuditError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| AuditError::Malformed)
}

fn label_to_wire(label: &Label) -> WireLabel {
    WireLabel {
        level: match label.level {
            Level::Public => 1,
            Level::Internal => 2,
            Level::Confidential => 3,
            Level::Restricted => 4,
        },
        categories: label.categories.bits(),
        integrity: match label.integrity {
            Integrity::Trusted => 1,
            Integrity::Untrusted => 2,
        },
        workspaces: label.workspaces.iter().map(|w| w.to_bytes().to_vec()).collect(),
    }
}

fn label_from_wire(realm: Realm, wire: WireLabel) -> Result<Label, AuditError> {
    let mut workspaces = Vec::with_capacity(wire.workspaces.len());
    for bytes in &wire.workspaces {
        workspaces.push(WorkspaceId::from_bytes(realm, id(bytes)?.ok_or(AuditError::Malformed)?));
    }
    Ok(Label {
        level: match wire.level {
            1 => Level::Public,
            2 => Level::Internal,
            3 => Level::Confidential,
            _ => Level::Restricted,
        },
        categories: Categories::from_bits(wire.categories),
        integrity: if wire.integrity == 1 { Integrity::Trusted } else { Integrity::Untrusted },
        workspaces,
    })
}
