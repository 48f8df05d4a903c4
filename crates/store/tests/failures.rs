//! What happens when writing fails (faults F2, F3, F4), and that many producers share a commit.

#![expect(clippy::unwrap_used, reason = "a test stops at its first error")]

use proptest::prelude::*;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_store::memory::MemoryStore;
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, InboxRow, Receipt, Store, StoreError, Ticket, Write};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn run(bits: u128) -> RunId {
    RunId { realm: Realm::LOCAL, bits }
}

fn journal(run: RunId, body: &[u8]) -> Write {
    Write::Journal { run, kind: 1, body: body.to_vec() }
}

fn audit(run: RunId, body: &[u8]) -> Write {
    Write::Audit { run: Some(run), salt: [1; 16], body: body.to_vec() }
}

fn send(store: &dyn Store, writes: Vec<Write>) -> Ticket {
    store.commit(Batch { writes })
}

/// A ticket's answer if it has one already.
fn peek(ticket: &mut Ticket) -> Option<Result<Receipt, StoreError>> {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(ticket).poll(&mut context) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[test]
fn f02_what_was_not_synced_is_lost_and_was_not_acknowledged() {
    let store = MemoryStore::with_faults(Realm::LOCAL);
    let mut first = send(&store, vec![journal(run(1), b"a"), audit(run(1), b"a")]);
    assert!(peek(&mut first).is_none(), "not durable, not acknowledged");
    assert_eq!(store.journal(run(1)).unwrap(), [], "reads see what is durable");
    assert_eq!(store.sync(), 1);
    assert_eq!(peek(&mut first).unwrap().unwrap().audit().len(), 1);
    let before = store.verify().unwrap();

    let mut lost = [send(&store, vec![journal(run(1), b"b")]), send(&store, vec![journal(run(2), b"c")])];
    assert_eq!(store.unsynced(), 2);
    let restarted = store.crash();
    for ticket in &mut lost {
        assert!(matches!(peek(ticket), Some(Err(StoreError::Stopped(_)))));
    }
    assert!(matches!(store.journal(run(1)), Err(StoreError::Stopped(_))), "a dead process reads nothing");
    assert!(matches!(wait(send(&store, vec![])), Err(StoreError::Stopped(_))));

    assert_eq!(restarted.verify().unwrap(), before);
    assert_eq!(restarted.journal(run(1)).unwrap().len(), 1);
    assert_eq!(restarted.journal(run(2)).unwrap(), []);
    let again = send(&restarted, vec![journal(run(1), b"b")]);
    restarted.sync();
    wait(again).unwrap();
    assert_eq!(restarted.verify().unwrap().journal_rows, 2);
}

#[test]
fn f03_a_failed_sync_stops_the_memory_store() {
    for store in [MemoryStore::new(Realm::LOCAL), MemoryStore::with_faults(Realm::LOCAL)] {
        let good = send(&store, vec![journal(run(1), b"a")]);
        store.fail_next(StoreError::Stopped("fsync: input/output error".into()));
        let bad = send(&store, vec![journal(run(1), b"b")]);
        let later = send(&store, vec![journal(run(1), b"c")]);
        store.sync();
        wait(good).unwrap();
        assert!(matches!(wait(bad), Err(StoreError::Stopped(why)) if why.contains("fsync")));
        assert!(matches!(wait(later), Err(StoreError::Stopped(_))));
        assert_eq!(store.journal(run(1)).unwrap().len(), 1);
        assert!(store.close().is_err());
    }
}

#[test]
fn f04_a_full_disk_fails_one_batch_of_the_memory_store() {
    let store = MemoryStore::new(Realm::LOCAL);
    store.fail_next(StoreError::Full(PathBuf::from("/data")));
    assert!(matches!(wait(send(&store, vec![journal(run(1), b"a")])), Err(StoreError::Full(_))));
    wait(send(&store, vec![journal(run(1), b"b")])).unwrap();
    assert_eq!(store.journal(run(1)).unwrap()[0].body, b"b");
    store.close().unwrap();
}

#[test]
fn f04_a_full_database_keeps_nothing_of_the_batch_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_limited(dir.path(), Realm::LOCAL, 60).unwrap();
    wait(send(&*store, vec![journal(run(1), b"before"), audit(run(1), b"before")])).unwrap();
    let before = store.verify().unwrap();

    let large = vec![7; 500_000];
    let setting = Write::Setting { name: "a".into(), value: vec![1] };
    let refused = wait(send(&*store, vec![journal(run(1), b"small"), setting, journal(run(2), &large)]));
    assert!(matches!(refused, Err(StoreError::Full(ref place)) if place == dir.path()), "{refused:?}");
    assert_eq!(store.verify().unwrap(), before);
    assert_eq!(store.setting("a").unwrap(), None);
    assert_eq!(store.journal(run(2)).unwrap(), []);

    // Small batches fit still, and the chain goes on where it was, until the last page is full.
    let mut kept = 1;
    let full = loop {
        match wait(send(&*store, vec![journal(run(1), &[1; 1000]), audit(run(1), b"intent")])) {
            Ok(receipt) => {
                kept += 1;
                assert_eq!(receipt.audit()[0].0, kept);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert!(kept > 5);
    assert_eq!(store.journal(run(1)).unwrap().len() as u64, kept);
    assert_eq!(store.verify().unwrap().audit_entries, kept);
    store.close().unwrap();
    drop(store);

    let roomy = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    wait(send(&*roomy, vec![journal(run(2), &large)])).unwrap();
    roomy.verify().unwrap();
}

#[test]
fn f04_what_queued_behind_a_full_disk_fails_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_limited(dir.path(), Realm::LOCAL, 60).unwrap();
    let large = vec![7; 500_000];
    let tickets: Vec<Ticket> =
        (0..200u128).map(|n| send(&*store, vec![journal(run(n), if n == 100 { &large } else { b"small" })])).collect();
    let kept: Vec<bool> = tickets.into_iter().map(|ticket| wait(ticket).is_ok()).collect();
    assert!(!kept[100]);
    for (n, kept) in kept.iter().enumerate() {
        assert_eq!(store.journal(run(n as u128)).unwrap().len(), usize::from(*kept), "batch {n}");
    }
    store.verify().unwrap();
}

#[test]
fn f03_any_other_failed_write_stops_the_store_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    wait(send(&*store, vec![journal(run(1), b"a")])).unwrap();
    // Somebody else writes what the store is about to write: its insert fails.
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    raw.execute("INSERT INTO journal SELECT seq + 1, run, back, kind, hash, body FROM journal", []).unwrap();
    let tickets: Vec<Ticket> = (0..5).map(|_| send(&*store, vec![journal(run(1), b"b")])).collect();
    for ticket in tickets {
        assert!(matches!(wait(ticket), Err(StoreError::Stopped(_))));
    }
    raw.execute("DELETE FROM journal WHERE seq = 2", []).unwrap();
    assert!(matches!(wait(send(&*store, vec![journal(run(1), b"c")])), Err(StoreError::Stopped(_))), "never again");
    assert_eq!(store.journal(run(1)).unwrap().len(), 1, "reads go on");
    assert!(store.close().is_err());
    drop(store);
    drop(raw);
    let restarted = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    wait(send(&*restarted, vec![journal(run(1), b"b")])).unwrap();
}

#[test]
fn f03_a_head_that_cannot_be_written_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    std::fs::create_dir(dir.path().join(".head.new")).unwrap();
    // More rows in one batch than the head may be behind: it is due before the answer.
    wait(send(&*store, vec![journal(run(1), b"x"); 5000])).unwrap();
    let later = wait(send(&*store, vec![journal(run(1), b"y")]));
    assert!(matches!(later, Err(StoreError::Stopped(ref why)) if why.contains("head")), "{later:?}");
    assert_eq!(store.journal(run(1)).unwrap().len(), 5000);
}

