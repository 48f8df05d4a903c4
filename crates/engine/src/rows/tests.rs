//! Rows come back as they went in, only with their own key, and format 1 stays readable.

use super::*;
use tidegate_domain::label::{Label, Level};
use tidegate_domain::value::Value;
use tidegate_seams::SystemEntropy;

fn key(byte: u8) -> SealingKey {
    SealingKey::new(&[byte; 32]).unwrap()
}

fn some_decision() -> Arc<Decision> {
    let candidate = |kind, excluded_by| Candidate {
        site: SiteId::mint("acme".parse().unwrap(), 5, [1; 10]),
        kind,
        excluded_by,
        queue_us: 1,
        transfer_us: 2,
        compute_us: 3,
    };
    let exclusions = [
        None,
        Some(Exclusion::SiteKind),
        Some(Exclusion::Capability(Capability::Library)),
        Some(Exclusion::Request(At::Local)),
        Some(Exclusion::Request(At::Remote)),
        Some(Exclusion::Policy { rule: "r".into(), why: "w".into() }),
        Some(Exclusion::Unreachable),
        Some(Exclusion::TooLarge { limit: 9 }),
    ];
    Arc::new(Decision {
        chosen: Some(0),
        candidates: exclusions.into_iter().map(|e| candidate(SiteKind::Hub, e)).collect(),
        because: Because::Fastest,
        snapshot_version: 7,
    })
}

fn records() -> Vec<Record> {
    let unit = Unit { step: 3, item: Some(0) };
    let attempt = AttemptId::mint(Realm::LOCAL, 9, [2; 10]);
    let value = Value::text("Ada").raised(&Label::of(Level::Confidential));
    let outcome = |result| Outcome { result, total_us: 5, compute_us: 4, bytes_out: 3, bytes_in: 2, denied: 1 };
    vec![
        Record::Started(Box::new(Start {
            source: "name: x".into(),
            inputs: [("folder".to_owned(), value.clone())].into(),
            outputs_dir: "/out".into(),
            started_ms: 12,
        })),
        Record::Intent { unit, attempt, token: FencingToken(8), decision: some_decision() },
        Record::Prepared { unit: Unit { step: 0, item: None }, attempt, state: vec![1, 2] },
        Record::Outcome {
            unit,
            attempt: Some(attempt),
            outcome: outcome(Ok(Arc::new(value))),
            decision: None,
            again: false,
        },
        Record::Outcome {
            unit,
            attempt: None,
            outcome: outcome(Err(Failure::new(Status::Refused, "E3001", "no").retryable())),
            decision: Some(some_decision()),
            again: true,
        },
        Record::Cancelled,
        Record::Finished { status: Status::Cancelled },
    ]
}

#[test]
fn every_record_comes_back_from_its_row() {
    for record in records() {
        let (_, body) = seal(&record, &key(1), &SystemEntropy).unwrap();
        assert_eq!(open(&body, &key(1)).unwrap(), record);
    }
}

#[test]
fn a_row_opens_with_its_own_key_only_and_shows_nothing() {
    let (_, mut body) = seal(&records()[0], &key(1), &SystemEntropy).unwrap();
    assert!(!body.windows(3).any(|w| w == b"Ada"));
    assert_eq!(open(&body, &key(2)), Err(RowError::Sealed(NotOpened)));
    body[20] ^= 1;
    assert_eq!(open(&body, &key(1)), Err(RowError::Sealed(NotOpened)));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let row = Row { format: 2, body: None };
    let sealed = key(1).seal(row.encode_to_vec(), PURPOSE, &SystemEntropy).unwrap();
    assert_eq!(open(&sealed, &key(1)), Err(RowError::Format(2)));
}

/// Bytes of format 1 as they were first written. If this fails, stored journals became unreadable.
#[test]
fn format_1_is_still_read() {
    let stored = [8, 1, 34, 26, 10, 2, 8, 4, 18, 16, 0, 0, 0, 0, 0, 9, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 26, 2, 1, 2];
    let row = Row::decode(&stored[..]).unwrap();
    let expected = Record::Prepared {
        unit: Unit { step: 4, item: None },
        attempt: AttemptId::mint(Realm::LOCAL, 9, [2; 10]),
        state: vec![1, 2],
    };
    assert_eq!(from_row(row).unwrap(), expected);
    assert_eq!(to_row(&expected).encode_to_vec(), stored);
}
