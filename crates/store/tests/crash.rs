//! Crashes (fault F1): a folder copied while it is written to, and a process killed while it
//! writes. And a disk that is really full (F4), in a process that has one of its own.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at its first error; this one kills a process of its own"
)]

use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate_domain::ids::{Realm, RunId};
use tidegate_domain::value::BlobKind;
use tidegate_store::blobs::{BlobError, Blobs};
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, Store, StoreError, Write};

/// Set for a child process: the folder it writes to until it is killed.
const CHILD_DIR: &str = "TIDEGATE_TEST_CRASH_DIR";
/// Set for a child process: a small disk that it may fill.
const SMALL_DISK: &str = "TIDEGATE_TEST_SMALL_DISK";
const PRODUCERS: u64 = 4;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn run(bits: u64) -> RunId {
    RunId { realm: Realm::LOCAL, bits: bits.into() }
}

/// The `n`th batch of a producer: recognisable rows in both chains.
fn batch(producer: u64, n: u64, size: usize) -> Batch {
    let mut body = n.to_le_bytes().to_vec();
    body.resize(8 + size, producer as u8);
    Batch {
        writes: vec![
            Write::Journal { run: run(producer), kind: 1, body: body.clone() },
            Write::Audit { run: Some(run(producer)), salt: [2; 16], body: n.to_le_bytes().to_vec() },
            Write::Setting { name: format!("last {producer}"), value: n.to_le_bytes().to_vec() },
        ],
    }
}

/// Everything acknowledged is there, whole batches only, and nothing that was never written.
fn check(store: &SqliteStore, producer: u64, acknowledged: u64) -> u64 {
    let rows = store.journal(run(producer)).unwrap();
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row.body[..8], (n as u64 + 1).to_le_bytes());
    }
    let count = rows.len() as u64;
    assert!(count >= acknowledged, "producer {producer}: {count} rows, {acknowledged} acknowledged");
    assert_eq!(store.audit(0, Some(run(producer)), usize::MAX).unwrap().len() as u64, count);
    let last = store.setting(&format!("last {producer}")).unwrap();
    assert_eq!(last, (count > 0).then(|| count.to_le_bytes().to_vec()));
    count
}

#[test]
fn f01_a_copy_at_any_moment_opens_with_everything_acknowledged() {
    let mut copies = 0;
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
        let acknowledged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 1..=300 {
                    wait(store.commit(batch(1, n, 40))).unwrap();
                    acknowledged.store(n, Ordering::SeqCst);
                }
            });
            while !writer.is_finished() {
                let before = acknowledged.load(Ordering::SeqCst);
                let copy = tempfile::tempdir().unwrap();
                // The head first: a real crash leaves no head that is newer than its database. The
                // log last: it is not emptied in so short a test, so it completes the database.
                for name in ["head", "journal.db", "journal.db-wal"] {
                    std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
                }
                let copied = SqliteStore::open(copy.path(), Realm::LOCAL).unwrap();
                check(&copied, 1, before);
                copied.verify().unwrap();
                wait(copied.commit(batch(2, 1, 40))).unwrap();
                copies += 1;
            }
        });
        check(&store, 1, 300);
    }
    assert!(copies >= 6);
}

/// Not a test by itself: what the child process of the next one runs.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = SqliteStore::open(Path::new(&dir), Realm::LOCAL).unwrap();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let store = &store;
            scope.spawn(move || {
                let mut n = store.journal(run(producer)).unwrap().len() as u64;
                loop {
                    n += 1;
                    // Large enough that logs are moved into the database within a round.
                    wait(store.commit(batch(producer, n, 20_000))).unwrap();
                    let line = format!("acknowledged {producer} {n}\n");
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn f01_a_killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut counts = HashMap::new();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut acknowledged = HashMap::new();
            for line in output.lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                // The harness prints its own words, in front of the first line too.
                if words.any(|word| word.ends_with("acknowledged"))
                    && let (Some(producer), Some(n)) = (words.next(), words.next())
                    && let (Ok(producer), Ok(n)) = (producer.parse::<u64>(), n.parse::<u64>())
                {
                    acknowledged.insert(producer, n);
                }
            }
            acknowledged
        });
        std::thread::sleep(Duration::from_millis(250 + 131 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        counts.extend(reader.join().unwrap());
        let store = SqliteStore::open(dir.path(), Realm::LOCAL).unwrap();
        for producer in 0..PRODUCERS {
            let count = check(&store, producer, counts.get(&producer).copied().unwrap_or(0));
            counts.insert(producer, count);
        }
        store.verify().unwrap();
    }
    assert!(counts.values().sum::<u64>() > 20, "{counts:?}");
}

/// Not a test by itself: what the child process of the next one runs.
#[test]
fn child_that_fills_its_disk() {
    let Some(dir) = std::env::var_os(SMALL_DISK) else { return };
    let dir = Path::new(&dir);
    std::fs::write(dir.join("filler"), vec![0; 300_000]).unwrap();
    let store = SqliteStore::open(dir, Realm::LOCAL).unwrap();
    let blobs = Blobs::open(dir, [1; 32]).unwrap();
    let mut kept = 0;
    let full = loop {
        match wait(store.commit(batch(1, kept + 1, 3000))) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    // Nothing is kept that was not acknowledged, and reads go on.
    assert_eq!(check(&store, 1, kept), kept);
    store.verify().unwrap();
    assert!(matches!(blobs.put(&[1; 300_000], BlobKind::Bytes), Err(BlobError::Full(_))));
    for _ in 0..20 {
        let again = wait(store.commit(batch(1, kept + 1, 3000)));
        assert!(matches!(again, Err(StoreError::Full(_))), "{again:?}");
    }
    // With space again it goes on where it was.
    std::fs::remove_file(dir.join("filler")).unwrap();
    wait(store.commit(batch(1, kept + 1, 3000))).unwrap();
    assert_eq!(check(&store, 1, kept + 1), kept + 1);
    blobs.put(&[1; 100_000], BlobKind::Bytes).unwrap();
    store.close().unwrap();
    drop(store);
    let store = SqliteStore::open(dir, Realm::LOCAL).unwrap();
    assert_eq!(store.verify().unwrap().journal_rows, kept + 1);
    println!("filled after {kept} batches");
}

#[test]
fn f04_on_a_full_disk_nothing_is_kept_and_reads_go_on() {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command
    };
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display();
    if !unshare(&format!("mount -t tmpfs -o size=64k tidegate {place}")).status().is_ok_and(|status| status.success()) {
        // `f04_a_full_database_keeps_nothing_of_the_batch_and_goes_on` covers the store's side.
        println!("this system gives no process a disk of its own: not tested on a full disk");
        return;
    }
    for kilobytes in [1400, 1411, 1500, 2000] {
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k tidegate {place} && \
             exec {} child_that_fills_its_disk --exact --nocapture",
            program.display()
        );
        let output = unshare(&script).env(SMALL_DISK, dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("filled after"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