#[test]
fn the_head_is_never_far_behind() {
    let head_seq = |dir: &std::path::Path| -> u64 {
        let text = std::fs::read_to_string(dir.join("head")).unwrap();
        let line = text.lines().find(|line| line.starts_with("journal ")).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    let mut written = 0;
    for size in [1usize, 100, 3000, 1, 5000, 2000, 2000, 90, 9000] {
        wait(send(&*store, vec![journal(run(1), b"x"); size])).unwrap();
        written += size as u64;
        assert!(written - head_seq(dir.path()) <= 4096, "after {written}");
    }
    wait(send(&*store, vec![journal(run(1), b"x")])).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1000));
    assert_eq!(head_seq(dir.path()), written + 1);
    wait(send(&*store, vec![journal(run(1), b"x")])).unwrap();
    drop(store);
    assert_eq!(head_seq(dir.path()), written + 2, "dropping a store syncs its head");
}

#[test]
fn a_dropped_ticket_abandons_the_wait_and_not_the_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    for _ in 0..50 {
        drop(send(&*store, vec![journal(run(1), b"x")]));
    }
    store.close().unwrap();
    assert_eq!(store.journal(run(1)).unwrap().len(), 50);
}

#[test]
fn reads_and_verifying_go_on_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2u128)
            .map(|id| {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..300u64 {
                        let attempt = AttemptId { realm: Realm::LOCAL, bits: id << 64 | u128::from(n) };
                        let row = InboxRow {
                            attempt,
                            run: run(id),
                            unit: [0; 16],
                            token: FencingToken(n),
                            request: [0; 32],
                            outcome: None,
                            changed_ms: n,
                        };
                        wait(send(&**store, vec![Write::Inbox(row), journal(run(id), b"x"), audit(run(id), b"y")]))
                            .unwrap();
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            store.verify().unwrap();
            for id in 0..2 {
                store.journal(run(id)).unwrap();
                store.audit(0, Some(run(id)), 9999).unwrap();
                let top = store.highest_token(run(id), [0; 16]).unwrap().map_or(0, |token| token.0);
                let next = AttemptId { realm: Realm::LOCAL, bits: id << 64 | u128::from(top + 2) };
                store.inbox(next).unwrap();
            }
            store.audit(0, None, 9999).unwrap();
        }
    });
    assert_eq!(store.verify().unwrap().journal_rows, 600);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However commits are grouped: every acknowledged row is there once, in its producer's order.
    #[test]
    fn many_producers_share_commits(producers in 1usize..40, batches in 1usize..12, rows in 1usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let receipts = runtime.block_on(async {
            let tasks: Vec<_> = (0..producers).map(|id| {
                let store: Arc<dyn Store> = store.clone();
                tokio::spawn(async move {
                    let run = run(id as u128);
                    let mut entries = Vec::new();
                    for batch in 0..batches {
                        let mut writes: Vec<Write> = (0..rows).map(|row| journal(run, &[batch as u8, row as u8])).collect();
                        writes.push(audit(run, &[batch as u8]));
                        entries.extend_from_slice(store.commit(Batch { writes }).await.unwrap().audit());
                    }
                    entries
                })
            }).collect();
            let mut all = Vec::new();
            for task in tasks { all.push(task.await.unwrap()); }
            all
        });
        let check = |store: &SqliteStore| {
            for (id, entries) in receipts.iter().enumerate() {
                let bodies: Vec<Vec<u8>> = store.journal(run(id as u128)).unwrap().into_iter().map(|r| r.body).collect();
                let expected: Vec<Vec<u8>> =
                    (0..batches).flat_map(|b| (0..rows).map(move |r| vec![b as u8, r as u8])).collect();
                assert_eq!(bodies, expected);
                let found = store.audit(0, Some(run(id as u128)), usize::MAX).unwrap();
                assert_eq!(found.iter().map(|e| (e.seq, e.hash)).collect::<Vec<_>>(), *entries);
            }
            let verified = store.verify().unwrap();
            assert_eq!(verified.journal_rows as usize, producers * batches * rows);
            assert_eq!(verified.audit_entries as usize, producers * batches);
        };
        check(&store);
        drop(store);
        check(&SqliteStore::open(dir.path(), Realm::LOCAL).unwrap());
    }
}
