//! Damage (fault F5, attacker A20): whatever changes in the files is an error or changes nothing
//! that is read; verifying names the first bad entry.

#![expect(clippy::unwrap_used, reason = "a test stops at its first error")]

use rusqlite::Connection;
use std::future::Future;
use std::path::Path;
use tidegate_domain::ids::{AttemptId, FencingToken, Realm, RunId};
use tidegate_domain::value::BlobId;
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, InboxRow, RunRow, Store, StoreError, Verified, Write};

/// Flips every byte in place of every 29th when set; takes minutes.
const EVERY_BYTE: &str = "TIDEGATE_TEST_EVERY_BYTE";
const RUNS: u128 = 12;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn run(bits: u128) -> RunId {
    RunId { realm: Realm::LOCAL, bits: bits << 64 }
}

fn attempt(bits: u128) -> AttemptId {
    AttemptId { realm: Realm::LOCAL, bits: bits << 64 }
}

/// In memory if the system has such a folder: these tests write thousands of files.
fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn open(dir: &Path) -> Result<std::sync::Arc<SqliteStore>, StoreError> {
    SqliteStore::open(dir, Realm::LOCAL)
}

/// A store with rows of every kind; some tables have more than one page.
fn fill(store: &SqliteStore) {
    for id in 0..RUNS {
        let writes = vec![
            Write::Run(RunRow {
                run: run(id),
                status: id as u8,
                started_ms: 1000 + id as u64,
                ended_ms: 0,
                sealed_key: Some(vec![id as u8; 48]),
                sealed_name: vec![0x33; 400],
            }),
            Write::Journal { run: run(id), kind: 3, body: vec![id as u8 + 1; 300] },
            Write::Audit { run: Some(run(id)), salt: [id as u8; 16], body: vec![id as u8 + 1; 200] },
            Write::Journal { run: run(id % 3), kind: 4, body: vec![0x55; 150] },
            Write::Inbox(InboxRow {
                attempt: attempt(id),
                run: run(id),
                unit: [id as u8 % 4; 16],
                token: FencingToken(id as u64 + 1),
                request: [9; 32],
                outcome: (id % 2 == 0).then(|| vec![0x66; 500]),
                changed_ms: 4,
            }),
            Write::UseBlob { run: run(id), blob: BlobId::Keyed([id as u8; 32]) },
            Write::UseBlob { run: run(id), blob: BlobId::Digest([id as u8; 32]) },
            Write::Setting { name: format!("setting {id}"), value: vec![0x77; 120] },
        ];
        wait(store.commit(Batch { writes })).unwrap();
    }
    let site = Write::Audit { run: None, salt: [1; 16], body: b"about the site".to_vec() };
    let large = Write::Journal { run: run(1), kind: 9, body: vec![0x44; 9000] };
    wait(store.commit(Batch { writes: vec![site, large, Write::Forget { run: run(2) }] })).unwrap();
    // One that no chain shows.
    wait(store.commit(Batch { writes: vec![Write::Setting { name: "last".into(), value: vec![1] }] })).unwrap();
}

/// What every read answers, as text; an error stays one.
fn answers(store: &SqliteStore) -> Vec<Result<String, StoreError>> {
    fn text<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Result<String, StoreError> {
        answer.map(|value| format!("{value:?}"))
    }
    let mut all = vec![
        text(store.runs(99)),
        text(store.runs(5)),
        text(store.audit(0, None, 99)),
        text(store.audit(4, None, 3)),
        text(store.blobs_in_use()),
        text(store.setting("last")),
        text(store.setting("never")),
    ];
    for id in 0..RUNS + 1 {
        all.push(text(store.run(run(id))));
        all.push(text(store.journal(run(id))));
        all.push(text(store.audit(0, Some(run(id)), 99)));
        all.push(text(store.inbox(attempt(id))));
        all.push(text(store.highest_token(run(id), [id as u8 % 4; 16])));
        all.push(text(store.setting(&format!("setting {id}"))));
    }
    all
}

/// How often damage was noticed, and by whom.
#[derive(Debug, Default)]
struct Tally {
    opening: usize,
    reading: usize,
    verifying: usize,
    harmless: usize,
}

