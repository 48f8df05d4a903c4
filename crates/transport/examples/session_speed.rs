//! What a session costs over loopback mTLS, beside a bare tonic unary call.
//!
//! `cargo run --release -p tidegate-transport --example session_speed --features uncleared`
//!
//! Prints medians of a tiny payload there and back, one at a time, and the rate when many are on
//! the way. Payloads are plain bytes here: what clearing costs is measured elsewhere.

#![expect(clippy::disallowed_methods, reason = "a stopwatch for people, not a decision")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_domain::ids::{Realm, SessionId, SiteId};
use tidegate_domain::session::{Limits, Role};
use tidegate_seams::Seams;
use tidegate_transport::Credentials;
use tidegate_transport::certs::{Authority, PrivateKey};
use tidegate_transport::connect::Connector;
use tidegate_transport::listen::Listener;
use tidegate_transport::peer::{Events, Peer, PeerEvent};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const HUB: SiteId = SiteId { realm: Realm::LOCAL, bits: 1 };
const NODE: SiteId = SiteId { realm: Realm::LOCAL, bits: 2 };
const ROUNDS: usize = 20_000;
const PIPELINED: u64 = 200_000;
const LARGE_BYTES: usize = 1 << 20;
const LARGE_COUNT: u64 = 500;

#[tokio::main]
async fn main() -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let seams = Seams::system();
    let authority = Authority::create(dir.path(), Realm::LOCAL, &seams)?;
    let key = PrivateKey::generate(&*seams.entropy)?;
    let certificate = authority.issue_server(HUB, &["127.0.0.1", "localhost"], key.public()?, &seams)?;
    key.save(&dir.path().join("hub.key"))?;
    let hub = Credentials { authority: authority.certificate().clone(), certificate, key };
    let key = PrivateKey::generate(&*seams.entropy)?;
    let certificate = authority.issue_node(NODE, key.public()?, &seams)?;
    key.save(&dir.path().join("node.key"))?;
    let node = Credentials { authority: authority.certificate().clone(), certificate, key };

    let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
    let hub_identity = Identity::from_pem(hub.certificate.pem(), read("hub.key")?);
    let node_identity = Identity::from_pem(node.certificate.pem(), read("node.key")?);
    let root = Certificate::from_pem(authority.certificate().pem());

    let mut session = Pair::connect(&hub, &node, &seams).await?;
    let mut bare = Bare::connect(root, hub_identity, node_identity).await?;
    // In turns, so that a noisy moment meets both.
    for round in 1..=3 {
        let (p50, p99) = bare.echo().await?;
        println!("round {round}: bare tonic mTLS unary echo: p50 {p50:.1} us, p99 {p99:.1} us");
        let (sp50, sp99) = session.echo().await?;
        println!(
            "round {round}: session, there and back:     p50 {sp50:.1} us, p99 {sp99:.1} us ({:.2} x)",
            sp50 / p50
        );
    }
    let rate = session.pipelined(Bytes::from_static(&[7; 64]), PIPELINED).await?;
    println!("session, pipelined one way, 64 bytes, acknowledged as durable: {rate:.0} payloads/s");
    let rate = session.pipelined(vec![7; LARGE_BYTES].into(), LARGE_COUNT).await?;
    println!("session, pipelined one way, 1 MiB: {:.2} Gbit/s", rate * LARGE_BYTES as f64 * 8.0 / 1e9);
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}

struct Pair {
    node: Peer<Bytes>,
    node_events: Events,
    echo: Option<tokio::task::JoinHandle<Events>>,
    hub: Peer<Bytes>,
    stop: Arc<tokio::sync::Notify>,
}

