//! What one site is made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tidegate_domain::ids::{Realm, RunId, SiteId};
use tidegate_domain::ops::{Capability, SiteKind};
use tidegate_gate::{Gate, GateError, GrantRecord, Side};
use tidegate_ops::OpError;
use tidegate_ops::context::SiteTools;
use tidegate_ops::vault::Vault;
use tidegate_ops::workspace::Workspaces;
use tidegate_seams::{SealingKey, Seams, entropy};
use tidegate_store::blobs::{BlobError, Blobs};
use tidegate_store::sqlite::SqliteStore;
use tidegate_store::{Batch, Store, StoreError, Write};
use tokio::sync::Semaphore;

/// What operations may hold in memory together, in KiB. One operation on the largest document
/// takes all of it, so that a site stays small whatever it is given.
const WORK_MEMORY_KIB: u32 = 72 << 10;

/// Why a site cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// Its gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Its key file.
    #[error("cannot read or make the site's key in `{0}`: {1}")]
    Key(PathBuf, String),
}

/// One site: everything that attempts and runs share.
pub struct Site {
    /// Who it is.
    pub id: SiteId,
    /// What kind it is.
    pub kind: SiteKind,
    /// The tenant.
    pub realm: Realm,
    /// Journal, audit log, inbox.
    pub store: Arc<dyn Store>,
    /// Blobs.
    pub blobs: Blobs,
    /// The one way out.
    pub gate: Gate,
    /// Clock and entropy.
    pub seams: Seams,
    /// What operations get.
    pub tools: SiteTools,
    /// Its folder; none in the simulator.
    pub dir: Option<PathBuf>,
    key: [u8; 32],
    /// Attempts that compute at once.
    pub(crate) slots: Semaphore,
    slot_count: u32,
    pub(crate) memory: Semaphore,
    load: AtomicU32,
}

/// The parts that differ between a site on disk and one in memory.
pub struct SiteParts {
    /// Who it is.
    pub id: SiteId,
    /// What kind.
    pub kind: SiteKind,
    /// Journal and audit log.
    pub store: Arc<dyn Store>,
    /// Blobs.
    pub blobs: Blobs,
    /// The gate.
    pub gate: Gate,
    /// Clock and entropy.
    pub seams: Seams,
    /// What operations get.
    pub tools: SiteTools,
    /// Its folder.
    pub dir: Option<PathBuf>,
    /// The key that run keys and workspace ids hang from.
    pub key: [u8; 32],
    /// Attempts that compute at once.
    pub slots: u32,
}

/// Setting under which a site keeps its own id.
const SITE_ID_SETTING: &str = "site/id";

impl Site {
    /// Opens the site in a folder, making key, id and store at first start.
    pub async fn open(
        dir: &Path,
        kind: SiteKind,
        seams: Seams,
        tools: SiteTools,
        slots: u32,
    ) -> Result<Site, SiteError> {
        let key = site_key(&dir.join("site.key"), &seams)?;
        let store: Arc<dyn Store> = SqliteStore::open(dir, Realm::LOCAL)?;
        let id = match store.setting(SITE_ID_SETTING)?.and_then(|b| b.try_into().ok()) {
            Some(bytes) => SiteId::from_bytes(Realm::LOCAL, bytes),
            None => {
                let id = SiteId::mint(Realm::LOCAL, seams.clock.wall_ms(), entropy::bytes(seams.entropy.as_ref()));
                let value = id.to_bytes().to_vec();
                store.commit(Batch { writes: vec![Write::Setting { name: SITE_ID_SETTING.into(), value }] }).await?;
                id
            }
        };
        let side = if kind == SiteKind::Device { Side::Device } else { Side::Hub };
        let gate = Gate::open(dir, side, id, seams.clone())?;
        if let Some(bytes) = store.setting(tidegate_gate::GRANTS_SETTING)? {
            gate.load_grants(&GrantRecord::decode_all(&bytes)?)?;
        }
        let blobs = Blobs::open(dir, derive(&key, "tidegate blob names 1"))?;
        let parts = SiteParts { id, kind, store, blobs, gate, seams, tools, dir: Some(dir.to_owned()), key, slots };
        Ok(Site::of(parts))
    }