/// Opens a damaged folder: every answer must be an error or the right one, and if any is an error,
/// verifying must fail too.
fn check(dir: &Path, right: &[Result<String, StoreError>], verified: &Verified, place: &str, tally: &mut Tally) {
    let Ok(store) = open(dir) else {
        tally.opening += 1;
        return;
    };
    let mut errors = 0;
    for (answer, right) in answers(&store).iter().zip(right) {
        match answer {
            Ok(answer) => assert_eq!(answer, right.as_ref().unwrap(), "{place}: wrong data was served"),
            Err(_) => errors += 1,
        }
    }
    match store.verify() {
        Ok(found) => {
            assert_eq!(errors, 0, "{place}: verified, and reading fails");
            assert_eq!(&found, verified, "{place}");
            tally.harmless += 1;
        }
        Err(_) if errors > 0 => tally.reading += 1,
        Err(_) => tally.verifying += 1,
    }
}

/// Copies `from` and flips one bit in each chosen byte of `name`.
fn flip(from: &Path, name: &str, files: &[&str], right: &[Result<String, StoreError>], verified: &Verified) -> Tally {
    let good = std::fs::read(from.join(name)).unwrap();
    let step = if std::env::var_os(EVERY_BYTE).is_some() { 1 } else { 29 };
    // Nearly all of the unused space in pages is zeros: a few of those are enough.
    let used = (0..good.len()).filter(|place| good[*place] != 0).step_by(step);
    let unused = (0..good.len()).filter(|place| good[*place] == 0).step_by(step * 17);
    // The first bytes of a page say what the rest means.
    let heads = (0..good.len()).filter(|place| place % 4096 < 12 && step > 1);
    let dir = scratch();
    let mut tally = Tally::default();
    for place in used.chain(unused).chain(heads) {
        let bit = 1u8 << ((place * 7 + place / 4096) % 8);
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for file in files {
            std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
        }
        let mut bad = good.clone();
        bad[place] ^= bit;
        std::fs::write(dir.path().join(name), bad).unwrap();
        check(dir.path(), right, verified, &format!("{name} byte {place} bit {bit}"), &mut tally);
    }
    tally
}

#[test]
fn f05_no_flipped_bit_of_the_database_is_served() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    let (right, verified) = (answers(&store), store.verify().unwrap());
    drop(store);
    let tally = flip(dir.path(), "journal.db", &["journal.db", "head"], &right, &verified);
    println!("database: {tally:?}");
    assert!(tally.opening > 20 && tally.reading > 100 && tally.verifying > 5, "{tally:?}");
}

#[test]
fn f05_no_flipped_bit_of_the_log_is_served() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    let (right, verified) = (answers(&store), store.verify().unwrap());
    // Until the head names the last row: what it does not name yet could be dropped unnoticed.
    std::thread::sleep(std::time::Duration::from_millis(800));
    let copy = scratch();
    let files = ["journal.db", "journal.db-wal", "head"];
    for name in files {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let mut tally = Tally::default();
    check(copy.path(), &right, &verified, "untouched", &mut tally);
    assert_eq!(tally.harmless, 1, "{tally:?}");
    for name in files {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let tally = flip(copy.path(), "journal.db-wal", &files, &right, &verified);
    println!("log: {tally:?}");
    assert!(tally.opening > 100, "{tally:?}");
}

#[test]
fn f05_a_log_or_database_cut_behind_the_head_is_noticed() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    std::thread::sleep(std::time::Duration::from_millis(800));
    let files = ["journal.db", "journal.db-wal", "head"];
    let copy = |to: &Path| {
        for name in files {
            std::fs::copy(dir.path().join(name), to.join(name)).unwrap();
        }
    };
    let length = std::fs::metadata(dir.path().join("journal.db-wal")).unwrap().len();
    for cut in (0..length - 24).step_by(5003).chain([length - 25]) {
        let to = scratch();
        copy(to.path());
        std::fs::OpenOptions::new().write(true).open(to.path().join("journal.db-wal")).unwrap().set_len(cut).unwrap();
        let error = open(to.path()).err();
        assert!(matches!(error, Some(StoreError::Corrupt { .. })), "cut to {cut}: {error:?}");
    }
    let to = scratch();
    copy(to.path());
    std::fs::remove_file(to.path().join("journal.db-wal")).unwrap();
    assert!(matches!(open(to.path()).err(), Some(StoreError::Corrupt { .. })));

    drop(store);
    let length = std::fs::metadata(dir.path().join("journal.db")).unwrap().len();
    for cut in (0..length).step_by(4096) {
        let to = scratch();
        copy(to.path());
        std::fs::OpenOptions::new().write(true).open(to.path().join("journal.db")).unwrap().set_len(cut).unwrap();
        let noticed = open(to.path()).is_err_and(|error| matches!(error, StoreError::Corrupt { .. }));
        // SQLite opens a database whose last page is missing if nobody asks for that page.
        let noticed = noticed || open(to.path()).is_ok_and(|store| store.verify().is_err());
        assert!(noticed, "cut to {cut}");
    }
}

