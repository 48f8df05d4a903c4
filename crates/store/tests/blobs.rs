//! Blobs: kept once, checked on every read, collected when old and unused.

#![expect(clippy::unwrap_used, reason = "a test stops at its first error")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_domain::limits::BLOB_BYTES_MAX;
use tidegate_domain::value::{BlobId, BlobKind, BlobRef};
use tidegate_seams::Clock;
use tidegate_store::blobs::{BlobError, Blobs, Collected};

const KEY: [u8; 32] = [9; 32];
const FAR_AWAY_MS: u64 = 1 << 45;

fn both(check: impl Fn(&Blobs)) {
    let dir = tempfile::tempdir().unwrap();
    check(&Blobs::open(dir.path(), KEY).unwrap());
    check(&Blobs::memory(KEY));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn bytes_come_back_under_either_name() {
    both(|blobs| {
        let keyed = blobs.put(b"hello", BlobKind::Text).unwrap();
        let plain = blobs.put_digest(b"hello", BlobKind::Bytes).unwrap();
        assert_eq!(keyed, BlobRef { id: blobs.keyed_id(b"hello"), size: 5, kind: BlobKind::Text });
        assert_eq!(plain.id, BlobId::Digest(*blake3::hash(b"hello").as_bytes()));
        assert_eq!(plain.id, Blobs::digest_of(b"hello"));
        assert_eq!(blobs.get(&keyed).unwrap(), b"hello");
        assert_eq!(blobs.get(&plain).unwrap(), b"hello");
        assert!(blobs.contains(&keyed.id) && blobs.contains(&plain.id));
        assert!(!blobs.contains(&BlobId::Digest(*keyed.id.bytes())), "the two kinds of names are apart");
        let empty = blobs.put(b"", BlobKind::Text).unwrap();
        assert_eq!(blobs.get(&empty).unwrap(), b"");
        assert_eq!(blobs.total_bytes().unwrap(), 10);
    });
}

#[test]
fn another_site_names_the_same_bytes_otherwise() {
    let (ours, theirs) = (Blobs::memory(KEY), Blobs::memory([8; 32]));
    assert_ne!(ours.keyed_id(b"x"), theirs.keyed_id(b"x"));
    assert_ne!(ours.keyed_id(b"x").bytes(), blake3::keyed_hash(&KEY, b"x").as_bytes(), "the key is derived");
}

#[test]
fn the_same_content_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    assert_eq!(blobs.total_bytes().unwrap(), 0);
    let first = blobs.put(&[1; 1000], BlobKind::Bytes).unwrap();
    assert_eq!(blobs.put(&[1; 1000], BlobKind::Bytes).unwrap(), first);
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(blobs.total_bytes().unwrap(), 1000);
    assert_eq!(Blobs::open(dir.path(), KEY).unwrap().total_bytes().unwrap(), 1000);
}

#[test]
fn files_and_folders_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    blobs.put(b"x", BlobKind::Bytes).unwrap();
    for path in files(dir.path()).into_iter().chain([dir.path().join("blobs")]) {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
}

#[test]
fn missing_and_too_large_are_told_apart() {
    both(|blobs| {
        let nowhere = BlobRef { id: BlobId::Keyed([0; 32]), size: 1, kind: BlobKind::Bytes };
        assert!(matches!(blobs.get(&nowhere), Err(BlobError::Missing(_))));
        let large = vec![0; BLOB_BYTES_MAX as usize];
        let kept = blobs.put(&large, BlobKind::Bytes).unwrap();
        assert!(blobs.get(&kept).unwrap() == large);
        let refused = blobs.put(&vec![0; BLOB_BYTES_MAX as usize + 1], BlobKind::Bytes);
        assert!(matches!(refused, Err(BlobError::TooLarge { bytes }) if bytes == BLOB_BYTES_MAX + 1));
        let lying = BlobRef { size: 3, ..kept };
        assert!(matches!(blobs.get(&lying), Err(BlobError::Size { .. })));
    });
}