    /// A site out of its parts.
    pub fn of(parts: SiteParts) -> Site {
        Site {
            id: parts.id,
            kind: parts.kind,
            realm: parts.id.realm,
            store: parts.store,
            blobs: parts.blobs,
            gate: parts.gate,
            seams: parts.seams,
            tools: parts.tools,
            dir: parts.dir,
            key: parts.key,
            slots: Semaphore::new(parts.slots.max(1) as usize),
            slot_count: parts.slots.max(1),
            memory: Semaphore::new(WORK_MEMORY_KIB as usize),
            load: AtomicU32::new(0),
        }
    }

    /// Attempts that compute at once.
    pub fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// Attempts that compute or wait for a slot now.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts an attempt for as long as the guard lives.
    pub(crate) fn count_load(&self) -> LoadGuard<'_> {
        self.load.fetch_add(1, Ordering::Relaxed);
        LoadGuard(&self.load)
    }

    /// What it has, for placement.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut has = Vec::new();
        if self.kind == SiteKind::Device {
            has.extend([Capability::Files, Capability::Vault]);
        }
        if self.tools.library.as_ref().is_some_and(|library| !library.is_empty()) {
            has.push(Capability::Library);
        }
        if self.tools.sandbox.is_some() {
            has.push(Capability::Sandbox);
        }
        has
    }

    /// Wall time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.seams.clock.wall_ms()
    }

    /// The site's own sealing key, for run keys.
    pub(crate) fn sealing_key(&self) -> Option<SealingKey> {
        SealingKey::new(&derive(&self.key, "tidegate run keys 1")).ok()
    }

    /// The folders a run was given.
    pub(crate) fn workspaces(&self, folders: &[PathBuf]) -> Workspaces {
        Workspaces::open(folders, &derive(&self.key, "tidegate workspace names 1"))
    }

    /// The id that a folder has as a workspace here.
    pub fn workspace_id(&self, folder: &Path) -> Result<tidegate_domain::ids::WorkspaceId, OpError> {
        let key = derive(&self.key, "tidegate workspace names 1");
        tidegate_ops::workspace::Workspace::open(folder, &key).map(|w| w.id())
    }

    /// A run's redaction vault; hubs have none.
    pub(crate) fn vault(&self, run: RunId, run_key: &[u8; 32]) -> Result<Option<Vault>, OpError> {
        if self.kind != SiteKind::Device {
            return Ok(None);
        }
        let no_key = |_| OpError::new("E2006", "the run's key does not work");
        let key = SealingKey::new(&derive(run_key, "tidegate vault 1")).map_err(no_key)?;
        let entropy = Arc::clone(&self.seams.entropy);
        match &self.dir {
            None => Ok(Some(Vault::in_memory(key, entropy))),
            Some(dir) => {
                let folder = dir.join("vaults");
                std::fs::create_dir_all(&folder)
                    .map_err(|e| OpError::new("E2002", format!("cannot make the vaults' folder: {e}")))?;
                Vault::open(&folder.join(run.to_string().replace('/', "_")), key, entropy).map(Some)
            }
        }
    }
}

pub(crate) struct LoadGuard<'a>(&'a AtomicU32);

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A key for one purpose.
fn derive(key: &[u8; 32], purpose: &str) -> [u8; 32] {
    blake3::derive_key(purpose, key)
}

fn site_key(path: &Path, seams: &Seams) -> Result<[u8; 32], SiteError> {
    let failed = |e: &dyn std::fmt::Display| SiteError::Key(path.to_owned(), e.to_string());
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| failed(&"it does not have 32 bytes")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|e| failed(&e))?;
            }
            let key: [u8; 32] = entropy::bytes(seams.entropy.as_ref());
            tidegate_seams::files::replace(path, &key).map_err(|e| failed(&e))?;
            Ok(key)
        }
        Err(e) => Err(failed(&e)),
    }
}
