//! Audit entries: the stored form, the contract's JSON, and how states fold.

use super::*;
use proptest::prelude::*;
use tidegate_domain::ids::{Realm, WorkspaceId};
use tidegate_domain::label::{Categories, Integrity, Level};

fn full() -> AuditEntry {
    let realm = Realm::LOCAL;
    AuditEntry {
        state: Some(TransferState::Intent),
        refers_to: Some(6),
        direction: Some(Direction::Out),
        run: Some(RunId { realm, bits: 1 }),
        attempt: Some(AttemptId { realm, bits: 2 }),
        session: Some(SessionId { realm, bits: 3 }),
        step: "embed".into(),
        item: Some(0),
        from: Some(SiteId { realm, bits: 4 }),
        to: Some(SiteId { realm, bits: 5 }),
        onward: vec!["api.example.com".into()],
        label: Some(Label {
            level: Level::Internal,
            categories: Categories::only(Category::Pii).with(Category::Health),
            integrity: Integrity::Untrusted,
            workspaces: vec![WorkspaceId { realm, bits: 9 }],
        }),
        label_after: Some(Label::of(Level::Public)),
        bytes: 1234,
        digest: Some([0xab; 32]),
        verdict: Some(Outcome::Allow),
        rule: "owner/may-go-to-the-hub".into(),
        purpose: "text.embed".into(),
        note: "a note".into(),
        totals: vec![FrameTotal { frame: "progress".into(), count: 7, bytes: 280 }],
        nonce: [7; 16],
        ..AuditEntry::new(EntryKind::Transfer, 1_791_234_567_089)
    }
}

#[test]
fn entries_come_back_as_they_were() {
    let mut entry = full();
    assert_eq!(AuditEntry::decode(&entry.encode()).unwrap(), entry);
    let acme = "acme".parse().unwrap();
    entry.run = Some(RunId { realm: acme, bits: 1 });
    entry.attempt = None;
    entry.session = Some(SessionId { realm: acme, bits: 3 });
    entry.from = Some(SiteId { realm: acme, bits: 4 });
    entry.to = None;
    entry.label = Some(Label::highest());
    assert_eq!(AuditEntry::decode(&entry.encode()).unwrap(), entry);
    for kind in [EntryKind::Transfer, EntryKind::Verdict, EntryKind::Admin, EntryKind::Totals] {
        let bare = AuditEntry::new(kind, 0);
        assert_eq!(AuditEntry::decode(&bare.encode()).unwrap(), bare);
    }
}

/// Format 1 as it was first written. Never change this constant: entries like it are on disks.
const FORMAT_1: &str = "\
    01080110011806200128b1d799ef90343a10000000000000000000000000000000014210000000000000000000000000\
    000000024a10000000000000000000000000000000035205656d62656458006210000000000000000000000000000000\
    046a1000000000000000000000000000000005720f6170692e6578616d706c652e636f6d7a1808021009180222100000\
    0000000000000000000000000009820104080118018801d209920120abababababababababababababababababababab\
    abababababababababababab980101a201176f776e65722f6d61792d676f2d746f2d7468652d687562aa010a74657874\
    2e656d626564b2010661206e6f7465ba010f0a0870726f67726573731007189802c20110070707070707070707070707\
    07070707";

#[test]
fn entries_of_format_1_are_read() {
    let bytes: Vec<u8> =
        (0..FORMAT_1.len()).step_by(2).map(|i| u8::from_str_radix(&FORMAT_1[i..i + 2], 16).unwrap()).collect();
    assert_eq!(AuditEntry::decode(&bytes).unwrap(), full());
    assert_eq!(full().encode(), bytes, "the format changed: raise AUDIT_FORMAT");
}

