//! A remote no-op there and back, through both gates and both audit logs, over loopback mutual
//! TLS; durable and over the memory store; beside a bare tonic mTLS unary echo in the same run.
//!
//! `cargo xtask bench session`
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock and stops at any failure"
)]

mod bare_echo;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_domain::ids::{Realm, SessionId, SiteId};
use tidegate_domain::ops::SiteKind;
use tidegate_domain::run::Status;
use tidegate_domain::session::{Limits, Role};
use tidegate_engine::remote::Remote;
use tidegate_engine::serve::Server;
use tidegate_engine::site::{Site, SiteParts};
use tidegate_engine::{Engine, Submission};
use tidegate_gate::{Gate, Side};
use tidegate_ops::context::SiteTools;
use tidegate_seams::Seams;
use tidegate_store::blobs::Blobs;
use tidegate_store::memory::MemoryStore;
use tidegate_transport::Credentials;
use tidegate_transport::certs::{Authority, PrivateKey};
use tidegate_transport::connect::Connector;
use tidegate_transport::listen::Listener;
use tidegate_transport::peer::{Peer, PeerEvent};
use tonic::transport::{Certificate, Identity};

async fn site(dir: Option<&Path>, kind: SiteKind, seams: &Seams) -> Arc<Site> {
    if let Some(dir) = dir {
        return Arc::new(Site::open(dir, kind, seams.clone(), SiteTools::default(), 2).await.unwrap());
    }
    let id = SiteId::mint(Realm::LOCAL, 1, [kind as u8; 10]);
    let side = if kind == SiteKind::Device { Side::Device } else { Side::Hub };
    Arc::new(Site::of(SiteParts {
        id,
        kind,
        store: Arc::new(MemoryStore::new(Realm::LOCAL)),
        blobs: Blobs::memory([1; 32]),
        gate: Gate::in_memory(side, id, seams.clone()).unwrap(),
        seams: seams.clone(),
        tools: SiteTools::default(),
        dir: None,
        key: [2; 32],
        slots: 2,
    }))
}

/// A device and a hub in one process, joined over loopback mutual TLS.
async fn pair(dirs: Option<&Path>, certificates: &Path, seams: &Seams) -> Arc<Engine> {
    let device = site(dirs.map(|d| d.join("device")).as_deref(), SiteKind::Device, seams).await;
    let hub = site(dirs.map(|d| d.join("hub")).as_deref(), SiteKind::Hub, seams).await;
    let authority = Authority::create(certificates, Realm::LOCAL, seams).unwrap();
    let key = PrivateKey::generate(seams.entropy.as_ref()).unwrap();
    let certificate = authority.issue_server(hub.id, &["127.0.0.1"], key.public().unwrap(), seams).unwrap();
    let of_hub = Credentials { authority: authority.certificate().clone(), certificate, key };
    let key = PrivateKey::generate(seams.entropy.as_ref()).unwrap();
    let certificate = authority.issue_node(device.id, key.public().unwrap(), seams).unwrap();
    let of_node = Credentials { authority: authority.certificate().clone(), certificate, key };

    let address = "127.0.0.1:0".parse().unwrap();
    let mut listener = Listener::bind(address, &of_hub, seams.clock.clone(), None).await.unwrap();
    let url = format!("https://{}", listener.address());
    let connector = Connector::new(&url, &of_node, seams.clock.clone()).unwrap();
    let role = Role::Hub { site: device.id, incarnation: 1, epoch_seen: 0 };
    let (served, mut asked) = Peer::start(role, Limits::default(), seams);
    let server = Server::new(Arc::clone(&hub), device.id, SiteKind::Device, served.clone());
    tokio::spawn(async move {
        while let Some(event) = asked.next().await {
            server.take(event);
        }
    });
    let session = SessionId::mint(Realm::LOCAL, 1, [9; 10]);
    let role = Role::Node { site: device.id, session, epoch_last: 0, incarnation_seen: 0 };
    let (peer, mut events) = Peer::start(role, Limits::default(), seams);
    let remote = Remote::new(&device);
    remote.add(hub.id, SiteKind::Hub, peer.clone(), Vec::new());
    let engine = Engine::new(Arc::clone(&device), Arc::clone(&remote));
    peer.attach(connector.connect().await.unwrap());
    served.accept(listener.accept().await.unwrap()).unwrap();
    let (taking, from) = (Arc::clone(&remote), hub.id);
    tokio::spawn(async move {
        // The listener and the session live as long as this task.
        let _kept = (listener, served, peer);
        while let Some(event) = events.next().await {
            let up = matches!(event, PeerEvent::Connected { .. });
            let _ = taking.take(from, event).await;
            if up {
                tokio::task::yield_now().await;
            }
        }
    });
    while !remote.is_up(hub.id) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine
}

