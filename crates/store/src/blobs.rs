//! Blobs: bytes kept outside the database, one file each, named by their hash.
//!
//! A file is `blobs/ab/<hash in hex>` under the data folder (`….plain` behind it for a plain
//! digest). It is written under another name in `blobs/new`, synced, renamed, and its folder synced,
//! so that a returned reference is durable and a crash leaves a whole blob or none. Every read is
//! checked against the name: damaged bytes are an error and are never returned (invariant I9), and
//! putting the same content again heals them.
//!
//! Each put syncs by itself: 10,000 blobs of 50 KB take 6 to 10 s one after another
//! (`examples/journal_floor.rs`). Syncing folders in batches would be faster and would hand out
//! references that are not durable yet, which nobody could tell from those that are.
//!
//! Content that no gate has cleared is named by a keyed hash, whose key is derived from the site's
//! and used for nothing else; the bytes themselves are stored as they are.
//!
//! Not here: which blobs are in use ([`crate::Write::UseBlob`]) and how much a site may keep.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_domain::limits::BLOB_BYTES_MAX;
use tidegate_domain::value::{BlobId, BlobKind, BlobRef};
use tidegate_seams::{Clock, SystemClock, files};

/// Separates this use of the site's key from all others. Changing it renames every blob.
const KEY_PURPOSE: &str = "tidegate 2026-01 blob names";
/// Behind the name of a blob that is named by its plain digest.
const PLAIN: &str = ".plain";
/// Where blobs are written before they have their name.
const NEW: &str = "new";

/// Why a blob was not kept or not returned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob here.
    #[error("blob {0} is not here; it was collected, or never arrived")]
    Missing(BlobId),
    /// The stored bytes are not those the name stands for.
    #[error("blob {0} is damaged; restore a backup of the data folder or fetch it again")]
    Damaged(BlobId),
    /// The bytes are not as many as the reference says.
    #[error("blob {id} has {found} bytes and its reference says {said}")]
    Size {
        /// The blob.
        id: BlobId,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        said: u64,
    },
    /// Larger than one blob may be.
    #[error("a blob of {bytes} bytes is over the limit of {BLOB_BYTES_MAX} bytes")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// The disk or the quota is full. Nothing was kept.
    #[error("no space left for blobs in {0}; free some space")]
    Full(PathBuf),
    /// An earlier sync failed, and what the disk holds is unknown (fault F3).
    #[error("blobs are not stored any more after a failed sync; restart tidegate once the disk is well")]
    Stopped,
    /// Reading or writing failed.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's words.
        cause: String,
    },
}

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes they had.
    pub bytes: u64,
}

/// A site's blobs.
pub struct Blobs {
    key: [u8; 32],
    place: Place,
}

enum Place {
    Folder(Folder),
    Memory(Memory),
}

struct Memory {
    blobs: Mutex<BTreeMap<BlobId, Kept>>,
    clock: Option<Arc<dyn Clock>>,
}

struct Kept {
    bytes: Arc<[u8]>,
    put_ms: u64,
}

struct Folder {
    /// `blobs` in the data folder.
    root: PathBuf,
    clock: SystemClock,
    /// Held while a blob is found to be here already and while one is removed, so that the same
    /// blob is not promised and collected at once. The count is `None` until somebody asks.
    total: Mutex<Option<u64>>,
    next: AtomicU64,
    failed: AtomicBool,
}

