//! What travels, and what must not.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidegate_domain::ids::AttemptId;
use tidegate_domain::limits::{FRAME_BYTES_MAX, SESSION_WINDOW_FRAMES, TRANSFER_BYTES_MAX};
use tidegate_domain::session::{Body, CloseCode, Control, Frame, Load};

use super::rig::*;
use crate::peer::{PeerEvent, SendError};
use crate::rpc::Recorder;

#[derive(Default)]
struct Recording {
    headers: Mutex<Vec<String>>,
    messages: Mutex<Vec<Vec<u8>>>,
}

impl Recorder for Recording {
    fn headers(&self, _peer: tidegate_domain::ids::SiteId, path: &str, headers: &http::HeaderMap) {
        let mut lines = self.headers.lock().unwrap();
        lines.push(path.to_owned());
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    }

    fn message(&self, _peer: tidegate_domain::ids::SiteId, bytes: &[u8]) {
        self.messages.lock().unwrap().push(bytes.to_vec());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_all_sizes_go_there_and_back() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let [(node, mut node_events), (hub, mut hub_events)] = rig.pair(&mut listener).await;
    for size in [0, 1, 100, 16 << 10, (16 << 10) + 1, 1 << 20, TRANSFER_BYTES_MAX] {
        let payload: Bytes = (0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
        node.send(payload.clone()).await.unwrap();
        let (seq, received) = delivered(&mut hub_events).await;
        assert!(received == payload, "{size} bytes there");
        hub.durable(seq);
        hub.send(received).await.unwrap();
        let (seq, received) = delivered(&mut node_events).await;
        assert!(received == payload, "{size} bytes back");
        node.durable(seq);
    }
    let last = node.send(Bytes::new()).await.unwrap();
    let (seq, _) = delivered(&mut hub_events).await;
    hub.durable(seq);
    until(&mut node_events, |event| *event == PeerEvent::Acked { seq: last }).await;
}

#[tokio::test]
async fn control_frames_reach_the_owner() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let [(node, mut node_events), (hub, mut hub_events)] = rig.pair(&mut listener).await;
    let attempt = AttemptId { realm: HUB.realm, bits: 5 };
    let load = Load::from_counts(3, 0, 4);
    assert!(hub.cancel(attempt) && hub.load(load) && hub.probe(4096));
    until(&mut node_events, |event| *event == PeerEvent::Cancel { attempt }).await;
    until(&mut node_events, |event| *event == PeerEvent::Load(load)).await;
    until(&mut hub_events, |event| matches!(event, PeerEvent::Probed { padding_bytes: 4096, .. })).await;
    hub.close(CloseCode::Revoked);
    let away = PeerEvent::Away { closed: Some((CloseCode::Revoked, true)) };
    until(&mut node_events, |event| *event == away).await;
    assert_eq!(node.gone().await, Some(CloseCode::Revoked));
    assert!(matches!(node.send(Bytes::new()).await, Err(SendError::Away(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_stops_the_sender_at_the_window() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let [(node, _node_events), (hub, mut hub_events)] = rig.pair(&mut listener).await;
    for _ in 0..SESSION_WINDOW_FRAMES {
        node.send(Bytes::from_static(b"x")).await.unwrap();
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(200), node.send(Bytes::new())).await;
    assert!(more.is_err(), "the window did not hold");
    let (seq, _) = delivered(&mut hub_events).await;
    hub.durable(seq);
    node.send(Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn the_recorder_sees_all_and_headers_hold_no_content() {
    let rig = Rig::new();
    let recording = Arc::new(Recording::default());
    let mut listener = rig.listen(Some(recording.clone())).await;
    let [(node, _node_events), (_hub, mut hub_events)] = rig.pair(&mut listener).await;
    node.send(Bytes::from_static(b"canary-7391")).await.unwrap();
    delivered(&mut hub_events).await;
    // The whole of the metadata. Whatever is added here is a way out of a device.
    let headers = recording.headers.lock().unwrap().clone();
    assert_eq!(headers, ["/tidegate.v1.Session/Open", "te: trailers", "content-type: application/grpc"]);
    let messages = recording.messages.lock().unwrap().clone();
    let with_canary = messages.iter().filter(|message| message.windows(11).any(|w| w == b"canary-7391"));
    assert_eq!(with_canary.count(), 1);
    // Everything but the payload is a control frame of the closed set.
    for message in &messages {
        let frame = crate::wire::decode_frame(message.clone().into(), HUB.realm).unwrap();
        assert!(matches!(frame.body, Body::Control(_)) != message.ends_with(b"canary-7391"));
    }
}

#[tokio::test]
async fn an_oversized_frame_breaks_the_connection() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let connector = rig.connector(listener.address().port(), &rig.node(NODE, &rig.seams));
    let connection = connector.connect::<Bytes>().await.unwrap();
    let hello = super::doors::hello(NODE, 1);
    assert!(connection.sender.try_send(hello));
    let mut arrival = listener.accept().await.unwrap();
    let body = Body::Payload(Bytes::from(vec![0; FRAME_BYTES_MAX + 1]));
    assert!(connection.sender.try_send(Frame { epoch: 1, seq: 1, ack: 0, body }));
    assert!(arrival.connection.receiver.receive().await.is_err());
}

#[tokio::test]
async fn bytes_that_are_no_frame_break_the_connection() {
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let [(_node, mut node_events), (hub, _hub_events)] = rig.pair(&mut listener).await;
    // A hello in the middle, which only a broken node would send.
    hub.send(Bytes::from_static(b"before")).await.unwrap();
    let connector = rig.connector(listener.address().port(), &rig.node(NODE, &rig.seams));
    let mut rogue = connector.connect::<Bytes>().await.unwrap();
    rogue.sender.try_send(super::doors::hello(NODE, 7));
    hub.accept(listener.accept().await.unwrap()).unwrap();
    until(&mut node_events, |event| matches!(event, PeerEvent::Away { closed: Some((CloseCode::Fenced, true)) })).await;
    rogue.sender.try_send(super::doors::hello(NODE, 7));
    loop {
        match rogue.receiver.receive().await.unwrap() {
            Some(Frame { body: Body::Control(Control::Close { code }), .. }) => {
                assert_eq!(code, CloseCode::Protocol);
                break;
            }
            Some(_) => {}
            None => panic!("closed without a reason"),
        }
    }
}
