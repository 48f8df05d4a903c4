//! What payloads say: an attempt on its way to a site, an outcome on its way back.
//!
//! Job: the final bytes that a gate judges and the session carries unchanged, and reading them
//! back under limits. Encoding is deterministic: fields in order, nothing default written.
//!
//! Not here: frames (`wire`), what an operation's input means (`domain::value`), and whether
//! these bytes may leave (`gate`). Texts and bytes of users are [`Sensitive`] on this side of the
//! encoding, so that nothing prints them.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tidegate_domain::ids::{AttemptId, FencingToken, Realm};
use tidegate_domain::limits::{FRAME_BYTES_MAX, TRANSFER_BYTES_MAX};
use tidegate_domain::sensitive::Sensitive;

use crate::wire::{WireError, schema, sixteen};

#[cfg(test)]
mod tests;

/// The format that [`Attempt::encode`] and [`Outcome::encode`] write.
pub const PAYLOAD_FORMAT: u32 = 1;
/// Blobs in one payload. More small files belong into one value.
pub const BLOBS_MAX: usize = 1024;
/// A run's opaque name, in bytes.
pub const RUN_BYTES_MAX: usize = 64;
/// An operation's name or an error's code, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// An error's message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Bytes that a value refers to, sent along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The plain BLAKE3 digest, checked when read.
    pub digest: [u8; 32],
    /// The content.
    pub content: Sensitive<Bytes>,
}

/// One try of one step, to be run by the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its name; the receiver records the outcome under it and answers a repetition from there.
    pub attempt: AttemptId,
    /// The run, opaque to the receiver. At most [`RUN_BYTES_MAX`].
    pub run: Bytes,
    /// The step and item within the run, opaque to the receiver.
    pub unit: [u8; 16],
    /// Comes back in the outcome.
    pub token: FencingToken,
    /// The operation's name.
    pub op: String,
    /// The operation's version.
    pub op_version: u32,
    /// The input, in the value codec.
    pub input: Sensitive<Bytes>,
    /// The blobs the input refers to.
    pub blobs: Vec<Blob>,
    /// Wall time in milliseconds since the Unix epoch; zero if there is none.
    pub deadline_ms: u64,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The token it was given.
    pub token: FencingToken,
    /// The value or the error.
    pub result: Result<Done, Failed>,
    /// Time the operation itself took, in microseconds.
    pub compute_us: u64,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The output, in the value codec.
    pub value: Sensitive<Bytes>,
    /// The blobs the output refers to.
    pub blobs: Vec<Blob>,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// A code of the registry.
    pub code: String,
    /// What happened, for a person; it may quote content.
    pub message: Sensitive<String>,
    /// Whether the same attempt may succeed later.
    pub retryable: bool,
}

/// A payload, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Work to do.
    Attempt(Attempt),
    /// Work done.
    Outcome(Outcome),
}

impl Attempt {
    /// The final bytes, to be shown to the gate.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        check("run", self.run.len(), RUN_BYTES_MAX)?;
        check("op", self.op.len(), NAME_BYTES_MAX)?;
        let body = schema::payload::Body::Attempt(schema::Attempt {
            attempt: copy(&self.attempt.to_bytes()),
            run: self.run.clone(),
            unit: copy(&self.unit),
            token: self.token.0,
            op: self.op.clone(),
            op_version: self.op_version,
            input: self.input.expose().clone(),
            blobs: blobs_out(&self.blobs)?,
            deadline_ms: self.deadline_ms,
        });
        encode(self.attempt.realm, body)
    }
}

impl Outcome {
    /// The final bytes, to be shown to the gate.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let result = match &self.result {
            Ok(done) => schema::outcome::Result::Done(schema::Done {
                value: done.value.expose().clone(),
                blobs: blobs_out(&done.blobs)?,
            }),
            Err(failed) => {
                check("code", failed.code.len(), NAME_BYTES_MAX)?;
                check("message", failed.message.expose().len(), MESSAGE_BYTES_MAX)?;
                schema::outcome::Result::Failed(schema::Failed {
                    code: failed.code.clone(),
                    message: failed.message.expose().clone(),
                    retryable: failed.retryable,
                })
            }
        };
        let body = schema::payload::Body::Outcome(schema::Outcome {
            attempt: copy(&self.attempt.to_bytes()),
            token: self.token.0,
            compute_us: self.compute_us,
            result: Some(result),
        });
        encode(self.attempt.realm, body)
    }
}

