//! The two sites: the shells of `node` and `hub` without sockets, certificates and folders.
//!
//! Everything below the shells is the code that ships: site, engine, remote, server, session,
//! gate. What a crash does: the disk forgets what it had not synced and takes nothing any more,
//! the line is gone, and nobody dials or answers. Tasks of the dead process that still exist can
//! then neither record nor send anything, which is all that a process can do to the world.
//!
//! The two gates are made once per thread and shared by all simulations on it, because reading the
//! policies costs more than a whole simulation. They stand for policies that survive a restart;
//! what they draw comes from an entropy that each simulation seeds anew.

use crate::disk::{Disk, Platter};
use crate::network::Network;
use crate::random::{Random, SimEntropy};
use crate::world::{Side, World};
use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_domain::ids::{Realm, SessionId, SiteId};
use tidegate_domain::ops::SiteKind;
use tidegate_domain::session::{Limits, Role};
use tidegate_engine::Engine;
use tidegate_engine::remote::Remote;
use tidegate_engine::serve::Server;
use tidegate_engine::site::{Site, SiteParts};
use tidegate_gate::{Cleared, Gate};
use tidegate_ops::context::SiteTools;
use tidegate_seams::{Seams, SystemClock, entropy};
use tidegate_store::blobs::Blobs;
use tidegate_store::{Batch, Store, Write};
use tidegate_transport::listen::Arrival;
use tidegate_transport::peer::{Peer, PeerEvent};
use tokio::task::JoinHandle;

/// Attempts that compute at once.
const SLOTS: u32 = 4;
const INCARNATION: &str = "hub/incarnation";
const INCARNATION_SEEN: &str = "session/incarnation";
const HUB_KNOWN: &str = "session/hub";

pub(crate) fn device_id() -> SiteId {
    SiteId { realm: Realm::LOCAL, bits: 0xd0 }
}

pub(crate) fn hub_id() -> SiteId {
    SiteId { realm: Realm::LOCAL, bits: 0xb0 }
}

struct Gates {
    device: Gate,
    hub: Gate,
    entropy: Arc<SimEntropy>,
}

thread_local! {
    static GATES: OnceCell<Option<Gates>> = const { OnceCell::new() };
}

fn make_gates() -> Option<Gates> {
    let entropy = Arc::new(SimEntropy::new(0));
    // A gate is told the time by whoever asks it; it never reads this clock.
    let seams = Seams { clock: Arc::new(SystemClock::new()), entropy: entropy.clone() };
    let device = Gate::in_memory(tidegate_gate::Side::Device, device_id(), seams.clone()).ok()?;
    let hub = Gate::in_memory(tidegate_gate::Side::Hub, hub_id(), seams).ok()?;
    Some(Gates { device, hub, entropy })
}

/// Both gates, drawing from this seed. Nothing if the policies that ship cannot be read.
pub(crate) fn gates(seed: u64) -> Option<(Gate, Gate)> {
    GATES.with(|gates| {
        let gates = gates.get_or_init(make_gates).as_ref()?;
        gates.entropy.reseed(seed, "tidegate sim gates");
        Some((gates.device.clone(), gates.hub.clone()))
    })
}

/// A site's parts on a disk.
fn site(side: Side, world: &World, disk: &Arc<Disk>, gate: Gate) -> Arc<Site> {
    let (id, kind, key) = match side {
        Side::Device => (device_id(), SiteKind::Device, [0xd1; 32]),
        Side::Hub => (hub_id(), SiteKind::Hub, [0xb1; 32]),
    };
    let seams = world.seams(side);
    let store: Arc<dyn Store> = disk.clone();
    Arc::new(Site::of(SiteParts {
        id,
        kind,
        store,
        blobs: Blobs::memory_with_clock(key, seams.clock.clone()),
        gate,
        seams,
        tools: SiteTools::default(),
        dir: None,
        key,
        slots: SLOTS,
    }))
}

/// A device's process.
pub(crate) struct Device {
    pub(crate) engine: Arc<Engine>,
    pub(crate) disk: Arc<Disk>,
    tasks: Vec<JoinHandle<()>>,
}