fn workflow(items: usize, concurrency: usize) -> String {
    let list: Vec<String> = (0..items.min(1_000)).map(|i| i.to_string()).collect();
    format!(
        "name: echo\nsteps:\n  - {{ id: list, op: value.set, with: {{ value: [{}] }} }}\n  \
         - id: there\n    op: value.set\n    each: {{ in: \"${{list}}\", concurrency: {concurrency} }}\n    \
         with: {{ value: \"${{item}}\" }}\n    place: remote\n",
        list.join(", ")
    )
}

/// Runs a fan-out of remote no-ops; gives each one's time there and back, sorted, and the whole.
async fn fan_out(engine: &Arc<Engine>, items: usize, concurrency: usize) -> (Vec<Duration>, Duration) {
    let start = Instant::now();
    let submission = Submission {
        source: workflow(items, concurrency),
        inputs: BTreeMap::new(),
        outputs: "/nowhere".into(),
        allow_redacted: false,
    };
    let view = engine.submit(submission).await.unwrap();
    let mut seen = view.version();
    while engine.is_active(view.row.run) {
        seen = view.changed(seen).await;
    }
    let whole = start.elapsed();
    assert_eq!(view.finished(), Some(Status::Succeeded), "{:?}", view.report().error);
    let mut times: Vec<Duration> = view
        .units()
        .into_iter()
        .filter_map(|unit| view.unit(unit))
        .filter(|report| report.id == "there")
        .map(|report| Duration::from_secs_f64(report.seconds))
        .collect();
    times.sort_unstable();
    (times, whole)
}

fn us(times: &[Duration], per_cent: usize) -> f64 {
    times[(times.len() - 1) * per_cent / 100].as_secs_f64() * 1e6
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seams = Seams::system();
    let dir = tempfile::tempdir().unwrap();

    let certificates = dir.path().join("bare");
    std::fs::create_dir_all(&certificates).unwrap();
    let authority = Authority::create(&certificates, Realm::LOCAL, &seams).unwrap();
    let identity = |name: &str, server: bool| {
        let key = PrivateKey::generate(seams.entropy.as_ref()).unwrap();
        let site = SiteId::mint(Realm::LOCAL, 1, [1; 10]);
        let certificate = if server {
            authority.issue_server(site, &["localhost", "127.0.0.1"], key.public().unwrap(), &seams).unwrap()
        } else {
            authority.issue_node(site, key.public().unwrap(), &seams).unwrap()
        };
        let file = certificates.join(name);
        key.save(&file).unwrap();
        Identity::from_pem(certificate.pem(), std::fs::read_to_string(file).unwrap())
    };
    let root = Certificate::from_pem(authority.certificate().pem());
    let mut bare = bare_echo::Bare::connect(root, identity("s", true), identity("c", false)).await.unwrap();
    bare.echo(2_000).await.unwrap();

    for (name, durable, goal_us) in
        [("session.remote_no_op_durable", true, Some(1_000.0)), ("session.remote_no_op_memory", false, None)]
    {
        let folder = dir.path().join(name);
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).unwrap();
        let engine = pair(durable.then_some(folder.as_path()), &certificates, &seams).await;
        fan_out(&engine, 500, 1).await;
        let floor = bare.echo(5_000).await.unwrap();
        let (times, _) = fan_out(&engine, 1_000, 1).await;
        let (p50, floor_us) = (us(&times, 50), us(&floor, 50));
        println!(
            "{}",
            serde_json::json!({"name": name, "unit": "us", "p50": p50, "p99": us(&times, 99), "n": times.len(),
                "floor": floor_us, "floor_name": "bare tonic mTLS unary echo", "ratio": p50 / floor_us, "goal_us": goal_us,
                "goal_ratio": if durable { None } else { Some(2.0) }})
        );
        if durable {
            let mut whole = Duration::ZERO;
            let runs = 20;
            for _ in 0..runs {
                whole += fan_out(&engine, 1_000, 256).await.1;
            }
            let rate = f64::from(runs) * 1_000.0 / whole.as_secs_f64();
            println!(
                "{}",
                serde_json::json!({"name": "session.pipelined_durable", "unit": "attempts/s", "value": rate, "n": runs * 1_000, "goal": 10_000})
            );
        }
    }
}
