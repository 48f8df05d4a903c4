//! The hub's shell: accepts nodes, serves their attempts, answers for its own audit log.
//!
//! - [`Hub::open`] makes what a hub is: site, certificate authority, listener.
//! - [`service`] is the process around it, spoken to by whoever supervises it.
//!
//! Not here: the sessions' I/O (`transport`), making attempts (`engine::serve`).

pub mod api;
mod record;
pub mod service;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_domain::ids::{Realm, SiteId};
use tidegate_domain::ops::{Capability, SiteKind};
use tidegate_domain::session::{Limits, Role};
use tidegate_engine::serve::Server;
use tidegate_engine::site::{Site, SiteError};
use tidegate_gate::Cleared;
use tidegate_ops::context::SiteTools;
use tidegate_ops::library::Library;
use tidegate_seams::Seams;
use tidegate_store::{Batch, StoreError, Write};
use tidegate_transport::Credentials;
use tidegate_transport::certs::{Authority, CertError, Certificate, PrivateKey, PublicKey};
use tidegate_transport::listen::{Arrival, ListenError, Listener};
use tidegate_transport::peer::{Peer, PeerEvent};

/// How a hub is opened.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Its folder.
    pub dir: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// The documents of its library.
    pub library: Option<PathBuf>,
    /// Where to record everything that arrives, decrypted.
    pub record: Option<PathBuf>,
    /// Attempts that compute at once.
    pub slots: u32,
}

/// Why a hub cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Its site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its certificates.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// Its socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its library.
    #[error("cannot read the library in `{0}`: {1}")]
    Library(PathBuf, String),
    /// Its recording.
    #[error("cannot record to `{0}`: {1}")]
    Record(PathBuf, String),
    /// Its folder.
    #[error("cannot use the folder `{0}`: {1}")]
    Folder(PathBuf, String),
}

struct Client {
    peer: Peer<Cleared>,
}

/// A hub.
pub struct Hub {
    site: Arc<Site>,
    authority: Authority,
    listener: Listener,
    incarnation: u64,
    clients: Mutex<HashMap<SiteId, Client>>,
}

const INCARNATION: &str = "hub/incarnation";

impl Hub {
    /// Opens a hub: makes its authority and certificate at first start, and listens.
    pub async fn open(config: &HubConfig, seams: Seams) -> Result<Self, HubError> {
        let folder = |e: std::io::Error| HubError::Folder(config.dir.clone(), e.to_string());
        std::fs::create_dir_all(&config.dir).map_err(folder)?;
        let library = match &config.library {
            None => None,
            Some(path) => {
                let library = Library::load(path).map_err(|e| HubError::Library(path.clone(), e.to_string()))?;
                Some(Arc::new(library))
            }
        };
        let tools = SiteTools { library, sandbox: None };
        let site = Arc::new(Site::open(&config.dir, SiteKind::Hub, seams.clone(), tools, config.slots).await?);
        let incarnation = next_incarnation(&site).await?;
        let authority = match Authority::load(&config.dir, &seams) {
            Ok(authority) => authority,
            // Whatever else is wrong with it must not be papered over by a new one.
            Err(CertError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                Authority::create(&config.dir, Realm::LOCAL, &seams)?
            }
            Err(other) => return Err(other.into()),
        };
        let key = PrivateKey::generate(seams.entropy.as_ref())?;
        let certificate = authority.issue_server(site.id, &["127.0.0.1", "::1", "localhost"], key.public()?, &seams)?;
        let credentials = Credentials { authority: authority.certificate().clone(), certificate, key };
        let recorder = match &config.record {
            None => None,
            Some(path) => Some(record::FileRecorder::open(path, seams.clock.clone())?),
        };
        let listener = Listener::bind(config.address, &credentials, seams.clock.clone(), recorder).await?;
        Ok(Self { site, authority, listener, incarnation, clients: Mutex::default() })
    }

    /// Its site.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The root that its nodes trust.
    pub fn authority(&self) -> &Certificate {
        self.authority.certificate()
    }

    /// What it has, for placement on its nodes.
    pub fn capabilities(&self) -> Vec<Capability> {
        self.site.capabilities()
    }

    /// A certificate for a node.
    pub fn enroll(&self, site: SiteId, key: PublicKey) -> Result<Certificate, HubError> {
        Ok(self.authority.issue_node(site, key, &self.site.seams)?)
    }

    /// The next node that says hello is served from here on.
    pub async fn accept_next(&mut self) -> bool {
        let Some(arrival) = self.listener.accept().await else { return false };
        self.welcome(arrival);
        true
    }

    fn welcome(&self, arrival: Arrival) {
        let client = arrival.hello.site;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = match clients.get(&client) {
            Some(known) => known.peer.clone(),
            None => {
                let seen = self.site.store.setting(&epoch_setting(client)).ok().flatten();
                let epoch_seen = seen.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
                let role = Role::Hub { site: client, incarnation: self.incarnation, epoch_seen };
                let (peer, mut events) = Peer::start(role, Limits::default(), &self.site.seams);
                // Only devices join so far; workers will say what they are.
                let server = Server::new(Arc::clone(&self.site), client, SiteKind::Device, peer.clone());
                let site = Arc::clone(&self.site);
                tokio::spawn(async move {
                    while let Some(event) = events.next().await {
                        if let PeerEvent::Connected { epoch, .. } = &event {
                            let value = epoch.to_le_bytes().to_vec();
                            let write = Write::Setting { name: epoch_setting(client), value };
                            drop(site.store.commit(Batch { writes: vec![write] }));
                        }
                        server.take(event);
                    }
                });
                clients.insert(client, Client { peer: peer.clone() });
                peer
            }
        };
        // A refused hello is told over its own connection.
        let _ = peer.accept(arrival);
    }
}

fn epoch_setting(client: SiteId) -> String {
    format!("session/epoch/{client}")
}

async fn next_incarnation(site: &Site) -> Result<u64, StoreError> {
    let before = site.store.setting(INCARNATION)?.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let value = (before + 1).to_le_bytes().to_vec();
    site.store.commit(Batch { writes: vec![Write::Setting { name: INCARNATION.into(), value }] }).await?;
    Ok(before + 1)
}

/// The folder of a hub below a data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("hub")
}
