//! Frames as bytes, in both directions.
//!
//! Job: the one place where the domain's frames meet the schema of `proto/session.proto`. A
//! payload's bytes are copied behind its header and never read; control frames are built from
//! and checked against the closed set.
//!
//! Not here: payloads from the inside (`message`), and order or repetition (`domain::session`).

use bytes::{BufMut, Bytes};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tidegate_domain::ids::{AttemptId, Realm, SessionId, SiteId};
use tidegate_domain::session::{Body, CloseCode, Control, Frame, Hello, Load, PROBE_PADDING_BYTES_MAX, Welcome};

use crate::parcel::Parcel;

/// What `build.rs` made of the schema.
pub(crate) mod schema {
    include!(concat!(env!("OUT_DIR"), "/tidegate.v1.rs"));
}

/// Why bytes are not a message. None of these quotes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not of the schema at all.
    #[error("these bytes are not a message of the session's schema")]
    Schema,
    /// A field has a value or a length that is not allowed.
    #[error("the field `{0}` of a message is missing or has a value that is not allowed")]
    Field(&'static str),
    /// A size or count passes its limit.
    #[error("`{name}` passes its limit of {limit}")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The message belongs to another tenant than the connection.
    #[error("the message belongs to another realm than the connection")]
    Realm,
    /// The message is of a format this code does not know.
    #[error("the message has a format that this version does not know; update this side")]
    Format,
    /// A blob is not what its digest says.
    #[error("a blob in the message does not match its digest")]
    Digest,
}

/// Sixteen bytes, or the field's name.
pub(crate) fn sixteen(bytes: &[u8], field: &'static str) -> Result<[u8; 16], WireError> {
    bytes.try_into().map_err(|_| WireError::Field(field))
}

/// The schema's field numbers of `Frame`, for the payload frames that are written by hand.
const EPOCH: u32 = 1;
const SEQ: u32 = 2;
const ACK: u32 = 3;
const PAYLOAD: u32 = 4;

/// Writes a frame. A payload's bytes are written as they are.
pub(crate) fn encode_frame<O: Parcel>(frame: &Frame<O>, out: &mut impl BufMut) {
    encode_head(frame, out);
    if let Body::Payload(payload) = &frame.body {
        out.put_slice(payload.bytes());
    }
}

/// Writes a frame up to a payload's own bytes, which are to follow.
pub(crate) fn encode_head<O: Parcel>(frame: &Frame<O>, out: &mut impl BufMut) {
    for (tag, number) in [(EPOCH, frame.epoch), (SEQ, frame.seq), (ACK, frame.ack)] {
        if number != 0 {
            encode_key(tag, WireType::Varint, out);
            encode_varint(number, out);
        }
    }
    match &frame.body {
        Body::Payload(payload) => {
            encode_key(PAYLOAD, WireType::LengthDelimited, out);
            encode_varint(payload.bytes().len() as u64, out);
        }
        Body::Control(control) => {
            let body = schema::frame::Body::Control(schema::Control { kind: Some(control_out(control)) });
            body.encode(out);
        }
    }
}

/// Reads a frame. Ids without a realm of their own get the connection's; a hello brings its own,
/// which must be the same.
pub(crate) fn decode_frame(bytes: Bytes, realm: Realm) -> Result<Frame<Bytes>, WireError> {
    let frame = schema::Frame::decode(bytes).map_err(|_| WireError::Schema)?;
    let body = match frame.body.ok_or(WireError::Field("body"))? {
        schema::frame::Body::Payload(bytes) => Body::Payload(bytes),
        schema::frame::Body::Control(control) => {
            Body::Control(control_in(control.kind.ok_or(WireError::Field("kind"))?, realm)?)
        }
    };
    Ok(Frame { epoch: frame.epoch, seq: frame.seq, ack: frame.ack, body })
}

