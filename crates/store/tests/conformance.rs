//! What every store must do: one suite, run over the memory store and the SQLite store.
//!
//! Not here: failures (`failures.rs`), damage (`damage.rs`), crashes (`crash.rs`).

#![expect(clippy::unwrap_used, reason = "a test stops at its first error")]

use std::future::Future;
use std::sync::Arc;
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;
use tidegate_store::memory::MemoryStore;
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, InboxRow, ROW_BYTES_MAX, Receipt, RunRow, Store, StoreError, Write, chain};

/// A fresh store and what must outlive it.
type Fresh = (Arc<dyn Store>, Option<tempfile::TempDir>);

fn memory() -> Fresh {
    (Arc::new(MemoryStore::new(Realm::LOCAL)), None)
}

fn sqlite() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(dir.path(), Realm::LOCAL).unwrap(), Some(dir))
}

macro_rules! conform {
    ($($name:ident)*) => {
        mod in_memory { $(#[test] fn $name() { super::$name(&*super::memory().0) })* }
        mod in_sqlite { $(#[test] fn $name() { let (store, _dir) = super::sqlite(); super::$name(&*store) })* }
    };
}

conform! {
    sequence_numbers_and_hashes_follow_the_order_of_writes
    a_journal_is_read_back_in_order_and_by_run
    reads_see_what_was_acknowledged
    an_inbox_row_is_replaced
    the_highest_token_stays_the_highest
    forget_destroys_and_the_chains_verify
    forgetting_what_is_unknown_changes_nothing
    settings_are_replaced
    runs_are_listed_newest_first
    blobs_are_in_use_until_their_last_run_is_forgotten
    realms_are_kept_apart
    large_rows_are_kept_and_larger_ones_refused
    audit_pages_go_on_after_a_number
    an_empty_batch_is_fine
    an_empty_store_verifies
    a_closed_store_takes_no_more
    every_bit_of_a_number_is_kept
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn commit(store: &dyn Store, writes: Vec<Write>) -> Receipt {
    wait(store.commit(Batch { writes })).unwrap()
}

fn run(bits: u128) -> RunId {
    RunId { realm: Realm::LOCAL, bits }
}

fn attempt(bits: u128) -> AttemptId {
    AttemptId { realm: Realm::LOCAL, bits }
}

fn journal(run: RunId, body: &[u8]) -> Write {
    Write::Journal { run, kind: 7, body: body.to_vec() }
}

fn audit(run: Option<RunId>, body: &[u8]) -> Write {
    Write::Audit { run, salt: [body.len() as u8; 16], body: body.to_vec() }
}

fn header(run: RunId, status: u8) -> RunRow {
    RunRow { run, status, started_ms: 5, ended_ms: 0, sealed_key: Some(vec![1; 40]), sealed_name: vec![2; 30] }
}

fn inbox(attempt: AttemptId, run: RunId, token: u64, outcome: Option<&[u8]>) -> InboxRow {
    InboxRow {
        attempt,
        run,
        unit: [4; 16],
        token: FencingToken(token),
        request: [5; 32],
        outcome: outcome.map(<[u8]>::to_vec),
        changed_ms: 77,
    }
}

fn sequence_numbers_and_hashes_follow_the_order_of_writes(store: &dyn Store) {
    let first = commit(store, vec![audit(None, b"a"), journal(run(1), b"j"), audit(Some(run(1)), b"bb")]);
    let second = commit(store, vec![audit(Some(run(1)), b"ccc")]);
    let seqs: Vec<u64> = first.audit().iter().chain(second.audit()).map(|entry| entry.0).collect();
    assert_eq!(seqs, [1, 2, 3]);

    // The hashes are the ones of `chain`, so that whoever has the entries can compute them.
    let a = chain::audit(&[0; 32], 1, Realm::LOCAL, None, 0, &chain::commitment(&[1; 16], b"a"));
    let b = chain::audit(&a, 2, Realm::LOCAL, Some(run(1)), 0, &chain::commitment(&[2; 16], b"bb"));
    let c = chain::audit(&b, 3, Realm::LOCAL, Some(run(1)), 2, &chain::commitment(&[3; 16], b"ccc"));
    assert_eq!([first.audit()[0].1, first.audit()[1].1, second.audit()[0].1], [a, b, c]);
    let entries = store.audit(0, None, 10).unwrap();
    assert_eq!(entries.iter().map(|e| e.hash).collect::<Vec<_>>(), [a, b, c]);
    assert_eq!(entries.iter().map(|e| e.prev).collect::<Vec<_>>(), [[0; 32], a, b]);

    let verified = store.verify().unwrap();
    assert_eq!((verified.audit_entries, verified.audit_head), (3, c));
    let j = chain::journal(&[0; 32], 1, run(1), 0, 7, b"j");
    assert_eq!((verified.journal_rows, verified.journal_head), (1, j));
}

fn a_journal_is_read_back_in_order_and_by_run(store: &dyn Store) {
    for n in 0..50u8 {
        commit(store, vec![journal(run(u128::from(n % 3)), &[n]), journal(run(9), &[n, n])]);
    }
    for id in 0..3u8 {
        let bodies: Vec<Vec<u8>> = store.journal(run(id.into())).unwrap().into_iter().map(|row| row.body).collect();
        let expected: Vec<Vec<u8>> = (0..50).filter(|n| n % 3 == id).map(|n| vec![n]).collect();
        assert_eq!(bodies, expected);
    }
    let nine = store.journal(run(9)).unwrap();
    assert_eq!(nine.len(), 50);
    assert!(nine.iter().enumerate().all(|(n, row)| row.seq == 2 * n as u64 + 2 && row.kind == 7));
    assert_eq!(store.journal(run(1234)).unwrap(), []);
}

fn reads_see_what_was_acknowledged(store: &dyn Store) {
    for n in 1..=200u64 {
        let row = inbox(attempt(n.into()), run(1), n, None);
        commit(store, vec![journal(run(1), b"x"), Write::Inbox(row.clone()), Write::Run(header(run(n.into()), 1))]);
        assert_eq!(store.journal(run(1)).unwrap().len() as u64, n);
        assert_eq!(store.inbox(attempt(n.into())).unwrap(), Some(row));
        assert_eq!(store.runs(1000).unwrap().len() as u64, n);
    }
}

fn an_inbox_row_is_replaced(store: &dyn Store) {
    assert_eq!(store.inbox(attempt(1)).unwrap(), None);
    let before = inbox(attempt(1), run(1), 3, None);
    commit(store, vec![Write::Inbox(before.clone()), Write::Inbox(inbox(attempt(2), run(1), 4, None))]);
    assert_eq!(store.inbox(attempt(1)).unwrap(), Some(before));
    let after = InboxRow { changed_ms: 99, ..inbox(attempt(1), run(1), 3, Some(b"done")) };
    commit(store, vec![Write::Inbox(after.clone())]);
    assert_eq!(store.inbox(attempt(1)).unwrap(), Some(after));
    assert_eq!(store.inbox(attempt(2)).unwrap().unwrap().token, FencingToken(4));
    let empty = inbox(attempt(1), run(1), 3, Some(b""));
    commit(store, vec![Write::Inbox(empty.clone())]);
    assert_eq!(store.inbox(attempt(1)).unwrap(), Some(empty), "an empty outcome is an outcome");
    store.verify().unwrap();
}

fn the_highest_token_stays_the_highest(store: &dyn Store) {
    let highest = || store.highest_token(run(1), [4; 16]).unwrap();
    assert_eq!(highest(), None);
    commit(store, vec![Write::Inbox(inbox(attempt(1), run(1), 5, None))]);
    assert_eq!(highest(), Some(FencingToken(5)));
    commit(store, vec![Write::Inbox(inbox(attempt(2), run(1), 3, None))]);
    assert_eq!(highest(), Some(FencingToken(5)));
    commit(store, vec![Write::Inbox(inbox(attempt(1), run(1), 4, None))]);
    assert_eq!(highest(), Some(FencingToken(5)), "what was seen stays seen");
    commit(store, vec![Write::Inbox(inbox(attempt(3), run(1), u64::MAX, None))]);
    assert_eq!(highest(), Some(FencingToken(u64::MAX)));
    commit(store, vec![Write::Forget { run: run(1) }]);
    assert_eq!(highest(), Some(FencingToken(u64::MAX)));
    assert_eq!(store.highest_token(run(2), [4; 16]).unwrap(), None);
    assert_eq!(store.highest_token(run(1), [5; 16]).unwrap(), None);
    store.verify().unwrap();
}

fn forget_destroys_and_the_chains_verify(store: &dyn Store) {
    for id in [1, 2] {
        commit(
            store,
            vec![
                Write::Run(header(run(id), 3)),
                journal(run(id), b"sealed"),
                audit(Some(run(id)), b"what left"),
                audit(None, b"site"),
                Write::Inbox(inbox(attempt(id), run(id), 1, Some(b"secret"))),
                Write::UseBlob { run: run(id), blob: BlobId::Keyed([id as u8; 32]) },
            ],
        );
    }
    let before = store.verify().unwrap();
    commit(store, vec![Write::Forget { run: run(1) }]);
    assert_eq!(store.verify().unwrap(), before, "forgetting changes neither chain");

    assert_eq!(store.run(run(1)).unwrap().unwrap(), RunRow { sealed_key: None, ..header(run(1), 3) });
    assert_eq!(store.inbox(attempt(1)).unwrap().unwrap(), inbox(attempt(1), run(1), 1, None));
    assert_eq!(store.blobs_in_use().unwrap(), [BlobId::Keyed([2; 32])]);
    let bodies: Vec<bool> = store.audit(0, None, 10).unwrap().iter().map(|entry| entry.body.is_some()).collect();
    assert_eq!(bodies, [false, true, true, true]);
    assert_eq!(store.audit(0, Some(run(1)), 10).unwrap()[0].body, None);
    // Its journal rows stay, unreadable without the key.
    assert_eq!(store.journal(run(1)).unwrap()[0].body, b"sealed");

    assert_eq!(store.run(run(2)).unwrap().unwrap(), header(run(2), 3));
    assert_eq!(store.inbox(attempt(2)).unwrap().unwrap().outcome.as_deref(), Some(&b"secret"[..]));

    // A run goes on after being forgotten (the entry that says so is one), and is forgotten again.
    commit(store, vec![audit(Some(run(1)), b"forgotten by its owner"), journal(run(1), b"end")]);
    let of_run = store.audit(0, Some(run(1)), 10).unwrap();
    assert_eq!(of_run.iter().map(|e| e.body.is_some()).collect::<Vec<_>>(), [false, true]);
    store.verify().unwrap();
    commit(store, vec![audit(Some(run(1)), b"x"), Write::Forget { run: run(1) }, audit(Some(run(1)), b"y")]);
    let of_run = store.audit(0, Some(run(1)), 10).unwrap();
    assert_eq!(of_run.iter().map(|e| e.body.is_some()).collect::<Vec<_>>(), [false, false, false, true]);
    store.verify().unwrap();
}

fn forgetting_what_is_unknown_changes_nothing(store: &dyn Store) {
    commit(store, vec![Write::Forget { run: run(8) }]);
    assert_eq!(store.run(run(8)).unwrap(), None);
    assert_eq!(store.runs(9).unwrap(), []);
    store.verify().unwrap();
    commit(store, vec![journal(run(8), b"later"), audit(Some(run(8)), b"later"), Write::Run(header(run(8), 1))]);
    assert_eq!(store.audit(0, Some(run(8)), 9).unwrap()[0].body.as_deref(), Some(&b"later"[..]));
    store.verify().unwrap();
}

fn settings_are_replaced(store: &dyn Store) {
    assert_eq!(store.setting("high-water").unwrap(), None);
    let set = |name: &str, value: &[u8]| Write::Setting { name: name.into(), value: value.to_vec() };
    commit(store, vec![set("high-water", b"1"), set("other", b"x")]);
    commit(store, vec![set("high-water", b"22")]);
    assert_eq!(store.setting("high-water").unwrap().unwrap(), b"22");
    commit(store, vec![set("high-water", b"")]);
    assert_eq!(store.setting("high-water").unwrap().unwrap(), b"");
    assert_eq!(store.setting("other").unwrap().unwrap(), b"x");
    assert_eq!(store.setting("High-water").unwrap(), None);
    store.verify().unwrap();
}

fn runs_are_listed_newest_first(store: &dyn Store) {
    for id in [5, 3, 8] {
        commit(store, vec![Write::Run(header(run(id), 1))]);
    }
    commit(store, vec![Write::Run(header(run(3), 9))]);
    let ids = |limit| store.runs(limit).unwrap().into_iter().map(|row| row.run.bits).collect::<Vec<_>>();
    assert_eq!(ids(10), [8, 3, 5], "a changed header keeps its place");
    assert_eq!(ids(2), [8, 3]);
    assert_eq!(ids(3), [8, 3, 5]);
    assert_eq!(ids(0), [0; 0]);
    assert_eq!(store.run(run(3)).unwrap().unwrap().status, 9);
}

fn blobs_are_in_use_until_their_last_run_is_forgotten(store: &dyn Store) {
    let (a, b) = (BlobId::Keyed([1; 32]), BlobId::Digest([1; 32]));
    let uses = |id: u128, blob| Write::UseBlob { run: run(id), blob };
    commit(store, vec![uses(1, a), uses(1, a), uses(2, a), uses(2, b)]);
    assert_eq!(store.blobs_in_use().unwrap(), [a, b]);
    commit(store, vec![Write::Forget { run: run(2) }]);
    assert_eq!(store.blobs_in_use().unwrap(), [a]);
    commit(store, vec![uses(2, b), Write::Forget { run: run(1) }]);
    assert_eq!(store.blobs_in_use().unwrap(), [b]);
    store.verify().unwrap();
}

fn realms_are_kept_apart(store: &dyn Store) {
    let acme: Realm = "acme".parse().unwrap();
    let theirs = RunId { realm: acme, bits: 1 };
    let their_attempt = AttemptId { realm: acme, bits: 1 };
    commit(
        store,
        vec![
            Write::Run(header(run(1), 1)),
            Write::Run(header(theirs, 2)),
            journal(run(1), b"ours"),
            journal(theirs, b"theirs"),
            audit(Some(run(1)), b"ours"),
            audit(Some(theirs), b"theirs"),
            Write::Inbox(inbox(attempt(1), run(1), 1, Some(b"ours"))),
            Write::Inbox(inbox(their_attempt, theirs, 9, Some(b"theirs"))),
            Write::UseBlob { run: run(1), blob: BlobId::Keyed([1; 32]) },
            Write::UseBlob { run: theirs, blob: BlobId::Keyed([2; 32]) },
        ],
    );
    commit(store, vec![Write::Forget { run: run(1) }]);
    assert_eq!(store.run(theirs).unwrap().unwrap(), header(theirs, 2));
    assert_eq!(store.journal(theirs).unwrap()[0].body, b"theirs");
    assert_eq!(store.audit(0, Some(theirs), 9).unwrap()[0].body.as_deref(), Some(&b"theirs"[..]));
    assert_eq!(store.inbox(their_attempt).unwrap().unwrap().outcome.as_deref(), Some(&b"theirs"[..]));
    assert_eq!(store.highest_token(theirs, [4; 16]).unwrap(), Some(FencingToken(9)));
    assert_eq!(store.highest_token(run(1), [4; 16]).unwrap(), Some(FencingToken(1)));
    assert_eq!(store.blobs_in_use().unwrap(), [BlobId::Keyed([2; 32])]);
    assert_eq!(store.run(RunId { realm: "other".parse().unwrap(), bits: 1 }).unwrap(), None);
    store.verify().unwrap();
}

fn large_rows_are_kept_and_larger_ones_refused(store: &dyn Store) {
    let body: Vec<u8> = (0..ROW_BYTES_MAX).map(|n| (n % 251) as u8).collect();
    commit(store, vec![journal(run(1), &body), audit(Some(run(1)), &body)]);
    assert!(store.journal(run(1)).unwrap()[0].body == body);
    assert!(store.audit(0, Some(run(1)), 1).unwrap()[0].body.as_ref() == Some(&body));
    let too_large = vec![0; ROW_BYTES_MAX + 1];
    let refused = wait(store.commit(Batch { writes: vec![journal(run(2), b"small"), journal(run(2), &too_large)] }));
    assert!(matches!(refused, Err(StoreError::TooLarge { bytes }) if bytes == ROW_BYTES_MAX + 1));
    assert_eq!(store.journal(run(2)).unwrap(), [], "nothing of a refused batch is kept");
    store.verify().unwrap();
}

fn audit_pages_go_on_after_a_number(store: &dyn Store) {
    for n in 0..20u8 {
        commit(store, vec![audit((n % 2 == 0).then(|| run(1)), &[n])]);
    }
    let seqs = |after, run, limit| -> Vec<u64> {
        store.audit(after, run, limit).unwrap().into_iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(seqs(0, None, 3), [1, 2, 3]);
    assert_eq!(seqs(18, None, 5), [19, 20]);
    assert_eq!(seqs(20, None, 5), [0; 0]);
    assert_eq!(seqs(u64::MAX, None, 5), [0; 0]);
    assert_eq!(seqs(3, Some(run(1)), 2), [5, 7]);
    assert_eq!(seqs(18, Some(run(1)), 2), [19]);
    assert_eq!(seqs(u64::MAX, Some(run(1)), 2), [0; 0]);
    assert_eq!(seqs(0, None, 0), [0; 0]);
    assert_eq!(seqs(0, None, usize::MAX).len(), 20);
}

fn an_empty_batch_is_fine(store: &dyn Store) {
    assert_eq!(commit(store, vec![]).audit(), []);
}

fn an_empty_store_verifies(store: &dyn Store) {
    let verified = store.verify().unwrap();
    assert_eq!((verified.audit_entries, verified.journal_rows), (0, 0));
    assert_eq!((verified.audit_head, verified.journal_head), ([0; 32], [0; 32]));
}

fn a_closed_store_takes_no_more(store: &dyn Store) {
    let queued: Vec<_> = (0..20).map(|_| store.commit(Batch { writes: vec![journal(run(1), b"x")] })).collect();
    store.close().unwrap();
    for ticket in queued {
        wait(ticket).unwrap();
    }
    let late = wait(store.commit(Batch { writes: vec![journal(run(1), b"late")] }));
    assert!(matches!(late, Err(StoreError::Stopped(_))), "{late:?}");
    assert_eq!(store.journal(run(1)).unwrap().len(), 20, "reads go on");
    store.close().unwrap();
    store.verify().unwrap();
}

fn every_bit_of_a_number_is_kept(store: &dyn Store) {
    let max = RunId { realm: "sixteen-letters-".parse().unwrap(), bits: u128::MAX };
    let row = RunRow { started_ms: u64::MAX, ended_ms: u64::MAX - 1, status: 255, ..header(max, 0) };
    let inbox_row = InboxRow { changed_ms: u64::MAX, ..inbox(attempt(u128::MAX), max, u64::MAX, None) };
    let last = Write::Journal { run: max, kind: 255, body: vec![] };
    commit(store, vec![Write::Run(row.clone()), Write::Inbox(inbox_row.clone()), last]);
    assert_eq!(store.run(max).unwrap(), Some(row));
    assert_eq!(store.inbox(attempt(u128::MAX)).unwrap(), Some(inbox_row));
    assert_eq!(store.journal(max).unwrap()[0].kind, 255);
    store.verify().unwrap();
}

#[test]
fn what_was_written_is_there_after_reopening_and_the_chains_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for n in 1..=5u64 {
        let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
        let receipt = commit(
            &*store,
            vec![journal(run(1), &[n as u8]), audit(Some(run(1)), &[n as u8]), Write::Run(header(run(n.into()), 1))],
        );
        assert_eq!(receipt.audit()[0].0, n);
        assert_eq!(store.journal(run(1)).unwrap().len() as u64, n);
        assert_eq!(store.runs(99).unwrap().len() as u64, n);
        heads.push(store.verify().unwrap());
    }
    assert_eq!(heads.last().unwrap().audit_entries, 5);
    assert_eq!(heads.last().unwrap().journal_rows, 5);
}

#[test]
fn settings_belong_to_the_realm_of_the_site() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
    commit(&*store, vec![Write::Setting { name: "a".into(), value: vec![1] }, audit(None, b"local")]);
    drop(store);
    let store = SqliteStore::open(dir.path(), "acme".parse().unwrap()).unwrap();
    assert_eq!(store.setting("a").unwrap(), None);
    commit(&*store, vec![Write::Setting { name: "a".into(), value: vec![2] }, audit(None, b"acme")]);
    assert_eq!(store.setting("a").unwrap(), Some(vec![2]));
    store.verify().unwrap();
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (store, dir) = sqlite();
    commit(&*store, vec![journal(run(1), b"x")]);
    for entry in std::fs::read_dir(dir.unwrap().path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn forgotten_bytes_are_in_no_file() {
    let (store, dir) = sqlite();
    let dir = dir.unwrap();
    let secret = b"the-canary-sang-at-midnight".repeat(400);
    commit(
        &*store,
        vec![
            audit(Some(run(1)), &secret),
            audit(Some(run(1)), b"the-canary-sang-at-midnight"),
            Write::Inbox(inbox(attempt(1), run(1), 1, Some(&secret))),
            Write::Run(RunRow { sealed_key: Some(b"the-canary-sang-at-midnight".to_vec()), ..header(run(1), 1) }),
        ],
    );
    let found = || {
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            files += usize::from(bytes.windows(27).any(|part| part == b"the-canary-sang-at-midnight"));
        }
        files
    };
    assert!(found() > 0, "the search finds what is there");
    commit(&*store, vec![Write::Forget { run: run(1) }]);
    store.close().unwrap();
    assert_eq!(found(), 0);
}
