//! The journal's rows: between the domain's records and stored bytes.
//!
//! A row's body is a protobuf message with a format number, sealed with its run's key
//! (AES-256-GCM, a random nonce in front), so that destroying the key forgets the run. The kind
//! stays readable beside it. Domain types derive no stored format; this file is the edge.

use prost::Message;
use std::sync::Arc;
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, SiteId};
use tidegate_domain::ops::{Capability, SiteKind};
use tidegate_domain::placement::{Because, Candidate, Decision, Exclusion};
use tidegate_domain::run::{Failure, Outcome, Record, Start, Status, Unit};
use tidegate_domain::value::codec::{self, Scope};
use tidegate_domain::workflow::At;
use tidegate_seams::sealing::NotOpened;
use tidegate_seams::{Entropy, SealingKey};

/// The format written today.
pub const FORMAT: u32 = 1;

/// Why a stored row cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The run's key does not open it.
    #[error("a journal row cannot be opened with its run's key")]
    Sealed(#[from] NotOpened),
    /// Written by a newer program.
    #[error("journal format {0} is newer than this program reads ({FORMAT}); update tidegate")]
    Format(u32),
    /// It opens, but it is no row.
    #[error("a journal row is damaged: {0}")]
    Damaged(String),
}

const PURPOSE: &[u8] = b"tidegate journal row 1";

/// Encodes and seals a record; gives the readable kind beside it.
pub fn seal(record: &Record, key: &SealingKey, entropy: &dyn Entropy) -> Result<(u8, Vec<u8>), RowError> {
    let row = to_row(record);
    Ok((kind(record), key.seal(row.encode_to_vec(), PURPOSE, entropy)?))
}

/// Opens and decodes a stored row.
pub fn open(body: &[u8], key: &SealingKey) -> Result<Record, RowError> {
    let plain = key.open(body, PURPOSE)?;
    let row = Row::decode(plain.as_slice()).map_err(|e| RowError::Damaged(e.to_string()))?;
    from_row(row)
}

/// The readable kind of a record. 16 to 31 are kept for streams and ranges of items.
fn kind(record: &Record) -> u8 {
    match record {
        Record::Started(_) => 1,
        Record::Intent { .. } => 2,
        Record::Prepared { .. } => 3,
        Record::Outcome { .. } => 4,
        Record::Cancelled => 5,
        Record::Finished { .. } => 6,
    }
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7")]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Body {
    #[prost(message, tag = "2")]
    Started(StartedRow),
    #[prost(message, tag = "3")]
    Intent(IntentRow),
    #[prost(message, tag = "4")]
    Prepared(PreparedRow),
    #[prost(message, tag = "5")]
    Outcome(OutcomeRow),
    #[prost(bool, tag = "6")]
    Cancelled(bool),
    #[prost(uint32, tag = "7")]
    Finished(u32),
}

#[derive(Clone, PartialEq, Message)]
struct StartedRow {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(btree_map = "string, bytes", tag = "2")]
    inputs: std::collections::BTreeMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    outputs_dir: String,
    #[prost(uint64, tag = "4")]
    started_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct UnitRow {
    #[prost(uint32, tag = "1")]
    step: u32,
    #[prost(uint32, optional, tag = "2")]
    item: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct IntentRow {
    #[prost(message, optional, tag = "1")]
    unit: Option<UnitRow>,
    #[prost(bytes = "vec", tag = "2")]
    attempt: Vec<u8>,
    #[prost(uint64, tag = "3")]
    token: u64,
    #[prost(message, optional, tag = "4")]
    decision: Option<DecisionRow>,
}

#[derive(Clone, PartialEq, Message)]
struct PreparedRow {
    #[prost(message, optional, tag = "1")]
    unit: Option<UnitRow>,
    #[prost(bytes = "vec", tag = "2")]
    attempt: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    state: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct OutcomeRow {
    #[prost(message, optional, tag = "1")]
    unit: Option<UnitRow>,
    #[prost(bytes = "vec", optional, tag = "2")]
    attempt: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    value: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    failure: Option<FailureRow>,
    #[prost(uint64, tag = "5")]
    total_us: u64,
    #[prost(uint64, tag = "6")]
    compute_us: u64,
    #[prost(uint64, tag = "7")]
    bytes_out: u64,
    #[prost(uint64, tag = "8")]
    bytes_in: u64,
    #[prost(uint32, tag = "9")]
    denied: u32,
    #[prost(message, optional, tag = "10")]
    decision: Option<DecisionRow>,
    #[prost(bool, tag = "11")]
    again: bool,
}

#[derive(Clone, PartialEq, Message)]
struct FailureRow {
    #[prost(uint32, tag = "1")]
    status: u32,
    #[prost(string, tag = "2")]
    code: String,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(bool, tag = "4")]
    retryable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct DecisionRow {
    #[prost(uint32, optional, tag = "1")]
    chosen: Option<u32>,
    #[prost(message, repeated, tag = "2")]
    candidates: Vec<CandidateRow>,
    #[prost(uint32, tag = "3")]
    because: u32,
    #[prost(uint64, tag = "4")]
    snapshot_version: u64,
}

#[derive(Clone, PartialEq, Message)]
struct CandidateRow {
    #[prost(string, tag = "1")]
    realm: String,
    #[prost(bytes = "vec", tag = "2")]
    site: Vec<u8>,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint64, tag = "4")]
    queue_us: u64,
    #[prost(uint64, tag = "5")]
    transfer_us: u64,
    #[prost(uint64, tag = "6")]
    compute_us: u64,
    /// 0 none, 1 site kind, 2 capability, 3 local asked, 4 remote asked, 5 policy, 6 unreachable, 7 size
    #[prost(uint32, tag = "7")]
    excluded: u32,
    /// The capability's number or the size limit.
    #[prost(uint64, tag = "8")]
    excluded_number: u64,
    #[prost(string, tag = "9")]
    rule: String,
    #[prost(string, tag = "10")]
    why: String,
}