#[test]
fn what_is_no_entry_is_refused_and_what_is_unknown_reads_as_the_highest() {
    assert_eq!(AuditEntry::decode(&[]), Err(AuditError::Malformed));
    assert_eq!(AuditEntry::decode(&[2, 0]), Err(AuditError::Format(2)));
    assert_eq!(AuditEntry::decode(&[1, 0xff]), Err(AuditError::Malformed));
    // kind 2, label { level 9, categories 1 << 20, no integrity }, verdict 9
    let strange = [1, 0x08, 2, 0x7a, 6, 0x08, 9, 0x10, 0x80, 0x80, 0x40, 0x98, 0x01, 9];
    let entry = AuditEntry::decode(&strange).unwrap();
    let label = entry.label.unwrap();
    assert_eq!(label.level, Level::Restricted);
    assert!(label.categories.contains(Category::Unknown));
    assert_eq!(label.integrity, Integrity::Untrusted);
    assert_eq!(entry.verdict, Some(Outcome::Deny));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let mut body = vec![AUDIT_FORMAT];
        body.extend(bytes);
        let _ = AuditEntry::decode(&body);
    }
}

#[test]
fn a_line_has_the_names_of_the_contract() {
    let line = full().to_json(7, &[1; 32], &[2; 32]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap(), @r#"
    {
      "seq": 7,
      "time": "2026-10-05T21:09:27.089Z",
      "run": "run-00000000000000000000000001",
      "step": "embed",
      "item": 0,
      "kind": "transfer",
      "state": "intent",
      "direction": "out",
      "from": "site-00000000000000000000000004",
      "to": "site-00000000000000000000000005",
      "label": {
        "level": "internal",
        "categories": [
          "pii",
          "health"
        ],
        "integrity": "untrusted"
      },
      "bytes": 1234,
      "digest": "blake3:abababababababababababababababababababababababababababababababab",
      "verdict": "allow",
      "rule": "owner/may-go-to-the-hub",
      "hash": "blake3:0101010101010101010101010101010101010101010101010101010101010101",
      "prev": "blake3:0202020202020202020202020202020202020202020202020202020202020202",
      "attempt": "att-00000000000000000000000002",
      "session": "ses-00000000000000000000000003",
      "refers_to": 6,
      "label_after": {
        "level": "public",
        "categories": [],
        "integrity": "trusted"
      },
      "purpose": "text.embed",
      "note": "a note",
      "onward": [
        "api.example.com"
      ],
      "totals": [
        {
          "frame": "progress",
          "count": 7,
          "bytes": 280
        }
      ]
    }
    "#);
    let contract = [
        "seq",
        "time",
        "run",
        "step",
        "item",
        "kind",
        "state",
        "direction",
        "from",
        "to",
        "label",
        "bytes",
        "digest",
        "verdict",
        "rule",
        "hash",
        "prev",
    ];
    let bare = AuditEntry::new(EntryKind::Admin, 0).to_json(1, &[0; 32], &[0; 32]);
    let mut names: Vec<&str> = bare.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = contract.to_vec();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    assert_eq!(bare["time"], "1970-01-01T00:00:00.000Z");
    assert!(!line.to_string().contains("wsp-"), "workspaces are not shown");
}

#[test]
fn an_intent_without_a_later_sent_reads_possibly_sent() {
    let intent = || AuditEntry { state: Some(TransferState::Intent), ..AuditEntry::new(EntryKind::Transfer, 0) };
    let sent = |of| AuditEntry {
        state: Some(TransferState::Sent),
        refers_to: Some(of),
        ..AuditEntry::new(EntryKind::Transfer, 0)
    };
    let lying = AuditEntry { refers_to: Some(2), ..AuditEntry::new(EntryKind::Admin, 0) };
    let folded = fold_states([(1, intent()), (2, intent()), (3, sent(1)), (4, sent(5)), (5, intent()), (6, lying)]);
    let states: Vec<_> = folded.iter().map(|(seq, e)| (*seq, e.state)).collect();
    use TransferState::*;
    assert_eq!(
        states,
        [
            (1, Some(Intent)),
            (2, Some(PossiblySent)),
            (3, Some(Sent)),
            (4, Some(Sent)),
            (5, Some(PossiblySent)),
            (6, None)
        ]
    );
}

#[test]
fn a_forgotten_entry_still_shows_its_place() {
    let line = forgotten_to_json(3, None, &[1; 32], &[2; 32]);
    assert_eq!(line["forgotten"], true);
    assert_eq!(line["seq"], 3);
}