impl Pair {
    async fn connect(hub: &Credentials, node: &Credentials, seams: &Seams) -> Fallible<Self> {
        let mut listener = Listener::<Bytes>::bind("127.0.0.1:0".parse()?, hub, seams.clock.clone(), None).await?;
        let connector = Connector::new(&format!("https://{}", listener.address()), node, seams.clock.clone())?;
        let session = SessionId { realm: Realm::LOCAL, bits: 9 };
        let role = Role::Node { site: NODE, session, epoch_last: 0, incarnation_seen: 0 };
        let (node, mut node_events) = Peer::start(role, Limits::default(), seams);
        let role = Role::Hub { site: NODE, incarnation: 1, epoch_seen: 0 };
        let (hub, hub_events) = Peer::start(role, Limits::default(), seams);
        node.attach(connector.connect().await?);
        let arrival = listener.accept().await.ok_or("nobody arrived")?;
        hub.accept(arrival).map_err(|code| format!("refused: {code:?}"))?;
        while !matches!(node_events.next().await, Some(PeerEvent::Connected { .. }) | None) {}
        let stop = Arc::new(tokio::sync::Notify::new());
        let echo = tokio::spawn(echo(hub.clone(), hub_events, stop.clone()));
        Ok(Self { node, node_events, echo: Some(echo), hub, stop })
    }

    async fn echo(&mut self) -> Fallible<(f64, f64)> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            self.node.send(Bytes::from_static(b"tiny")).await.map_err(|_| "away")?;
            loop {
                if let PeerEvent::Deliver { seq, .. } = self.node_events.next().await.ok_or("ended")? {
                    self.node.durable(seq);
                    break;
                }
            }
            times.push(start.elapsed());
        }
        Ok(percentiles(times))
    }

    /// From the node to the hub, until the last is acknowledged.
    async fn pipelined(&mut self, payload: Bytes, count: u64) -> Fallible<f64> {
        self.stop.notify_one();
        let mut hub_events = self.echo.take().ok_or("busy")?.await?;
        let hub = self.hub.clone();
        let sink = tokio::spawn(async move {
            let mut left = count;
            while left > 0 {
                if let Some(PeerEvent::Deliver { seq, .. }) = hub_events.next().await {
                    hub.durable(seq);
                    left -= 1;
                }
            }
            hub_events
        });
        let start = Instant::now();
        let mut last = 0;
        for _ in 0..count {
            last = self.node.send(payload.clone()).await.map_err(|_| "away")?;
            while self.node_events.try_next().is_some() {}
        }
        let hub_events = sink.await?;
        let rate = count as f64 / start.elapsed().as_secs_f64();
        let _ = last;
        self.echo = Some(tokio::spawn(echo(self.hub.clone(), hub_events, self.stop.clone())));
        Ok(rate)
    }
}

async fn echo(hub: Peer<Bytes>, mut events: Events, stop: Arc<tokio::sync::Notify>) -> Events {
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.notified() => return events,
        };
        match event {
            Some(PeerEvent::Deliver { seq, payload }) => {
                hub.durable(seq);
                let _ = hub.send(payload).await;
            }
            Some(_) => {}
            None => return events,
        }
    }
}

/// tonic as it comes, with one unary method.
struct Bare(tonic::client::Grpc<Channel>);

impl Bare {
    async fn connect(root: Certificate, hub: Identity, node: Identity) -> Fallible<Self> {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}", socket.local_addr()?.port());
        let tls = ServerTlsConfig::new().identity(hub).client_ca_root(root.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(socket).with_nodelay(Some(true));
        let server = Server::builder().tls_config(tls)?.add_service(Echo).serve_with_incoming(incoming);
        tokio::spawn(server);
        let tls = ClientTlsConfig::new().ca_certificate(root).identity(node);
        let channel = Channel::from_shared(url)?.tcp_nodelay(true).tls_config(tls)?.connect().await?;
        Ok(Self(tonic::client::Grpc::new(channel)))
    }

    async fn echo(&mut self) -> Fallible<(f64, f64)> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            self.0.ready().await?;
            let path = http::uri::PathAndQuery::from_static("/bare.Echo/Echo");
            let codec = tonic_prost::ProstCodec::<Tiny, Tiny>::default();
            let _: tonic::Response<Tiny> = self.0.unary(tonic::Request::new(b"tiny".to_vec()), path, codec).await?;
            times.push(start.elapsed());
        }
        Ok(percentiles(times))
    }
}

/// `google.protobuf.BytesValue`, which prost has built in.
type Tiny = Vec<u8>;

#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "bare.Echo";
}

struct EchoCall;

impl tonic::server::UnaryService<Tiny> for EchoCall {
    type Response = Tiny;
    type Future = std::future::Ready<Result<tonic::Response<Tiny>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Tiny>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<Tiny, Tiny>::default();
            Ok(tonic::server::Grpc::new(codec).unary(EchoCall, request).await)
        })
    }
}
