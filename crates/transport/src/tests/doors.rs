//! Who is let in: certificates, hellos, garbage on the port (attackers A11, A14).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tidegate_domain::ids::{SessionId, SiteId};
use tidegate_domain::session::{Body, CloseCode, Control, Frame, Hello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::*;
use crate::certs::CERTIFICATE_MS;
use crate::connect::ConnectError;
use crate::connection::Connection;
use crate::listen::Listener;
use crate::peer::PeerEvent;
use crate::tls::Credentials;

pub fn hello(site: SiteId, epoch: u64) -> Frame<Bytes> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        session: SessionId { realm: site.realm, bits: 9 },
        site,
        epoch,
        born: 0,
        last_received: 0,
    };
    Frame { epoch, seq: 0, ack: 0, body: Body::Control(Control::Hello(hello)) }
}

/// Whether these credentials get so far that the hub hears a hello.
async fn let_in(rig: &Rig, listener: &mut Listener<Bytes>, credentials: &Credentials) -> bool {
    let connector = rig.connector(listener.address().port(), credentials);
    let connection: Result<Connection<Bytes>, ConnectError> = connector.connect().await;
    let Ok(connection) = connection else { return false };
    connection.sender.try_send(hello(NODE, 1));
    tokio::time::timeout(Duration::from_millis(300), listener.accept()).await.is_ok()
}

#[tokio::test]
async fn only_a_valid_node_certificate_of_this_authority_is_let_in() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let good = rig.node(NODE, &rig.seams);
    assert!(let_in(&rig, &mut listener, &good).await, "good");

    let expired = rig.node(NODE, &moved(-(CERTIFICATE_MS as i64) - 1_000));
    assert!(!let_in(&rig, &mut listener, &expired).await, "expired");

    let early = rig.node(NODE, &moved(2 * 3_600_000));
    assert!(!let_in(&rig, &mut listener, &early).await, "not yet valid");
    let skewed = rig.node(NODE, &moved(30 * 60_000));
    assert!(let_in(&rig, &mut listener, &skewed).await, "within the margin for clocks that differ");

    let other = Rig::new();
    let mut foreign = other.node(NODE, &rig.seams);
    foreign.authority = rig.authority.certificate().clone();
    assert!(!let_in(&rig, &mut listener, &foreign).await, "certificate of another authority");

    // The hub's own certificate: the right authority, the wrong usage.
    assert!(!let_in(&rig, &mut listener, &rig.hub()).await, "server certificate as client");
}

#[tokio::test]
async fn a_node_trusts_only_its_pinned_authority_and_only_a_hub() {
    let rig = Rig::new();
    let listener = rig.listen(None).await;
    let mut node = rig.node(NODE, &rig.seams);
    node.authority = Rig::new().authority.certificate().clone();
    let refused = rig.connector(listener.address().port(), &node).connect::<Bytes>().await;
    assert!(matches!(refused, Err(ConnectError::Line(_))));

    // A node's certificate behind a listening socket: right authority, wrong usage.
    let address = "127.0.0.1:0".parse().unwrap();
    let impostor = rig.node(NODE, &rig.seams);
    let listener = Listener::<Bytes>::bind(address, &impostor, rig.seams.clock.clone(), None).await.unwrap();
    let node = rig.node(NODE, &rig.seams);
    let refused = rig.connector(listener.address().port(), &node).connect::<Bytes>().await;
    assert!(matches!(refused, Err(ConnectError::Line(_))));
}

/// A client built by hand, to do what ours does not.
async fn handshake(rig: &Rig, port: u16, change: impl FnOnce(&mut ClientConfig), old: bool, named: bool) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(rig.authority.certificate().der().unwrap()).unwrap();
    let versions: &[&rustls::SupportedProtocolVersion] =
        if old { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let node = rig.node(NODE, &rig.seams);
    let mut config = if named {
        builder.with_client_auth_cert(vec![node.certificate.der().unwrap()], node.key.der()).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    change(&mut config);
    let config = Arc::new(config);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let Ok(mut stream) = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await else {
            return false;
        };
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        // A refused certificate shows when the hub's first frame does not come.
        if stream.read_exact(&mut [0; 9]).await.is_err() {
            return false;
        }
        kinds.push(stream.get_ref().1.handshake_kind());
    }
    // Were the first session resumed by the second, the certificate would not be looked at.
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Full)]);
    true
}

#[tokio::test]
async fn no_certificate_no_entry_and_nothing_is_resumed() {
    let rig = Rig::new();
    let listener = rig.listen(None).await;
    let port = listener.address().port();
    // The client is willing to resume here: its store is the default one.
    assert!(handshake(&rig, port, |_| {}, false, true).await);
    assert!(!handshake(&rig, port, |_| {}, false, false).await, "without a certificate");
    assert!(!handshake(&rig, port, |_| {}, true, true).await, "TLS 1.2");
    assert!(!handshake(&rig, port, |c| c.alpn_protocols.clear(), false, true).await, "without ALPN");
}

#[tokio::test]
async fn a_hello_that_names_another_site_is_refused() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let connector = rig.connector(listener.address().port(), &rig.node(NODE, &rig.seams));
    let mut connection = connector.connect::<Bytes>().await.unwrap();
    connection.sender.try_send(hello(HUB, 1));
    let answer = connection.receiver.receive().await.unwrap().unwrap();
    assert_eq!(answer.body, Body::Control(Control::Close { code: CloseCode::Site }));
    assert!(tokio::time::timeout(Duration::from_millis(200), listener.accept()).await.is_err());
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let port = listener.address().port();
    let garbage: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for length in [0, 1, 5, 100, garbage.len()] {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = tcp.write_all(&garbage[..length]).await;
    }
    // One that says nothing at all stays open meanwhile.
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let [(node, _node_events), (_hub, mut hub_events)] = rig.pair(&mut listener).await;
    node.send(Bytes::from_static(b"through")).await.unwrap();
    assert_eq!(delivered(&mut hub_events).await.1, "through");
}

#[tokio::test]
async fn a_live_stream_ends_with_its_certificate() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    // Two and a half seconds of life left.
    let credentials = rig.node(NODE, &moved(2_500 - CERTIFICATE_MS as i64));
    let connector = rig.connector(listener.address().port(), &credentials);
    let (node, mut node_events) = rig.node_peer(NODE);
    let (hub, _hub_events) = rig.hub_peer(NODE);
    node.attach(connector.connect().await.unwrap());
    hub.accept(listener.accept().await.unwrap()).unwrap();
    let started_us = rig.seams.clock.boot_us();
    let away = PeerEvent::Away { closed: Some((CloseCode::Revoked, true)) };
    until(&mut node_events, |event| *event == away).await;
    let took_us = rig.seams.clock.boot_us() - started_us;
    // Its life, then the check within 5 s.
    assert!(took_us < 8_000_000, "{took_us} us");
}