impl Message {
    /// Reads a payload of this realm. Nothing is copied: contents are slices of `bytes`.
    pub fn decode(bytes: Bytes, realm: Realm) -> Result<Message, WireError> {
        check("payload", bytes.len(), FRAME_BYTES_MAX)?;
        // Before anything is allocated: two bytes of input could otherwise become an empty blob
        // of many more.
        check("blobs", count_blobs(&bytes)?, BLOBS_MAX)?;
        let payload = schema::Payload::decode(bytes).map_err(|_| WireError::Schema)?;
        if payload.format != PAYLOAD_FORMAT {
            return Err(WireError::Format);
        }
        if payload.realm.parse() != Ok(realm) {
            return Err(WireError::Realm);
        }
        match payload.body.ok_or(WireError::Field("body"))? {
            schema::payload::Body::Attempt(attempt) => attempt_in(attempt, realm).map(Message::Attempt),
            schema::payload::Body::Outcome(outcome) => outcome_in(outcome, realm).map(Message::Outcome),
        }
    }
}

fn check(name: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit { Err(WireError::Limit { name, limit }) } else { Ok(()) }
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn encode(realm: Realm, body: schema::payload::Body) -> Result<Bytes, WireError> {
    let payload = schema::Payload { format: PAYLOAD_FORMAT, realm: realm.to_string(), body: Some(body) };
    check("transfer", payload.encoded_len(), TRANSFER_BYTES_MAX)?;
    Ok(payload.encode_to_vec().into())
}

fn blobs_out(blobs: &[Blob]) -> Result<Vec<schema::Blob>, WireError> {
    check("blobs", blobs.len(), BLOBS_MAX)?;
    let out = |blob: &Blob| schema::Blob { digest: copy(&blob.digest), content: blob.content.expose().clone() };
    Ok(blobs.iter().map(out).collect())
}

fn blobs_in(blobs: Vec<schema::Blob>) -> Result<Vec<Blob>, WireError> {
    let read = |blob: schema::Blob| {
        let digest: [u8; 32] = blob.digest.as_ref().try_into().map_err(|_| WireError::Field("digest"))?;
        if blake3::hash(&blob.content) != digest {
            return Err(WireError::Digest);
        }
        Ok(Blob { digest, content: Sensitive::new(blob.content) })
    };
    blobs.into_iter().map(read).collect()
}

fn attempt_in(attempt: schema::Attempt, realm: Realm) -> Result<Attempt, WireError> {
    check("run", attempt.run.len(), RUN_BYTES_MAX)?;
    check("op", attempt.op.len(), NAME_BYTES_MAX)?;
    Ok(Attempt {
        attempt: AttemptId::from_bytes(realm, sixteen(&attempt.attempt, "attempt")?),
        run: attempt.run,
        unit: sixteen(&attempt.unit, "unit")?,
        token: FencingToken(attempt.token),
        op: attempt.op,
        op_version: attempt.op_version,
        input: Sensitive::new(attempt.input),
        blobs: blobs_in(attempt.blobs)?,
        deadline_ms: attempt.deadline_ms,
    })
}

fn outcome_in(outcome: schema::Outcome, realm: Realm) -> Result<Outcome, WireError> {
    let result = match outcome.result.ok_or(WireError::Field("result"))? {
        schema::outcome::Result::Done(done) => {
            Ok(Done { value: Sensitive::new(done.value), blobs: blobs_in(done.blobs)? })
        }
        schema::outcome::Result::Failed(failed) => {
            check("code", failed.code.len(), NAME_BYTES_MAX)?;
            check("message", failed.message.len(), MESSAGE_BYTES_MAX)?;
            Err(Failed { code: failed.code, message: Sensitive::new(failed.message), retryable: failed.retryable })
        }
    };
    Ok(Outcome {
        attempt: AttemptId::from_bytes(realm, sixteen(&outcome.attempt, "attempt")?),
        token: FencingToken(outcome.token),
        result,
        compute_us: outcome.compute_us,
    })
}

/// The places of `Blob` in the schema, as paths of field numbers from `Payload`.
const BLOB_PATHS: [&[u32]; 2] = [&[3, 8], &[4, 3, 2]];

fn count_blobs(bytes: &[u8]) -> Result<usize, WireError> {
    BLOB_PATHS.iter().try_fold(0, |count, path| Ok(count + count_fields(bytes, path)?))
}

/// How many length-delimited fields lie at `path`, repetitions of its parents included.
fn count_fields(mut bytes: &[u8], path: &[u32]) -> Result<usize, WireError> {
    let Some((wanted, rest)) = path.split_first() else { return Ok(1) };
    let mut count = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).map_err(|_| WireError::Schema)?;
        if tag == *wanted && wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut bytes).map_err(|_| WireError::Schema)?;
            let length = usize::try_from(length).map_err(|_| WireError::Schema)?;
            let (inner, after) = bytes.split_at_checked(length).ok_or(WireError::Schema)?;
            count += count_fields(inner, rest)?;
            bytes = after;
        } else {
            skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).map_err(|_| WireError::Schema)?;
        }
    }
    Ok(count)
}
