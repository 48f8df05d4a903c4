//! Payloads there and back, their frozen bytes, and what is refused.

use super::*;
use proptest::prelude::*;

fn attempt() -> Attempt {
    let content = Bytes::from_static(b"blob");
    Attempt {
        attempt: AttemptId { realm: Realm::LOCAL, bits: 0x0102 },
        run: Bytes::from_static(b"run"),
        unit: [3; 16],
        token: FencingToken(4),
        op: "text.upper".into(),
        op_version: 1,
        input: Sensitive::new(Bytes::from_static(b"input")),
        blobs: vec![Blob { digest: *blake3::hash(&content).as_bytes(), content: Sensitive::new(content) }],
        deadline_ms: 1_700_000_000_000,
    }
}

fn done() -> Outcome {
    let done = Done { value: Sensitive::new(Bytes::from_static(b"value")), blobs: attempt().blobs };
    Outcome { attempt: attempt().attempt, token: FencingToken(4), result: Ok(done), compute_us: 77 }
}

fn failed() -> Outcome {
    let failed = Failed { code: "op.failed".into(), message: Sensitive::new("no such page".into()), retryable: true };
    Outcome { result: Err(failed), ..done() }
}

#[test]
fn payloads_come_back() {
    let bytes = attempt().encode().unwrap();
    assert_eq!(Message::decode(bytes, Realm::LOCAL), Ok(Message::Attempt(attempt())));
    for outcome in [done(), failed()] {
        let bytes = outcome.encode().unwrap();
        assert_eq!(Message::decode(bytes, Realm::LOCAL), Ok(Message::Outcome(outcome)));
    }
}

/// Version 1, for ever: a payload written by it must be readable, and written the same, later.
#[test]
fn the_bytes_of_version_1_are_frozen() {
    let digest = blake3::hash(b"blob").to_hex();
    let id = "00000000000000000000000000000102";
    let unit = "03".repeat(16);
    let head = "080112056c6f63616c";
    let frozen = format!(
        "{head}1a71\
         0a10{id}120372756e1a10{unit}20042a0a746578742e757070657230013a05696e707574\
         42280a20{digest}1204626c6f624880d095ffbc31"
    );
    assert_eq!(hex(&attempt().encode().unwrap()), frozen);
    let frozen = format!("{head}22490a10{id}10041a310a0576616c756512280a20{digest}1204626c6f62284d");
    assert_eq!(hex(&done().encode().unwrap()), frozen);
    let frozen = format!("{head}22330a10{id}1004221b0a096f702e6661696c6564120c6e6f20737563682070616765 1801284d");
    assert_eq!(hex(&failed().encode().unwrap()), frozen.replace(' ', ""));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn content_does_not_print_itself() {
    let shown = format!("{:?} {:?}", attempt(), failed());
    for content in ["\"input", "\"blob", "no such page"] {
        assert!(!shown.contains(content), "{shown}");
    }
}

#[test]
fn wrong_realm_format_and_digest_are_refused() {
    let bytes = attempt().encode().unwrap();
    assert_eq!(Message::decode(bytes.clone(), "acme".parse().unwrap()), Err(WireError::Realm));
    let mut newer = bytes.to_vec();
    newer[1] = 2;
    assert_eq!(Message::decode(newer.into(), Realm::LOCAL), Err(WireError::Format));
    let mut other = bytes.to_vec();
    let at = other.windows(4).position(|window| window == b"blob").unwrap();
    other[at] = b'B';
    assert_eq!(Message::decode(other.into(), Realm::LOCAL), Err(WireError::Digest));
}

#[test]
fn limits_hold_in_both_directions() {
    let large = Attempt { input: Sensitive::new(vec![0; TRANSFER_BYTES_MAX].into()), ..attempt() };
    assert_eq!(large.encode(), Err(WireError::Limit { name: "transfer", limit: TRANSFER_BYTES_MAX }));
    let long = Attempt { op: "x".repeat(NAME_BYTES_MAX + 1), ..attempt() };
    assert_eq!(long.encode(), Err(WireError::Limit { name: "op", limit: NAME_BYTES_MAX }));

    // A bomb: eight bytes of head, then empty blobs of two bytes each, in two merged attempts.
    let half = [0x42, 0x00].repeat(BLOBS_MAX / 2 + 1);
    let mut bomb = vec![8, 1];
    for _ in 0..2 {
        bomb.extend([0x1a, (half.len() % 128) as u8 | 128, (half.len() / 128) as u8]);
        bomb.extend(&half);
    }
    let refused = Err(WireError::Limit { name: "blobs", limit: BLOBS_MAX });
    assert_eq!(Message::decode(bomb.into(), Realm::LOCAL), refused);
}

#[test]
fn lengths_that_lie_are_refused() {
    for bytes in [&b"\x1a\xff\xff\xff\xff\x0f"[..], b"\x1a\x05\x42\xff\xff\xff\x7f", b"\x1a\x80"] {
        assert_eq!(Message::decode(Bytes::copy_from_slice(bytes), Realm::LOCAL), Err(WireError::Schema));
    }
}

proptest! {
    #[test]
    fn any_attempt_comes_back(
        bits: u128, run in prop::collection::vec(any::<u8>(), 0..=RUN_BYTES_MAX), unit: [u8; 16], token: u64,
        op in "[a-z.]{0,40}", op_version: u32, input in prop::collection::vec(any::<u8>(), 0..300),
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), deadline_ms: u64,
    ) {
        let blobs = contents.into_iter().map(|content| Blob {
            digest: *blake3::hash(&content).as_bytes(),
            content: Sensitive::new(content.into()),
        });
        let attempt = Attempt {
            attempt: AttemptId { realm: Realm::LOCAL, bits }, run: run.into(), unit, token: FencingToken(token),
            op, op_version, input: Sensitive::new(input.into()), blobs: blobs.collect(), deadline_ms,
        };
        let bytes = attempt.encode().unwrap();
        prop_assert_eq!(Message::decode(bytes, Realm::LOCAL), Ok(Message::Attempt(attempt)));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(bytes.into(), Realm::LOCAL);
    }

    #[test]
    fn damaged_payloads_never_panic(which in 0..3usize, at in 0..200usize, byte: u8, cut in 0..200usize) {
        let mut bytes = [attempt().encode(), done().encode(), failed().encode()][which].clone().unwrap().to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        let _ = Message::decode(bytes.into(), Realm::LOCAL);
    }
}