#[test]
fn f05_a_damaged_blob_is_never_served_and_heals_when_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    let content: Vec<u8> = (0..300u16).map(|n| n as u8).collect();
    for put in [Blobs::put, Blobs::put_digest] {
        let blob = put(&blobs, &content, BlobKind::Bytes).unwrap();
        let path = files(dir.path()).pop().unwrap();
        for place in 0..content.len() {
            let mut bad = content.clone();
            bad[place] ^= 1 << (place % 8);
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(blobs.get(&blob), Err(BlobError::Damaged(_))), "byte {place}");
        }
        for length in [0, 1, 299] {
            std::fs::write(&path, &content[..length]).unwrap();
            assert!(matches!(blobs.get(&blob), Err(BlobError::Damaged(_))), "cut to {length}");
        }
        assert_eq!(put(&blobs, &content, BlobKind::Bytes).unwrap(), blob);
        assert_eq!(blobs.get(&blob).unwrap(), content);
        std::fs::remove_file(path).unwrap();
        assert!(matches!(blobs.get(&blob), Err(BlobError::Missing(_))));
    }
}

#[test]
fn only_old_unused_blobs_and_leftovers_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    let used = blobs.put(&[1; 100], BlobKind::Bytes).unwrap();
    let unused = blobs.put(&[2; 200], BlobKind::Bytes).unwrap();
    let plain = blobs.put_digest(&[3; 300], BlobKind::Bytes).unwrap();
    assert_eq!(blobs.total_bytes().unwrap(), 600);
    let leftover = dir.path().join("blobs/new/1-1");
    std::fs::write(&leftover, b"half").unwrap();
    let foreign = dir.path().join("blobs/ab");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), b"somebody's").unwrap();

    let in_use = HashSet::from([used.id]);
    assert_eq!(blobs.collect(&in_use, 0).unwrap(), Collected::default(), "all of them are younger");
    assert!(leftover.exists());

    let collected = blobs.collect(&in_use, FAR_AWAY_MS).unwrap();
    assert_eq!(collected, Collected { blobs: 2, bytes: 500 });
    assert!(blobs.contains(&used.id) && !blobs.contains(&unused.id) && !blobs.contains(&plain.id));
    assert!(!leftover.exists());
    assert!(foreign.join("notes.txt").exists(), "what is not a blob is not ours");
    assert_eq!(blobs.total_bytes().unwrap(), 100);
}

#[test]
fn a_blob_put_again_is_young_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    let blob = blobs.put(b"x", BlobKind::Bytes).unwrap();
    let path = files(dir.path()).pop().unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    blobs.put(b"x", BlobKind::Bytes).unwrap();
    assert_eq!(blobs.collect(&HashSet::new(), 1_700_000_000_000).unwrap(), Collected::default());
    assert!(blobs.contains(&blob.id));
}

struct Hand(AtomicU64);

impl Clock for Hand {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn boot_us(&self) -> u64 {
        0
    }
}

#[test]
fn in_memory_the_clock_tells_the_age() {
    let clock = Arc::new(Hand(AtomicU64::new(10)));
    let blobs = Blobs::memory_with_clock(KEY, clock.clone());
    let old = blobs.put(b"old", BlobKind::Bytes).unwrap();
    clock.0.store(20, Ordering::Relaxed);
    let young = blobs.put(b"young", BlobKind::Bytes).unwrap();
    assert_eq!(blobs.collect(&HashSet::new(), 20).unwrap(), Collected { blobs: 1, bytes: 3 });
    assert!(!blobs.contains(&old.id) && blobs.contains(&young.id));
    assert_eq!(Blobs::memory(KEY).collect(&HashSet::new(), 0).unwrap(), Collected::default());
}

#[test]
fn many_threads_put_the_same_and_different_content() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), KEY).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..50u8 {
                    let blob = blobs.put(&[n; 64], BlobKind::Bytes).unwrap();
                    assert_eq!(blobs.get(&blob).unwrap(), [n; 64]);
                }
            });
        }
    });
    assert_eq!(files(dir.path()).len(), 50);
}