#[test]
fn f05_a_missing_or_strange_head_is_noticed() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    let last = store.verify().unwrap();
    drop(store);
    let head = dir.path().join("head");
    let text = std::fs::read_to_string(&head).unwrap();

    std::fs::remove_file(&head).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { what: "the head file", .. })));
    std::fs::write(&head, "").unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { what: "the head file", .. })));

    // A head with a good checksum that names other rows than the chain has.
    let with = |from: &str, to: &str| {
        let body: String = text.lines().take(4).map(|line| line.replace(from, to) + "\n").collect();
        assert_ne!(body, text.lines().take(4).map(|line| line.to_owned() + "\n").collect::<String>());
        std::fs::write(&head, format!("{body}check {}\n", blake3::hash(body.as_bytes()))).unwrap();
        open(dir.path()).err()
    };
    let entries = last.audit_entries;
    let ahead = with(&format!("audit {entries} "), &format!("audit {} ", entries + 1));
    assert!(
        matches!(ahead, Some(StoreError::Corrupt { what: "the audit log", seq, why: "it is shorter than its head" }) if seq == entries + 1),
        "{ahead:?}"
    );
    let hash = blake3::Hash::from_bytes(last.journal_head).to_hex().to_string();
    let other = with(&hash, &"ab".repeat(32));
    assert!(
        matches!(other, Some(StoreError::Corrupt { what: "the journal", why: "it differs from its head", .. })),
        "{other:?}"
    );
    let count = with("unchained 1", "unchained 2");
    assert!(matches!(count, Some(StoreError::Corrupt { .. })), "{count:?}");
    // An older head is fine: the chain goes on from it.
    std::fs::write(&head, &text).unwrap();
    open(dir.path()).unwrap();
}

#[test]
fn an_emptied_database_is_not_a_new_one() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    drop(store);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { why: "it is shorter than its head", .. })));
}

#[test]
fn a_crash_between_creation_and_the_first_commit_leaves_a_folder_that_opens() {
    let dir = scratch();
    // The head was written and the tables were not; and the reverse order, without a head.
    drop(open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("journal.db")).unwrap();
    drop(open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("head")).unwrap();
    drop(open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("head")).unwrap();
    std::fs::write(dir.path().join("journal.db"), "").unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store);
    store.verify().unwrap();
}

/// Changes a closed folder by SQL.
fn tamper(dir: &Path, sql: &str) {
    let raw = Connection::open(dir.join("journal.db")).unwrap();
    raw.execute_batch(sql).unwrap();
}