impl Blobs {
    /// Opens the blobs in the data folder `dir`. `key` is the site's secret.
    pub fn open(dir: &Path, key: [u8; 32]) -> Result<Blobs, BlobError> {
        let root = dir.join("blobs");
        let make = || {
            make_folder(&root)?;
            make_folder(&root.join(NEW))
        };
        make().map_err(|e| io_error(&root, "create", e))?;
        let folder = Folder {
            root,
            clock: SystemClock::new(),
            total: Mutex::new(None),
            next: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        Ok(Self { key: derive(&key), place: Place::Folder(folder) })
    }

    /// Blobs in memory. They have no age: every unused one is collected.
    pub fn memory(key: [u8; 32]) -> Blobs {
        let memory = Memory { blobs: Mutex::default(), clock: None };
        Self { key: derive(&key), place: Place::Memory(memory) }
    }

    /// Blobs in memory whose age is told by `clock`.
    pub fn memory_with_clock(key: [u8; 32], clock: Arc<dyn Clock>) -> Blobs {
        let memory = Memory { blobs: Mutex::default(), clock: Some(clock) };
        Self { key: derive(&key), place: Place::Memory(memory) }
    }

    /// The name that anybody can compute: minted when content is cleared.
    pub fn digest_of(bytes: &[u8]) -> BlobId {
        BlobId::Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The name that only this site can compute.
    pub fn keyed_id(&self, bytes: &[u8]) -> BlobId {
        BlobId::Keyed(*blake3::keyed_hash(&self.key, bytes).as_bytes())
    }

    /// Keeps bytes under their keyed name; durable when it returns. The same content is kept once.
    pub fn put(&self, bytes: &[u8], kind: BlobKind) -> Result<BlobRef, BlobError> {
        check_size(bytes)?;
        self.keep(self.keyed_id(bytes), bytes, kind)
    }

    /// Keeps cleared or received bytes under their plain digest.
    pub fn put_digest(&self, bytes: &[u8], kind: BlobKind) -> Result<BlobRef, BlobError> {
        check_size(bytes)?;
        self.keep(Self::digest_of(bytes), bytes, kind)
    }

    /// The bytes of a blob, checked against its name and size.
    pub fn get(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let bytes = match &self.place {
            Place::Folder(folder) => folder.read(&blob.id)?,
            Place::Memory(memory) => {
                let blobs = lock(&memory.blobs);
                blobs.get(&blob.id).ok_or(BlobError::Missing(blob.id))?.bytes.to_vec()
            }
        };
        if !self.fits(&blob.id, &bytes) {
            return Err(BlobError::Damaged(blob.id));
        }
        let found = bytes.len() as u64;
        if found != blob.size {
            return Err(BlobError::Size { id: blob.id, found, said: blob.size });
        }
        Ok(bytes)
    }

    /// Whether a blob is here. Only [`Blobs::get`] tells whether it is sound.
    pub fn contains(&self, id: &BlobId) -> bool {
        match &self.place {
            Place::Folder(folder) => folder.path(id).is_file(),
            Place::Memory(memory) => lock(&memory.blobs).contains_key(id),
        }
    }

    /// Removes what is not in use and was last put before `older_than_ms` (wall time), and what a
    /// crash left unfinished before then. Younger blobs may belong to a batch on its way.
    pub fn collect(&self, in_use: &HashSet<BlobId>, older_than_ms: u64) -> Result<Collected, BlobError> {
        match &self.place {
            Place::Folder(folder) => folder.collect(in_use, older_than_ms),
            Place::Memory(memory) => {
                let mut collected = Collected::default();
                lock(&memory.blobs).retain(|id, kept| {
                    let young = memory.clock.is_some() && kept.put_ms >= older_than_ms;
                    let stays = young || in_use.contains(id);
                    if !stays {
                        collected.blobs += 1;
                        collected.bytes += kept.bytes.len() as u64;
                    }
                    stays
                });
                Ok(collected)
            }
        }
    }

    /// Bytes of all blobs together. The first call walks the folders, later ones know.
    pub fn total_bytes(&self) -> Result<u64, BlobError> {
        match &self.place {
            Place::Folder(folder) => folder.total_bytes(),
            Place::Memory(memory) => Ok(lock(&memory.blobs).values().map(|kept| kept.bytes.len() as u64).sum()),
        }
    }

    fn keep(&self, id: BlobId, bytes: &[u8], kind: BlobKind) -> Result<BlobRef, BlobError> {
        match &self.place {
            Place::Folder(folder) => folder.keep(&id, bytes)?,
            Place::Memory(memory) => {
                let put_ms = memory.clock.as_ref().map_or(0, |clock| clock.wall_ms());
                let mut blobs = lock(&memory.blobs);
                let kept = blobs.entry(id).or_insert_with(|| Kept { bytes: bytes.into(), put_ms });
                kept.put_ms = put_ms;
            }
        }
        Ok(BlobRef { id, size: bytes.len() as u64, kind })
    }

    fn fits(&self, id: &BlobId, bytes: &[u8]) -> bool {
        *id == match id {
            BlobId::Keyed(_) => self.keyed_id(bytes),
            BlobId::Digest(_) => Self::digest_of(bytes),
        }
    }
}

impl Folder {
    fn path(&self, id: &BlobId) -> PathBuf {
        let mut name = blake3::Hash::from_bytes(*id.bytes()).to_hex().to_string();
        let folder = self.root.join(&name[..2]);
        if matches!(id, BlobId::Digest(_)) {
            name.push_str(PLAIN);
        }
        folder.join(name)
    }

    fn read(&self, id: &BlobId) -> Result<Vec<u8>, BlobError> {
        let path = self.path(id);
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*id),
            _ => io_error(&path, "read", e),
        };
        let file = File::open(&path).map_err(failed)?;
        // A damaged folder must not make this read without end.
        if file.metadata().map_err(failed)?.len() > BLOB_BYTES_MAX {
            return Err(BlobError::Damaged(*id));
        }
        let mut bytes = Vec::new();
        file.take(BLOB_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn keep(&self, id: &BlobId, bytes: &[u8]) -> Result<(), BlobError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(BlobError::Stopped);
        }
        let path = self.path(id);
        if self.is_kept(&path, bytes)? {
            // Perhaps by a process that ended before it synced the folder.
            return self.sync(|| files::sync_parent(&path), &path);
        }
        let folder = path.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            make_folder(folder).map_err(|e| self.write_error(folder, e))?;
        }
        let new =
            self.root.join(NEW).join(format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed)));
        let written = self.write_new(&new, bytes).and_then(|()| {
            let before = fs::metadata(&path).map_or(0, |meta| meta.len());
            fs::rename(&new, &path).map_err(|e| self.write_error(&path, e))?;
            let mut total = lock(&self.total);
            *total = total.map(|total| (total + bytes.len() as u64).saturating_sub(before));
            Ok(())
        });
        if written.is_err() {
            // It is of no use to anybody; if even this fails, `collect` will find it.
            let _ = fs::remove_file(&new);
        }
        written?;
        self.sync(|| files::sync_parent(&path), &path)
    }

    /// Whether these bytes are stored whole; if so, they count as put now.
    fn is_kept(&self, path: &Path, bytes: &[u8]) -> Result<bool, BlobError> {
        let _against_collect = lock(&self.total);
        let same_size = fs::metadata(path).is_ok_and(|meta| meta.len() == bytes.len() as u64);
        if !same_size || fs::read(path).map_err(|e| io_error(path, "read", e))? != bytes {
            return Ok(false);
        }
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.wall_ms());
        let touch = || OpenOptions::new().write(true).open(path)?.set_modified(now);
        touch().map_err(|e| self.write_error(path, e))?;
        Ok(true)
    }

    fn write_new(&self, new: &Path, bytes: &[u8]) -> Result<(), BlobError> {
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = write().map_err(|e| self.write_error(new, e))?;
        self.sync(|| file.sync_data(), new)
    }

    /// Syncs once. A failure is final: the system may have dropped what it could not write and
    /// would report the next sync as a success.
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>, path: &Path) -> Result<(), BlobError> {
        sync().map_err(|e| {
            self.failed.store(true, Ordering::Release);
            self.write_error(path, e)
        })
    }

    fn write_error(&self, path: &Path, error: io::Error) -> BlobError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full(self.root.clone()),
            _ => io_error(path, "write", error),
        }
    }

    fn collect(&self, in_use: &HashSet<BlobId>, older_than_ms: u64) -> Result<Collected, BlobError> {
        let limit = UNIX_EPOCH + Duration::from_millis(older_than_ms);
        let names: HashSet<PathBuf> = in_use.iter().map(|id| self.path(id)).collect();
        let mut collected = Collected::default();
        for folder in self.folders()? {
            for path in list(&folder)? {
                if !is_blob(&path) || names.contains(&path) {
                    continue;
                }
                let mut total = lock(&self.total);
                if let Some(bytes) = remove_if_older(&path, limit)? {
                    collected.blobs += 1;
                    collected.bytes += bytes;
                    *total = total.map(|total| total.saturating_sub(bytes));
                }
            }
        }
        for path in list(&self.root.join(NEW))? {
            remove_if_older(&path, limit)?;
        }
        Ok(collected)
    }

    fn total_bytes(&self) -> Result<u64, BlobError> {
        let mut total = lock(&self.total);
        if let Some(known) = *total {
            return Ok(known);
        }
        let mut sum = 0;
        for folder in self.folders()? {
            for path in list(&folder)?.iter().filter(|path| is_blob(path)) {
                sum += fs::metadata(path).map_or(0, |meta| meta.len());
            }
        }
        *total = Some(sum);
        Ok(sum)
    }

    /// The folders that hold blobs: two hexadecimal digits each.
    fn folders(&self) -> Result<Vec<PathBuf>, BlobError> {
        let named = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.len() == 2 && is_hex(name))
        };
        Ok(list(&self.root)?.into_iter().filter(named).collect())
    }
}

