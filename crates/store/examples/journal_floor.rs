//! What a durable append costs, beside what SQLite alone costs on the same disk in the same run.
//!
//! `cargo run --release -p tidegate-store --example journal_floor [FOLDER]`
//!
//! Prints the median of one synced append (the floor is one bare `INSERT` of a row of the same size
//! in WAL mode with `synchronous=FULL`), rows per second with 128 producers waiting for their
//! batches of two rows, with one producer and batches of 100, and blobs of 50 KB put per second.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement stops at its first error and reads the clock"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_domain::ids::{Realm, RunId};
use tidegate_domain::value::BlobKind;
use tidegate_store::blobs::Blobs;
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, Store, Write};

/// Bytes of one row's body: what the engine's smaller rows have.
const BODY_BYTES: usize = 200;
/// Appends measured one by one.
const APPENDS: usize = 4_000;

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();

    // In turns, so that both meet the same moods of the disk.
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    let bare = bare(&dir.path().join("bare"));
    let before = resident_kb();
    let store = open(&dir.path().join("one"));
    println!("memory of an open, empty store   {:>8} KB", resident_kb() - before);
    for _ in 0..8 {
        floor.extend(bare_appends(&bare, APPENDS / 8));
        ours.extend(runtime.block_on(appends(&store, APPENDS / 8)));
    }
    println!(
        "one synced append, bare SQLite   median {:>8.1} us   p99 {:>8.1} us",
        at(&mut floor, 50),
        at(&mut floor, 99)
    );
    println!(
        "one synced append, store         median {:>8.1} us   p99 {:>8.1} us",
        at(&mut ours, 50),
        at(&mut ours, 99)
    );
    println!("memory after {APPENDS} appends       {:>8} KB (with both measurements' lists)", resident_kb() - before);
    store.close().unwrap();

    for (producers, rows) in [(128, 2), (16, 2), (1, 100)] {
        let store = open(&dir.path().join(format!("p{producers}")));
        let rate = runtime.block_on(produce(&store, producers, rows));
        println!("{producers:>3} producers, {rows:>3} rows a batch   {rate:>10.0} rows/s");
        let began = Instant::now();
        let verified = store.verify().unwrap();
        let count = verified.journal_rows + verified.audit_entries;
        println!("    verify of {count} rows: {:.2} s", began.elapsed().as_secs_f64());
        let began = Instant::now();
        let count = store.journal(RunId { realm: Realm::LOCAL, bits: 0 }).unwrap().len();
        println!("    reading one run's journal of {count} rows: {:.2} s", began.elapsed().as_secs_f64());
        store.close().unwrap();
        drop(store);
        let began = Instant::now();
        drop(open(&dir.path().join(format!("p{producers}"))));
        println!("    opening and closing again: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    }

    let blobs = Blobs::open(dir.path(), [1; 32]).unwrap();
    let mut content = vec![7; 50_000];
    let began = Instant::now();
    for n in 0u64..2_000 {
        content[..8].copy_from_slice(&n.to_le_bytes());
        blobs.put(&content, BlobKind::Bytes).unwrap();
    }
    println!("blobs of 50 KB, one after another {:>9.0} a second", 2_000.0 / began.elapsed().as_secs_f64());
}

fn open(dir: &Path) -> Arc<SqliteStore> {
    std::fs::create_dir_all(dir).unwrap();
    SqliteStore::open(dir, Realm::LOCAL).unwrap()
}

fn row(run: RunId) -> Write {
    Write::Journal { run, kind: 1, body: vec![42; BODY_BYTES] }
}

async fn appends(store: &Arc<SqliteStore>, count: usize) -> Vec<f64> {
    let run = RunId { realm: Realm::LOCAL, bits: 1 };
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        store.commit(Batch { writes: vec![row(run)] }).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times
}

async fn produce(store: &Arc<SqliteStore>, producers: u128, rows: usize) -> f64 {
    let until = Instant::now() + Duration::from_secs(5);
    let began = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|bits| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = RunId { realm: Realm::LOCAL, bits };
                let mut count = 0;
                while Instant::now() < until {
                    // As the gate does: what is sent stands in the journal and in the audit log.
                    let audit = Write::Audit { run: Some(run), salt: [3; 16], body: vec![42; BODY_BYTES] };
                    let mut writes = vec![row(run); rows - 1];
                    writes.push(audit);
                    store.commit(Batch { writes }).await.unwrap();
                    count += rows;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    total as f64 / began.elapsed().as_secs_f64()
}

fn bare(dir: &Path) -> rusqlite::Connection {
    std::fs::create_dir_all(dir).unwrap();
    let connection = rusqlite::Connection::open(dir.join("bare.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE rows (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        )
        .unwrap();
    connection
}

fn bare_appends(connection: &rusqlite::Connection, count: usize) -> Vec<f64> {
    let mut insert = connection.prepare("INSERT INTO rows (body) VALUES (?1)").unwrap();
    let body = vec![42u8; BODY_BYTES];
    (0..count)
        .map(|_| {
            let began = Instant::now();
            insert.execute([&body]).unwrap();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect()
}

/// What this process keeps in memory.
fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn at(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) * percent / 100]
}
