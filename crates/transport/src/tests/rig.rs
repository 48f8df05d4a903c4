//! A hub and nodes for tests, on loopback, with plain bytes as payloads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::ids::{Realm, SessionId, SiteId};
use tidegate_domain::session::{Limits, Role};
use tidegate_seams::{Clock, Seams, SystemClock};

use crate::certs::{Authority, Certificate, PrivateKey};
use crate::connect::Connector;
use crate::listen::Listener;
use crate::peer::{Events, Peer, PeerEvent};
use crate::rpc::Recorder;
use crate::tls::Credentials;

pub const HUB: SiteId = SiteId { realm: Realm::LOCAL, bits: 1 };
pub const NODE: SiteId = SiteId { realm: Realm::LOCAL, bits: 2 };

/// The machine's clock, moved.
struct Moved {
    base: SystemClock,
    by_ms: i64,
}

impl Clock for Moved {
    fn wall_ms(&self) -> u64 {
        self.base.wall_ms().saturating_add_signed(self.by_ms)
    }

    fn boot_us(&self) -> u64 {
        self.base.boot_us()
    }
}

/// Seams whose wall clock is off by this much.
pub fn moved(by_ms: i64) -> Seams {
    Seams { clock: Arc::new(Moved { base: SystemClock::new(), by_ms }), ..Seams::system() }
}

pub struct Rig {
    pub authority: Authority,
    pub seams: Seams,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A year ago, so that certificates of the past have a valid issuer.
        let authority = Authority::create(dir.path(), Realm::LOCAL, &moved(-365 * 24 * 3_600_000)).unwrap();
        Self { authority, seams: Seams::system(), _dir: dir }
    }

    pub fn key(&self) -> PrivateKey {
        PrivateKey::generate(&*self.seams.entropy).unwrap()
    }

    fn credentials(&self, certificate: Certificate, key: PrivateKey) -> Credentials {
        Credentials { authority: self.authority.certificate().clone(), certificate, key }
    }

    pub fn hub(&self) -> Credentials {
        let key = self.key();
        let names = ["localhost", "127.0.0.1"];
        let certificate = self.authority.issue_server(HUB, &names, key.public().unwrap(), &self.seams).unwrap();
        self.credentials(certificate, key)
    }

    pub fn node(&self, site: SiteId, seams: &Seams) -> Credentials {
        let key = self.key();
        let certificate = self.authority.issue_node(site, key.public().unwrap(), seams).unwrap();
        self.credentials(certificate, key)
    }

    pub async fn listen(&self, recorder: Option<Arc<dyn Recorder>>) -> Listener<Bytes> {
        let address = "127.0.0.1:0".parse().unwrap();
        Listener::bind(address, &self.hub(), self.seams.clock.clone(), recorder).await.unwrap()
    }

    pub fn connector(&self, port: u16, credentials: &Credentials) -> Connector {
        let url = format!("https://127.0.0.1:{port}");
        Connector::new(&url, credentials, self.seams.clock.clone()).unwrap()
    }

    pub fn node_peer(&self, site: SiteId) -> (Peer<Bytes>, Events) {
        let session = SessionId { realm: site.realm, bits: 9 };
        let role = Role::Node { site, session, epoch_last: 0, incarnation_seen: 0 };
        Peer::start(role, Limits::default(), &self.seams)
    }

    pub fn hub_peer(&self, site: SiteId) -> (Peer<Bytes>, Events) {
        Peer::start(Role::Hub { site, incarnation: 1, epoch_seen: 0 }, Limits::default(), &self.seams)
    }

    /// Both sides of one session, connected.
    pub async fn pair(&self, listener: &mut Listener<Bytes>) -> [(Peer<Bytes>, Events); 2] {
        let connector = self.connector(listener.address().port(), &self.node(NODE, &self.seams));
        let mut node = self.node_peer(NODE);
        let mut hub = self.hub_peer(NODE);
        node.0.attach(connector.connect().await.unwrap());
        hub.0.accept(listener.accept().await.unwrap()).unwrap();
        for (_, events) in [&mut node, &mut hub] {
            until(events, |event| matches!(event, PeerEvent::Connected { .. })).await;
        }
        [node, hub]
    }
}

/// Takes events until one is wanted; gives that one.
pub async fn until(events: &mut Events, wanted: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
    let found = async {
        loop {
            let event = events.next().await.expect("the session ended");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("the event did not come")
}

/// The next payload.
pub async fn delivered(events: &mut Events) -> (u64, Bytes) {
    match until(events, |event| matches!(event, PeerEvent::Deliver { .. })).await {
        PeerEvent::Deliver { seq, payload } => (seq, payload),
        other => panic!("{other:?}"),
    }
}
