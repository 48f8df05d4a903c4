//! The node's shell on a device: its site and engine, the session with the hub, the local API.
//!
//! - [`Node::open`] opens the site and goes on with every run that had not ended.
//! - [`Node::connect`] keeps a session with a hub.
//! - [`api`] is what the command line and local applications use; [`service`] is the process.
//!
//! Not here: driving a run (`engine`), drawing it (`cli`).

pub mod api;
pub mod service;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_domain::ids::{Realm, RunId, SessionId, SiteId};
use tidegate_domain::ops::{Capability, SiteKind};
use tidegate_domain::session::{Limits, Role};
use tidegate_engine::remote::Remote;
use tidegate_engine::site::{Site, SiteError};
use tidegate_engine::{Engine, EngineError};
use tidegate_gate::Cleared;
use tidegate_ops::context::SiteTools;
use tidegate_seams::sandbox::{ChildPool, PoolConfig};
use tidegate_seams::{Seams, entropy};
use tidegate_store::{Batch, Write};
use tidegate_transport::Credentials;
use tidegate_transport::certs::{CertError, Certificate, PrivateKey};
use tidegate_transport::connect::{Connector, ConnectorError};
use tidegate_transport::dial;
use tidegate_transport::peer::{Peer, PeerEvent};
use tokio::task::JoinHandle;

/// How a node is opened.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its folder.
    pub dir: PathBuf,
    /// Where runs write, a folder each.
    pub outputs: PathBuf,
    /// Attempts that compute at once.
    pub slots: u32,
}

/// Why a node cannot be opened or connected.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Its runs.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its certificates.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// The hub's address.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// Its folder.
    #[error("cannot use the folder `{0}`: {1}")]
    Folder(PathBuf, String),
}

/// A hub to be connected to.
#[derive(Clone, Debug)]
pub struct HubAddress {
    /// Who it is.
    pub site: SiteId,
    /// `https://host:port`
    pub url: String,
    /// The root to trust, PEM.
    pub authority: String,
    /// This node's certificate, PEM.
    pub certificate: String,
    /// What the hub has.
    pub capabilities: Vec<Capability>,
}

struct Session {
    hub: SiteId,
    peer: Peer<Cleared>,
    /// None as long as the hub is known from before and nobody has said where it is.
    dialling: Option<JoinHandle<()>>,
}

/// A node.
pub struct Node {
    engine: Arc<Engine>,
    outputs: PathBuf,
    key_file: PathBuf,
    session: Mutex<Option<Session>>,
}

const INCARNATION_SEEN: &str = "session/incarnation";
/// The hub this node was last connected to, and what it has: it is away then, and not unheard of,
/// when runs go on before anybody has dialled.
const HUB_KNOWN: &str = "session/hub";

impl Node {
    /// Opens a node and goes on with its runs. Gives the runs that could not be resumed, too.
    pub async fn open(config: &NodeConfig, seams: Seams) -> Result<(Arc<Self>, Vec<(RunId, EngineError)>), NodeError> {
        let folder = |e: std::io::Error| NodeError::Folder(config.dir.clone(), e.to_string());
        std::fs::create_dir_all(&config.dir).map_err(folder)?;
        let pool = ChildPool::new(PoolConfig::default());
        let tools = SiteTools { library: None, sandbox: Some(Arc::new(pool)) };
        let site = Arc::new(Site::open(&config.dir, SiteKind::Device, seams, tools, config.slots).await?);
        let remote = Remote::new(&site);
        let engine = Engine::new(Arc::clone(&site), Arc::clone(&remote));
        let node = Arc::new(Self {
            engine,
            outputs: config.outputs.clone(),
            key_file: config.dir.join("node.key"),
            session: Mutex::new(None),
        });
        let watched = Arc::downgrade(&node.engine);
        tokio::spawn(async move {
            loop {
                remote.changed().await;
                let Some(engine) = watched.upgrade() else { return };
                engine.sites_changed();
            }
        });
        if let Some((hub, capabilities)) = node.known_hub() {
            let peer = node.start(hub, capabilities);
            *node.lock_session() = Some(Session { hub, peer, dialling: None });
        }
        let stuck = node.engine.resume_all()?;
        Ok((node, stuck))
    }