fn damaged(what: &str) -> RowError {
    RowError::Damaged(what.to_owned())
}

fn to_row(record: &Record) -> Row {
    let body = match record {
        Record::Started(start) => Body::Started(StartedRow {
            source: start.source.clone(),
            inputs: start.inputs.iter().map(|(k, v)| (k.clone(), codec::encode(v, Scope::Journal))).collect(),
            outputs_dir: start.outputs_dir.clone(),
            started_ms: start.started_ms,
        }),
        Record::Intent { unit, attempt, token, decision } => Body::Intent(IntentRow {
            unit: Some(unit_row(*unit)),
            attempt: attempt.to_bytes().to_vec(),
            token: token.0,
            decision: Some(decision_row(decision)),
        }),
        Record::Prepared { unit, attempt, state } => Body::Prepared(PreparedRow {
            unit: Some(unit_row(*unit)),
            attempt: attempt.to_bytes().to_vec(),
            state: state.clone(),
        }),
        Record::Outcome { unit, attempt, outcome, decision, again } => Body::Outcome(OutcomeRow {
            unit: Some(unit_row(*unit)),
            attempt: attempt.map(|a| a.to_bytes().to_vec()),
            value: outcome.result.as_ref().ok().map(|v| codec::encode(v, Scope::Journal)),
            failure: outcome.result.as_ref().err().map(|f| FailureRow {
                status: u32::from(f.status.code()),
                code: f.code.clone(),
                message: f.message.clone(),
                retryable: f.retryable,
            }),
            total_us: outcome.total_us,
            compute_us: outcome.compute_us,
            bytes_out: outcome.bytes_out,
            bytes_in: outcome.bytes_in,
            denied: outcome.denied,
            decision: decision.as_deref().map(decision_row),
            again: *again,
        }),
        Record::Cancelled => Body::Cancelled(true),
        Record::Finished { status } => Body::Finished(u32::from(status.code())),
    };
    Row { format: FORMAT, body: Some(body) }
}

fn from_row(row: Row) -> Result<Record, RowError> {
    if row.format != FORMAT {
        return Err(RowError::Format(row.format));
    }
    Ok(match row.body.ok_or_else(|| damaged("no body"))? {
        Body::Started(start) => Record::Started(Box::new(Start {
            source: start.source,
            inputs: start
                .inputs
                .into_iter()
                .map(|(k, v)| Ok((k, codec::decode(&v).map_err(|e| damaged(&e.to_string()))?)))
                .collect::<Result<_, RowError>>()?,
            outputs_dir: start.outputs_dir,
            started_ms: start.started_ms,
        })),
        Body::Intent(intent) => Record::Intent {
            unit: unit(intent.unit)?,
            attempt: attempt(&intent.attempt)?,
            token: FencingToken(intent.token),
            decision: Arc::new(decision(intent.decision.ok_or_else(|| damaged("no decision"))?)?),
        },
        Body::Prepared(prepared) => {
            Record::Prepared { unit: unit(prepared.unit)?, attempt: attempt(&prepared.attempt)?, state: prepared.state }
        }
        Body::Outcome(row) => Record::Outcome {
            unit: unit(row.unit)?,
            attempt: row.attempt.as_deref().map(attempt).transpose()?,
            outcome: Outcome {
                result: match (row.value, row.failure) {
                    (Some(value), None) => Ok(Arc::new(codec::decode(&value).map_err(|e| damaged(&e.to_string()))?)),
                    (None, Some(f)) => Err(Failure {
                        status: Status::from_code(f.status as u8),
                        code: f.code,
                        message: f.message,
                        retryable: f.retryable,
                    }),
                    _ => return Err(damaged("an outcome is a value or a failure")),
                },
                total_us: row.total_us,
                compute_us: row.compute_us,
                bytes_out: row.bytes_out,
                bytes_in: row.bytes_in,
                denied: row.denied,
            },
            decision: row.decision.map(decision).transpose()?.map(Arc::new),
            again: row.again,
        },
        Body::Cancelled(_) => Record::Cancelled,
        Body::Finished(status) => Record::Finished { status: Status::from_code(status as u8) },
    })
}

