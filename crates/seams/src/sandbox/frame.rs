//! The frames on a child's pipes.
//!
//! Job: encode and decode; every length is checked against a cap before a byte
//! of it is read or any memory is taken for it.
//!
//! Not its job: reading and writing (the child blocks, the parent is async, so
//! each does its own). A frame is a little-endian `u32` length and that many
//! bytes. The sequence number guards against a parent and a child that have
//! lost step; it is no defence against a child taken over, which serves one
//! key only and is not believed about anything but its own answer.

use super::report::{Confinement, REPORT_BYTES};

/// Bytes of the length in front of a frame.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes between a request's length and its kind: sequence, length of the kind.
pub(super) const REQUEST_HEAD_BYTES: usize = 5;
/// Bytes between a response's length and its body: sequence, tag.
pub(super) const RESPONSE_HEAD_BYTES: usize = 5;
/// Longest first frame: magic, version, tag and either a report or the name of
/// the wall that could not be built.
pub(super) const HELLO_BYTES_MAX: usize = 96;
/// Longest kind.
pub(super) const KIND_BYTES_MAX: usize = 64;

const MAGIC: &[u8; 4] = b"tgch";
const VERSION: u8 = 1;

/// The first frame of a child.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Confined and serving.
    Serving(Confinement),
    /// A mandatory wall could not be built; the child ends.
    Refused(String),
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HELLO_BYTES_MAX);
        body.extend_from_slice(MAGIC);
        body.push(VERSION);
        match self {
            Hello::Serving(report) => {
                body.push(0);
                body.extend_from_slice(&report.encode());
            }
            Hello::Refused(wall) => {
                body.push(1);
                let text: String = wall.chars().filter(char::is_ascii).take(HELLO_BYTES_MAX - 8).collect();
                body.extend_from_slice(text.as_bytes());
            }
        }
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.append(&mut body);
        frame
    }

    pub(super) fn decode(body: &[u8]) -> Option<Hello> {
        let (tag, rest) = body.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?.split_first()?;
        match tag {
            0 => {
                let bytes: [u8; REPORT_BYTES] = rest.try_into().ok()?;
                Some(Hello::Serving(Confinement::decode(bytes)?))
            }
            1 => {
                let printable = rest.iter().all(|byte| (b' '..=b'~').contains(byte));
                printable.then(|| Hello::Refused(String::from_utf8_lossy(rest).into_owned()))
            }
            _ => None,
        }
    }
}

/// How a request ended, as the child says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// The handler's bytes follow.
    Done,
    /// The handler's message follows.
    Failed,
    /// The handler gave more than a response may hold; nothing follows.
    TooLarge,
    /// The handler panicked; nothing follows and the child ends.
    Panicked,
    /// There was no memory to take the request; nothing follows.
    NoMemory,
}

impl Tag {
    fn byte(self) -> u8 {
        match self {
            Tag::Done => 0,
            Tag::Failed => 1,
            Tag::TooLarge => 2,
            Tag::Panicked => 3,
            Tag::NoMemory => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Tag> {
        [Tag::Done, Tag::Failed, Tag::TooLarge, Tag::Panicked, Tag::NoMemory].into_iter().find(|tag| tag.byte() == byte)
    }
}

/// Everything of a request but its payload. `None` if the kind is too long or
/// the frame would pass `bytes_max`.
pub(super) fn request_head(seq: u32, kind: &str, payload: usize, bytes_max: u32) -> Option<Vec<u8>> {
    let kind_length = u8::try_from(kind.len()).ok().filter(|_| kind.len() <= KIND_BYTES_MAX)?;
    let length = u32::try_from(REQUEST_HEAD_BYTES + kind.len() + payload).ok().filter(|length| *length <= bytes_max)?;
    let mut head = length.to_le_bytes().to_vec();
    head.extend_from_slice(&seq.to_le_bytes());
    head.push(kind_length);
    head.extend_from_slice(kind.as_bytes());
    Some(head)
}

/// Sequence number and length of the kind.
pub(super) fn decode_request_head(head: [u8; REQUEST_HEAD_BYTES]) -> (u32, usize) {
    let [a, b, c, d, kind] = head;
    (u32::from_le_bytes([a, b, c, d]), usize::from(kind))
}

/// Everything of a response but its body; the body is known to fit a `u32`.
pub(super) fn response_head(seq: u32, tag: Tag, body: u32) -> [u8; LENGTH_BYTES + RESPONSE_HEAD_BYTES] {
    let [a, b, c, d] = body.saturating_add(RESPONSE_HEAD_BYTES as u32).to_le_bytes();
    let [e, f, g, h] = seq.to_le_bytes();
    [a, b, c, d, e, f, g, h, tag.byte()]
}

/// Sequence number and tag.
pub(super) fn decode_response_head(head: [u8; RESPONSE_HEAD_BYTES]) -> Option<(u32, Tag)> {
    let [a, b, c, d, tag] = head;
    Some((u32::from_le_bytes([a, b, c, d]), Tag::from_byte(tag)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_round_trips_and_rejects_noise() {
        let report = Confinement::decode([0x7f, 0x3f, 2]).unwrap();
        for hello in [Hello::Serving(report), Hello::Refused("seccomp: errno 1".into())] {
            let frame = hello.encode();
            let length = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
            assert_eq!(length, frame.len() - 4);
            assert!(length <= HELLO_BYTES_MAX);
            assert_eq!(Hello::decode(&frame[4..]), Some(hello));
        }
        let long = Hello::Refused("x".repeat(1000)).encode();
        assert!(long.len() <= HELLO_BYTES_MAX + 4);
        for noise in [&b""[..], b"tgch", b"tgch\x01\x02", b"tgch\x01\x00\x00", b"tgch\x01\x01\x1b[2J"] {
            assert_eq!(Hello::decode(noise), None);
        }
    }

    #[test]
    fn requests_are_capped_before_they_are_written() {
        assert!(request_head(1, "pdf", 100, 200).is_some());
        assert!(request_head(1, "pdf", 193, 200).is_none());
        assert!(request_head(1, &"k".repeat(65), 0, 200).is_none());
        assert!(request_head(1, "pdf", usize::MAX / 2, u32::MAX).is_none());
        let head = request_head(9, "pdf", 2, 200).unwrap();
        assert_eq!(decode_request_head(head[4..9].try_into().unwrap()), (9, 3));
    }

    #[test]
    fn responses_round_trip() {
        let head = response_head(7, Tag::Failed, 11);
        assert_eq!(head[..4], 16u32.to_le_bytes());
        assert_eq!(decode_response_head(head[4..].try_into().unwrap()), Some((7, Tag::Failed)));
        assert_eq!(decode_response_head([0, 0, 0, 0, 9]), None);
    }
}