    /// Its runs.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where runs write unless told otherwise.
    pub fn outputs(&self) -> &Path {
        &self.outputs
    }

    fn key(&self) -> Result<PrivateKey, NodeError> {
        match PrivateKey::load(&self.key_file) {
            Ok(key) => Ok(key),
            Err(CertError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = PrivateKey::generate(self.engine.site().seams.entropy.as_ref())?;
                key.save(&self.key_file)?;
                Ok(key)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The public key to be certified, hex.
    pub fn public_key(&self) -> Result<String, NodeError> {
        Ok(blake3::Hash::from_bytes(self.key()?.public()?.0).to_hex().to_string())
    }

    /// Keeps a session with a hub, from now on under this address. A session with the same hub
    /// goes on where it was.
    pub fn connect(self: &Arc<Self>, hub: &HubAddress) -> Result<(), NodeError> {
        let site = self.engine.site();
        let credentials = Credentials {
            authority: Certificate::from_pem(&hub.authority)?,
            certificate: Certificate::from_pem(&hub.certificate)?,
            key: self.key()?,
        };
        let connector = Connector::new(&hub.url, &credentials, site.seams.clock.clone())?;
        let mut session = self.lock_session();
        let peer = match session.take() {
            Some(known) => {
                known.dialling.iter().for_each(JoinHandle::abort);
                if known.hub == hub.site { known.peer } else { self.start(hub.site, hub.capabilities.clone()) }
            }
            None => self.start(hub.site, hub.capabilities.clone()),
        };
        let names: Vec<&str> = hub.capabilities.iter().map(|c| c.as_str()).collect();
        let value = format!("{} {}", hub.site, names.join(",")).into_bytes();
        drop(site.store.commit(Batch { writes: vec![Write::Setting { name: HUB_KNOWN.into(), value }] }));
        let seams = site.seams.clone();
        let dialled = peer.clone();
        let dialling = tokio::spawn(async move {
            let code = dial::keep_connected(dialled, connector, seams, |_| {}).await;
            eprintln!("tidegate: the hub ended the session for good: {code:?}");
        });
        *session = Some(Session { hub: hub.site, peer, dialling: Some(dialling) });
        Ok(())
    }

    fn lock_session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_hub(&self) -> Option<(SiteId, Vec<Capability>)> {
        let text = String::from_utf8(self.engine.site().store.setting(HUB_KNOWN).ok()??).ok()?;
        let (site, names) = text.split_once(' ')?;
        let all = [Capability::Files, Capability::Vault, Capability::Library, Capability::Sandbox];
        let has = all.into_iter().filter(|c| names.split(',').any(|name| name == c.as_str())).collect();
        Some((site.parse().ok()?, has))
    }

    fn start(&self, hub: SiteId, capabilities: Vec<Capability>) -> Peer<Cleared> {
        let site = self.engine.site();
        let seen = site.store.setting(INCARNATION_SEEN).ok().flatten();
        let role = Role::Node {
            site: site.id,
            session: SessionId::mint(Realm::LOCAL, site.now_ms(), entropy::bytes(site.seams.entropy.as_ref())),
            // Numbers of connections rise over restarts because wall time does.
            epoch_last: site.now_ms(),
            incarnation_seen: seen.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes),
        };
        let (peer, mut events) = Peer::start(role, Limits::default(), &site.seams);
        let remote = Arc::clone(self.engine.remote());
        remote.add(hub, SiteKind::Hub, peer.clone(), capabilities);
        let (store, from) = (Arc::clone(&site.store), hub);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let PeerEvent::Connected { incarnation, .. } = &event {
                    let value = incarnation.to_le_bytes().to_vec();
                    let write = Write::Setting { name: INCARNATION_SEEN.into(), value };
                    drop(store.commit(Batch { writes: vec![write] }));
                }
                // A device takes no attempts from a hub: its allow-list is empty.
                let _ = remote.take(from, event).await;
            }
        });
        peer
    }
}