fn control_out(control: &Control) -> schema::control::Kind {
    use schema::control::Kind;
    let id = |bytes: [u8; 16]| Bytes::copy_from_slice(&bytes);
    match control {
        Control::Hello(hello) => Kind::Hello(schema::Hello {
            version_min: hello.version_min,
            version_max: hello.version_max,
            realm: hello.site.realm.to_string(),
            session: id(hello.session.to_bytes()),
            site: id(hello.site.to_bytes()),
            epoch: hello.epoch,
            born: hello.born,
            last_received: hello.last_received,
        }),
        Control::Welcome(welcome) => Kind::Welcome(schema::Welcome {
            version: welcome.version,
            session: id(welcome.session.to_bytes()),
            incarnation: welcome.incarnation,
            last_received: welcome.last_received,
            resumed: welcome.resumed,
        }),
        Control::Ack => Kind::Ack(schema::Empty {}),
        Control::Void => Kind::Void(schema::Empty {}),
        Control::Ping { nonce } => Kind::Ping(*nonce),
        Control::Pong { nonce } => Kind::Pong(*nonce),
        Control::Probe { nonce, padding_bytes } => {
            let padding_bytes = (*padding_bytes).min(PROBE_PADDING_BYTES_MAX) as usize;
            Kind::Probe(schema::Probe { nonce: *nonce, padding: vec![0; padding_bytes].into() })
        }
        Control::Cancel { attempt } => Kind::Cancel(id(attempt.to_bytes())),
        Control::Load(load) => Kind::Load(schema::Load {
            running_bucket: load.running_bucket.into(),
            queued_bucket: load.queued_bucket.into(),
            slots: load.slots.into(),
        }),
        Control::Close { code } => Kind::Close(code_out(*code)),
    }
}

fn control_in(kind: schema::control::Kind, realm: Realm) -> Result<Control, WireError> {
    use schema::control::Kind;
    Ok(match kind {
        Kind::Hello(hello) => {
            if hello.realm.parse() != Ok(realm) {
                return Err(WireError::Realm);
            }
            Control::Hello(Hello {
                version_min: hello.version_min,
                version_max: hello.version_max,
                session: SessionId::from_bytes(realm, sixteen(&hello.session, "session")?),
                site: SiteId::from_bytes(realm, sixteen(&hello.site, "site")?),
                epoch: hello.epoch,
                born: hello.born,
                last_received: hello.last_received,
            })
        }
        Kind::Welcome(welcome) => Control::Welcome(Welcome {
            version: welcome.version,
            session: SessionId::from_bytes(realm, sixteen(&welcome.session, "session")?),
            incarnation: welcome.incarnation,
            last_received: welcome.last_received,
            resumed: welcome.resumed,
        }),
        Kind::Ack(_) => Control::Ack,
        Kind::Void(_) => Control::Void,
        Kind::Ping(nonce) => Control::Ping { nonce },
        Kind::Pong(nonce) => Control::Pong { nonce },
        Kind::Probe(probe) => {
            let padding_bytes = probe.padding.len().try_into().unwrap_or(u32::MAX);
            // Nothing but zeros: padding must not become a way out for content.
            if padding_bytes > PROBE_PADDING_BYTES_MAX || probe.padding.iter().any(|byte| *byte != 0) {
                return Err(WireError::Field("padding"));
            }
            Control::Probe { nonce: probe.nonce, padding_bytes }
        }
        Kind::Cancel(attempt) => {
            Control::Cancel { attempt: AttemptId::from_bytes(realm, sixteen(&attempt, "cancel")?) }
        }
        Kind::Load(load) => Control::Load(Load {
            running_bucket: load.running_bucket.try_into().map_err(|_| WireError::Field("running_bucket"))?,
            queued_bucket: load.queued_bucket.try_into().map_err(|_| WireError::Field("queued_bucket"))?,
            slots: load.slots.try_into().map_err(|_| WireError::Field("slots"))?,
        }),
        Kind::Close(code) => Control::Close { code: code_in(code).ok_or(WireError::Field("close"))? },
    })
}

