//! A relay in the middle kills the line at random points: everything arrives once and in order
//! (attacker A13, faults F6 and F7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::rig::*;
use crate::dial;
use crate::peer::{Events, Peer, PeerEvent, SendError};

/// A generator for tests that print their seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Carries bytes both ways and breaks each connection after a random number of them.
async fn relay(to: u16, dice: Arc<Mutex<Dice>>, cuts: u64) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        for cut in 0.. {
            let (mut near, _) = socket.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            // The handshake takes about 3 kB; some cuts fall into it.
            let mut left = if cut < cuts { 1_000 + dice.lock().await.roll(60_000) } else { u64::MAX };
            tokio::spawn(async move {
                let (mut up, mut down) = ([0; 512], [0; 512]);
                while left > 0 {
                    let (read, buffer, into) = tokio::select! {
                        read = near.read(&mut up) => (read, &up, &mut far),
                        read = far.read(&mut down) => (read, &down, &mut near),
                    };
                    let Ok(count @ 1..) = read else { break };
                    // Part of what was read is lost with the line.
                    let count = count.min(left as usize);
                    left -= count as u64;
                    if into.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// An owner that sends `count` numbers and keeps each until it is acknowledged.
async fn own(peer: Peer<Bytes>, mut events: Events, count: u64, expected: u64) -> (Vec<u64>, u64) {
    let mut pending = BTreeMap::new();
    let (mut next, mut received, mut resends) = (0u64, Vec::new(), 0);
    while received.len() < expected as usize || next < count || !pending.is_empty() {
        while next < count {
            let payload = Bytes::copy_from_slice(&next.to_be_bytes().repeat(8));
            let sending = tokio::time::timeout(Duration::from_millis(1), peer.send(payload.clone()));
            match sending.await {
                Ok(Ok(seq)) => {
                    pending.insert(seq, payload);
                    next += 1;
                }
                Ok(Err(SendError::Away(_))) | Err(_) => break,
                Ok(Err(SendError::Stale(_))) => unreachable!("plain bytes do not expire"),
            }
        }
        match events.next().await.unwrap() {
            PeerEvent::Acked { seq } => pending = pending.split_off(&(seq + 1)),
            PeerEvent::Resend { seq } => {
                resends += 1;
                let _ = peer.resend(seq, pending[&seq].clone());
            }
            PeerEvent::Deliver { seq, payload } => {
                received.push(u64::from_be_bytes(payload[..8].try_into().unwrap()));
                peer.durable(seq);
            }
            PeerEvent::Reset => panic!("nobody lost its state"),
            _ => {}
        }
    }
    (received, resends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_and_in_order_through_cuts() {
    const COUNT: u64 = 3_000;
    let seed = 0x51de_9a7e_0000_0001 ^ u64::from(std::process::id());
    println!("seed {seed:#x}");
    let rig = Rig::new();
    let mut listener = rig.listen(None).await;
    let dice = Arc::new(Mutex::new(Dice(seed)));
    let port = relay(listener.address().port(), dice, 25).await;
    let connector = rig.connector(port, &rig.node(NODE, &rig.seams));
    let (node, node_events) = rig.node_peer(NODE);
    let (hub, hub_events) = rig.hub_peer(NODE);

    let door = tokio::spawn({
        let hub = hub.clone();
        async move {
            while let Some(arrival) = listener.accept().await {
                let _ = hub.accept(arrival);
            }
        }
    });
    let dialling = tokio::spawn(dial::keep_connected(node.clone(), connector, rig.seams.clone(), |_| {}));
    let both = async {
        let there = tokio::spawn(own(node, node_events, COUNT, COUNT));
        let here = tokio::spawn(own(hub, hub_events, COUNT, COUNT));
        (there.await.unwrap(), here.await.unwrap())
    };
    let ((at_node, node_resends), (at_hub, hub_resends)) =
        tokio::time::timeout(Duration::from_secs(120), both).await.expect("it got stuck");
    let expected: Vec<u64> = (0..COUNT).collect();
    assert!(at_node == expected && at_hub == expected, "lost, repeated or out of order");
    assert!(node_resends + hub_resends > 0, "the cuts hit nothing");
    dialling.abort();
    door.abort();
}