/// Whether a path is named as a blob is; anything else in the folders is not ours to remove.
fn is_blob(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(PLAIN).unwrap_or(name);
    name.len() == 64 && is_hex(name)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let read = || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(|e| io_error(folder, "list", e))
}

/// Removes a file last changed before `limit` and returns its size.
fn remove_if_older(path: &Path, limit: SystemTime) -> Result<Option<u64>, BlobError> {
    let remove = || {
        let meta = fs::metadata(path)?;
        if !meta.is_file() || meta.modified()? >= limit {
            return Ok(None);
        }
        fs::remove_file(path)?;
        Ok(Some(meta.len()))
    };
    remove().map_err(|e| io_error(path, "remove", e))
}

/// Makes a folder that its owner alone can enter, durably; one that is there is fine.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| files::sync_parent(path)),
    }
}

fn check_size(bytes: &[u8]) -> Result<(), BlobError> {
    let bytes = bytes.len() as u64;
    if bytes > BLOB_BYTES_MAX { Err(BlobError::TooLarge { bytes }) } else { Ok(()) }
}

fn derive(key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(KEY_PURPOSE, key)
}

fn io_error(path: &Path, doing: &str, error: io::Error) -> BlobError {
    BlobError::Io { doing: format!("{doing} {}", path.display()), cause: error.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