impl Device {
    /// Starts the process as `tidegate_node::Node::open` does, and dials a little later.
    pub(crate) fn boot(
        world: &Arc<World>,
        disk: Arc<Disk>,
        gate: Gate,
        network: &Arc<Network>,
        random: &mut Random,
    ) -> Self {
        let spinning = disk.spin(Random::new(random.next(), "tidegate sim disk"));
        let site = site(Side::Device, world, &disk, gate);
        let remote = Remote::new(&site);
        let engine = Engine::new(Arc::clone(&site), Arc::clone(&remote));
        let watched = Arc::downgrade(&engine);
        let changes = Arc::clone(&remote);
        let watching = tokio::spawn(async move {
            loop {
                changes.changed().await;
                let Some(engine) = watched.upgrade() else { return };
                engine.sites_changed();
            }
        });
        // A hub from before is away and not unheard of.
        let known = site.store.setting(HUB_KNOWN).ok().flatten().map(|_| start_session(&engine));
        match engine.resume_all() {
            Ok(stuck) => {
                for (run, error) in stuck {
                    world.violation(format!("{run} cannot go on after a restart: {error}"));
                }
            }
            Err(error) => world.violation(format!("the device cannot resume its runs: {error}")),
        }
        let (world, network, dialled) = (Arc::clone(world), Arc::clone(network), Arc::clone(&engine));
        let wait_ms = random.between(0, 300);
        let dialling = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            let peer = known.unwrap_or_else(|| start_session(&dialled));
            let write = Write::Setting { name: HUB_KNOWN.into(), value: hub_id().to_bytes().to_vec() };
            drop(dialled.site().store.commit(Batch { writes: vec![write] }));
            dial(&world, &network, &peer).await;
        });
        Self { engine, disk, tasks: vec![spinning, watching, dialling] }
    }

    /// The process dies.
    pub(crate) fn kill(self) -> Platter {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.disk.crash()
    }
}

/// Begins a session with the hub, as `Node::start` does.
fn start_session(engine: &Arc<Engine>) -> Peer<Cleared> {
    let site = engine.site();
    let seen = site.store.setting(INCARNATION_SEEN).ok().flatten();
    let role = Role::Node {
        site: site.id,
        session: SessionId::mint(Realm::LOCAL, site.now_ms(), entropy::bytes(site.seams.entropy.as_ref())),
        epoch_last: site.now_ms(),
        incarnation_seen: seen.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes),
    };
    let (peer, mut events) = Peer::<Cleared>::start(role, Limits::default(), &site.seams);
    let remote = Arc::clone(engine.remote());
    remote.add(hub_id(), SiteKind::Hub, peer.clone(), Vec::new());
    let store = Arc::clone(&site.store);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let PeerEvent::Connected { incarnation, .. } = &event {
                let value = incarnation.to_le_bytes().to_vec();
                let write = Write::Setting { name: INCARNATION_SEEN.into(), value };
                drop(store.commit(Batch { writes: vec![write] }));
            }
            let _ = remote.take(hub_id(), event).await;
        }
    });
    peer
}

/// Keeps the device connected, as `dial::keep_connected` does.
async fn dial(world: &World, network: &Arc<Network>, peer: &Peer<Cleared>) {
    loop {
        if let Some(connection) = network.connect() {
            peer.attach(connection);
            if let Some(code) = peer.gone().await.filter(|code| !code.may_reconnect()) {
                return world.violation(format!("the device gave the session up for good: {code:?}"));
            }
        }
        tokio::time::sleep(network.pause()).await;
    }
}

/// A hub's process.
pub(crate) struct HubSite {
    site: Arc<Site>,
    incarnation: u64,
    peer: Mutex<Option<Peer<Cleared>>>,
    pub(crate) disk: Arc<Disk>,
    spinning: JoinHandle<()>,
}

impl HubSite {
    /// Starts the process as `tidegate_hub::Hub::open` does. Nothing if it died before it was up.
    pub(crate) async fn boot(world: &Arc<World>, disk: Arc<Disk>, gate: Gate, random: Random) -> Option<Arc<Self>> {
        let spinning = disk.spin(random);
        let site = site(Side::Hub, world, &disk, gate);
        let before = site.store.setting(INCARNATION).ok()?;
        let incarnation = before.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes) + 1;
        let write = Write::Setting { name: INCARNATION.into(), value: incarnation.to_le_bytes().to_vec() };
        site.store.commit(Batch { writes: vec![write] }).await.ok()?;
        Some(Arc::new(Self { site, incarnation, peer: Mutex::default(), disk, spinning }))
    }

    /// Serves a device that said hello, as `Hub::welcome` does.
    pub(crate) fn welcome(&self, arrival: Arrival) {
        let client = arrival.hello.site;
        let mut known = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = known.get_or_insert_with(|| {
            let name = format!("session/epoch/{client}");
            let seen = self.site.store.setting(&name).ok().flatten();
            let epoch_seen = seen.and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
            let role = Role::Hub { site: client, incarnation: self.incarnation, epoch_seen };
            let (peer, mut events) = Peer::start(role, Limits::default(), &self.site.seams);
            let server = Server::new(Arc::clone(&self.site), client, SiteKind::Device, peer.clone());
            let site = Arc::clone(&self.site);
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    if let PeerEvent::Connected { epoch, .. } = &event {
                        let write = Write::Setting { name: name.clone(), value: epoch.to_le_bytes().to_vec() };
                        drop(site.store.commit(Batch { writes: vec![write] }));
                    }
                    server.take(event);
                }
            });
            peer
        });
        let _ = peer.accept(arrival);
    }

    /// The process dies.
    pub(crate) fn kill(&self) -> Platter {
        self.spinning.abort();
        self.disk.crash()
    }
}