fn unit_row(unit: Unit) -> UnitRow {
    UnitRow { step: unit.step, item: unit.item }
}

fn unit(row: Option<UnitRow>) -> Result<Unit, RowError> {
    row.map(|u| Unit { step: u.step, item: u.item }).ok_or_else(|| damaged("no unit"))
}

fn attempt(bytes: &[u8]) -> Result<AttemptId, RowError> {
    // Attempts belong to their run's realm, which the row's place already tells.
    Ok(AttemptId::from_bytes(Realm::LOCAL, bytes.try_into().map_err(|_| damaged("an attempt id has 16 bytes"))?))
}

const KINDS: [SiteKind; 3] = [SiteKind::Device, SiteKind::Hub, SiteKind::Worker];
const CAPABILITIES: [Capability; 4] = [Capability::Files, Capability::Vault, Capability::Library, Capability::Sandbox];
const REASONS: [Because; 5] =
    [Because::OnlyPossible, Because::DataLivesThere, Because::Fastest, Because::Private, Because::Nowhere];

fn index_of<T: PartialEq>(table: &[T], wanted: &T) -> u32 {
    table.iter().position(|x| x == wanted).unwrap_or_default() as u32
}

fn decision_row(decision: &Decision) -> DecisionRow {
    DecisionRow {
        chosen: decision.chosen.map(|i| i as u32),
        candidates: decision.candidates.iter().map(candidate_row).collect(),
        because: index_of(&REASONS, &decision.because),
        snapshot_version: decision.snapshot_version,
    }
}

fn candidate_row(candidate: &Candidate) -> CandidateRow {
    let (excluded, excluded_number, rule, why) = match &candidate.excluded_by {
        None => (0, 0, "", ""),
        Some(Exclusion::SiteKind) => (1, 0, "", ""),
        Some(Exclusion::Capability(what)) => (2, u64::from(index_of(&CAPABILITIES, what)), "", ""),
        Some(Exclusion::Request(At::Local)) => (3, 0, "", ""),
        Some(Exclusion::Request(_)) => (4, 0, "", ""),
        Some(Exclusion::Policy { rule, why }) => (5, 0, rule.as_str(), why.as_str()),
        Some(Exclusion::Unreachable) => (6, 0, "", ""),
        Some(Exclusion::TooLarge { limit }) => (7, *limit, "", ""),
    };
    CandidateRow {
        realm: if candidate.site.realm == Realm::LOCAL { String::new() } else { candidate.site.realm.to_string() },
        site: candidate.site.to_bytes().to_vec(),
        kind: index_of(&KINDS, &candidate.kind),
        queue_us: candidate.queue_us,
        transfer_us: candidate.transfer_us,
        compute_us: candidate.compute_us,
        excluded,
        excluded_number,
        rule: rule.to_owned(),
        why: why.to_owned(),
    }
}

fn decision(row: DecisionRow) -> Result<Decision, RowError> {
    let candidates = row.candidates.into_iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
    Ok(Decision {
        chosen: row.chosen.map(|i| i as usize).filter(|i| *i < candidates.len()),
        candidates,
        because: *REASONS.get(row.because as usize).ok_or_else(|| damaged("an unknown reason"))?,
        snapshot_version: row.snapshot_version,
    })
}

fn candidate(row: CandidateRow) -> Result<Candidate, RowError> {
    let realm = if row.realm.is_empty() { Realm::LOCAL } else { row.realm.parse().map_err(|_| damaged("a realm"))? };
    let site =
        SiteId::from_bytes(realm, row.site.as_slice().try_into().map_err(|_| damaged("a site id has 16 bytes"))?);
    let excluded_by = match row.excluded {
        0 => None,
        1 => Some(Exclusion::SiteKind),
        2 => Some(Exclusion::Capability(
            *CAPABILITIES.get(row.excluded_number as usize).ok_or_else(|| damaged("an unknown capability"))?,
        )),
        3 => Some(Exclusion::Request(At::Local)),
        4 => Some(Exclusion::Request(At::Remote)),
        5 => Some(Exclusion::Policy { rule: row.rule, why: row.why }),
        6 => Some(Exclusion::Unreachable),
        7 => Some(Exclusion::TooLarge { limit: row.excluded_number }),
        _ => return Err(damaged("an unknown exclusion")),
    };
    Ok(Candidate {
        site,
        kind: *KINDS.get(row.kind as usize).ok_or_else(|| damaged("an unknown kind of site"))?,
        excluded_by,
        queue_us: row.queue_us,
        transfer_us: row.transfer_us,
        compute_us: row.compute_us,
    })
}

#[cfg(test)]
mod tests;
