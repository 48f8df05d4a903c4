//! Keeps a node connected.
//!
//! Job: connect, hand over to the session, and after a loss try again with growing, scattered
//! pauses, so that a hub that comes back is not met by all its nodes at once.
//!
//! Not here: what the session does (`peer`). It ends by itself when the reason of a close says
//! that trying again unchanged is pointless.

use std::time::Duration;

use tidegate_domain::session::CloseCode;
use tidegate_seams::{Entropy, Seams, entropy};

use crate::connect::{ConnectError, Connector};
use crate::parcel::Parcel;
use crate::peer::Peer;

/// The first pause, in milliseconds.
pub const PAUSE_MS_MIN: u64 = 100;
/// The longest pause, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 30_000;

/// Connects again and again, until the hub's reason is final; returns that reason. `failed` is
/// told why a try did not succeed.
pub async fn keep_connected<O: Parcel>(
    peer: Peer<O>,
    connector: Connector,
    seams: Seams,
    mut failed: impl FnMut(&ConnectError),
) -> CloseCode {
    let mut pause_ms = PAUSE_MS_MIN;
    loop {
        match connector.connect().await {
            Ok(connection) => {
                let ups = peer.ups();
                peer.attach(connection);
                if let Some(code) = peer.gone().await.filter(|code| !code.may_reconnect()) {
                    return code;
                }
                // The hub welcomed us, so it is not it that suffers; a line that flaps should not
                // keep a node away for longer than it is down.
                if peer.ups() > ups {
                    pause_ms = PAUSE_MS_MIN;
                }
            }
            Err(error) => failed(&error),
        }
        tokio::time::sleep(scattered(pause_ms, &*seams.entropy)).await;
        pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
    }
}

/// Between half the pause and all of it.
fn scattered(pause_ms: u64, source: &dyn Entropy) -> Duration {
    let random = u64::from_le_bytes(entropy::bytes(source));
    Duration::from_millis(pause_ms / 2 + random % (pause_ms / 2 + 1))
}