/// Part of the wire format: a number once given stays.
fn code_out(code: CloseCode) -> u32 {
    match code {
        CloseCode::Shutdown => 1,
        CloseCode::Protocol => 2,
        CloseCode::Version => 3,
        CloseCode::Site => 4,
        CloseCode::Fenced => 5,
        CloseCode::EpochBackwards => 6,
        CloseCode::IncarnationBackwards => 7,
        CloseCode::Window => 8,
        CloseCode::Silence => 9,
        CloseCode::Revoked => 10,
    }
}

fn code_in(number: u32) -> Option<CloseCode> {
    Some(match number {
        1 => CloseCode::Shutdown,
        2 => CloseCode::Protocol,
        3 => CloseCode::Version,
        4 => CloseCode::Site,
        5 => CloseCode::Fenced,
        6 => CloseCode::EpochBackwards,
        7 => CloseCode::IncarnationBackwards,
        8 => CloseCode::Window,
        9 => CloseCode::Silence,
        10 => CloseCode::Revoked,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn controls() -> Vec<Control> {
        let realm = Realm::LOCAL;
        let session = SessionId { realm, bits: 1 };
        vec![
            Control::Hello(Hello {
                version_min: 1,
                version_max: 2,
                session,
                site: SiteId { realm, bits: 2 },
                epoch: 1 << 41,
                born: 3,
                last_received: 4,
            }),
            Control::Welcome(Welcome { version: 1, session, incarnation: 5, last_received: 6, resumed: true }),
            Control::Ack,
            Control::Void,
            Control::Ping { nonce: 0 },
            Control::Pong { nonce: u64::MAX },
            Control::Probe { nonce: 1, padding_bytes: 1000 },
            Control::Cancel { attempt: AttemptId { realm, bits: 9 } },
            Control::Load(Load { running_bucket: 1, queued_bucket: 2, slots: 3 }),
        ]
        .into_iter()
        .chain((1..=10).map(|number| Control::Close { code: code_in(number).unwrap() }))
        .collect()
    }

    #[test]
    fn every_control_frame_comes_back() {
        for control in controls() {
            let frame = Frame::<Bytes> { epoch: 7, seq: 0, ack: 300, body: Body::Control(control) };
            let mut bytes = Vec::new();
            encode_frame(&frame, &mut bytes);
            assert_eq!(decode_frame(bytes.into(), Realm::LOCAL), Ok(frame));
        }
    }

    #[test]
    fn another_realm_and_padding_with_content_are_refused() {
        let mut bytes = Vec::new();
        encode_frame(&Frame::<Bytes> { epoch: 1, seq: 0, ack: 0, body: Body::Control(controls()[0]) }, &mut bytes);
        assert_eq!(decode_frame(bytes.into(), "acme".parse().unwrap()), Err(WireError::Realm));

        let padding = Bytes::from_static(b"\0\0secret");
        let kind = schema::control::Kind::Probe(schema::Probe { nonce: 1, padding });
        assert_eq!(control_in(kind, Realm::LOCAL), Err(WireError::Field("padding")));
    }

    #[test]
    fn a_payload_travels_as_it_is_and_matches_the_schema() {
        let frame = Frame { epoch: 1, seq: 2, ack: 3, body: Body::Payload(Bytes::from_static(b"cleared")) };
        let mut bytes = Vec::new();
        encode_frame(&frame, &mut bytes);
        let body = Some(schema::frame::Body::Payload(Bytes::from_static(b"cleared")));
        assert_eq!(bytes, schema::Frame { epoch: 1, seq: 2, ack: 3, body }.encode_to_vec());
        assert_eq!(decode_frame(bytes.into(), Realm::LOCAL), Ok(frame));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_frame(bytes.into(), Realm::LOCAL);
        }

        #[test]
        fn damaged_frames_never_panic(which in 0..19usize, at in 0..60usize, byte: u8) {
            let mut bytes = Vec::new();
            let body = Body::Control(controls()[which]);
            encode_frame(&Frame::<Bytes> { epoch: 1, seq: 0, ack: 1, body }, &mut bytes);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode_frame(bytes.into(), Realm::LOCAL);
        }
    }
}