/// What verifying, or already opening, says about a folder changed by `sql`.
fn verdict(from: &Path, sql: &str) -> Option<StoreError> {
    let dir = scratch();
    for name in ["journal.db", "head"] {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    tamper(dir.path(), sql);
    match open(dir.path()) {
        Ok(store) => store.verify().err(),
        Err(error) => Some(error),
    }
}

#[test]
fn a20_any_change_to_a_chain_is_named_by_its_place() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    drop(store);
    assert_eq!(verdict(dir.path(), "SELECT 1").map(|e| e.to_string()), None);

    let audit = [
        ("UPDATE audit SET body = x'00' WHERE seq = 5", 5),
        ("UPDATE audit SET salt = zeroblob(16) WHERE seq = 5", 5),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("UPDATE audit SET commitment = zeroblob(32) WHERE seq = 5", 5),
        ("UPDATE audit SET run = (SELECT run FROM audit WHERE seq = 6) WHERE seq = 5", 5),
        ("UPDATE audit SET run = NULL WHERE seq = 5", 5),
        ("UPDATE audit SET realm = 'acme' WHERE seq = 5", 5),
        ("UPDATE audit SET realm = 'acme' WHERE seq = 13", 13),
        ("UPDATE audit SET back = 1 WHERE seq = 5", 5),
        ("UPDATE audit SET salt = NULL, body = NULL WHERE seq = 5", 5),
        ("UPDATE audit SET salt = NULL, body = NULL WHERE seq = 13", 13),
        ("UPDATE audit SET salt = NULL WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 13", 13),
        ("DELETE FROM audit WHERE seq > 7", 8),
        (
            "UPDATE audit SET seq = 99 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6;
          UPDATE audit SET seq = 6 WHERE seq = 99",
            5,
        ),
        (
            "UPDATE audit SET seq = -seq WHERE seq > 5; UPDATE audit SET seq = 1 - seq WHERE seq < 0;
          INSERT INTO audit SELECT 6, realm, run, back, hash, commitment, salt, body FROM audit WHERE seq = 5",
            6,
        ),
        ("INSERT INTO audit SELECT 14, realm, run, back, hash, commitment, salt, body FROM audit WHERE seq = 5", 14),
    ];
    for (sql, seq) in audit {
        let error = verdict(dir.path(), sql);
        assert!(
            matches!(error, Some(StoreError::Corrupt { what: "the audit log", seq: found, .. }) if found == seq),
            "{sql}: {error:?}"
        );
    }
    let journal = [
        ("UPDATE journal SET body = x'00' WHERE seq = 5", 5),
        ("UPDATE journal SET kind = 200 WHERE seq = 5", 5),
        ("UPDATE journal SET back = 0 WHERE seq = 24", 24),
        ("UPDATE journal SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("DELETE FROM journal WHERE seq = 5", 5),
        ("DELETE FROM journal WHERE seq > 20", 21),
        (
            "UPDATE journal SET seq = 99 WHERE seq = 5; UPDATE journal SET seq = 5 WHERE seq = 6;
          UPDATE journal SET seq = 6 WHERE seq = 99",
            5,
        ),
    ];
    for (sql, seq) in journal {
        let error = verdict(dir.path(), sql);
        assert!(
            matches!(error, Some(StoreError::Corrupt { what: "the journal", seq: found, .. }) if found == seq),
            "{sql}: {error:?}"
        );
    }
    let others = [
        "DELETE FROM inbox WHERE no = 3",
        "UPDATE inbox SET outcome = x'00' WHERE no = 3",
        "UPDATE inbox SET outcome = NULL WHERE no = 5",
        "DELETE FROM runs WHERE no = 12",
        "DELETE FROM runs WHERE no = 3",
        "UPDATE runs SET status = 9 WHERE no = 3",
        "UPDATE runs SET sealed_key = NULL WHERE no = 4",
        "DELETE FROM fences",
        "UPDATE fences SET token = token - 1",
        "DELETE FROM settings WHERE no = 2",
        "UPDATE settings SET value = x'00' WHERE no = 2",
        "DELETE FROM uses",
        "DELETE FROM tails WHERE journal = 24",
        "UPDATE tails SET journal = journal - 1",
        "DELETE FROM witness",
        "DELETE FROM counts",
        "DROP INDEX inbox_run",
    ];
    for sql in others {
        let error = verdict(dir.path(), sql);
        assert!(matches!(error, Some(StoreError::Corrupt { .. })), "{sql}: {error:?}");
    }
}

#[test]
fn what_is_missing_in_its_table_is_not_taken_for_absent() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    fill(&store);
    drop(store);
    tamper(
        dir.path(),
        "DELETE FROM inbox WHERE no = 4; DELETE FROM runs WHERE no = 4; DELETE FROM fences; DELETE FROM settings;
         DELETE FROM tails",
    );
    let store = open(dir.path()).unwrap();
    assert!(matches!(store.inbox(attempt(3)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.run(run(3)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.runs(99), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.highest_token(run(3), [3; 16]), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.setting("setting 3"), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.journal(run(3)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.audit(0, Some(run(3)), 9), Err(StoreError::Corrupt { .. })));
    // Nor is it written anew over the damage.
    let again = wait(store.commit(Batch { writes: vec![Write::Journal { run: run(3), kind: 1, body: vec![] }] }));
    assert!(matches!(again, Err(StoreError::Stopped(_))));
}
