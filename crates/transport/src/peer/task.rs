//! The one task of a session: reads frames, keeps time.
//!
//! Not here: writing; see the parent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::session::{Body, CloseCode, Control, Frame};

use super::Shared;
use crate::connection::{ReceiveError, Receiver, Sender};
use crate::parcel::Parcel;

/// How often a live connection's certificate is looked at again, in microseconds. Revocation and
/// expiry take effect within 5 s (invariant I7).
const CERTIFICATE_CHECK_US: u64 = 2_000_000;
/// How far ahead the task sleeps when nothing is due, in microseconds.
const IDLE_US: u64 = 3_600_000_000;

enum Woken {
    Frame(Result<Option<Frame<Bytes>>, ReceiveError>),
    Time,
    Called,
}

pub(super) async fn run<O: Parcel>(shared: Arc<Shared<O>>) {
    let mut receiver: Option<(Receiver, u64)> = None;
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    let mut certificate_check_us = 0;
    loop {
        let woken = tokio::select! {
            biased;
            frame = receive(&mut receiver) => Woken::Frame(frame),
            () = shared.wake.notified() => Woken::Called,
            () = &mut timer => Woken::Time,
        };
        let full = {
            let mut core = shared.lock();
            if core.finished {
                return;
            }
            let now_us = shared.clock.boot_us();
            match woken {
                Woken::Frame(frame) => match &receiver {
                    Some((_, generation)) if *generation == core.generation => match frame {
                        Ok(Some(frame)) => core.session.handle_frame(frame, now_us),
                        Ok(None) | Err(ReceiveError::Line(_)) => shared.drop_link(&mut core, None),
                        Err(ReceiveError::Wire(_)) => core.session.close(CloseCode::Protocol),
                    },
                    // Of a connection that is not ours any more.
                    _ => {}
                },
                Woken::Time => {
                    core.session.tick(now_us);
                    if now_us >= certificate_check_us {
                        certificate_check_us = now_us.saturating_add(CERTIFICATE_CHECK_US);
                        let wall_ms = shared.clock.wall_ms();
                        if core.link.as_ref().is_some_and(|link| !link.peer.holds_at(wall_ms)) {
                            core.session.close(CloseCode::Revoked);
                        }
                    }
                }
                Woken::Called => {}
            }
            shared.carry_out(&mut core);
            if receiver.as_ref().is_some_and(|(_, generation)| *generation != core.generation) {
                receiver = None;
            }
            if let Some(new) = core.receiver.take() {
                receiver = Some((new, core.generation));
                certificate_check_us = now_us.saturating_add(CERTIFICATE_CHECK_US);
            }
            // Setting a timer costs more than a frame, so it is only ever moved forward here;
            // one that fires early finds nothing to do and is set anew.
            let due_us = core
                .session
                .poll_timeout()
                .map_or(IDLE_US.saturating_add(now_us), |due_us| due_us.min(certificate_check_us));
            if due_us < core.armed_us || now_us >= core.armed_us {
                core.armed_us = due_us;
                timer.set(tokio::time::sleep(Duration::from_micros(due_us.saturating_sub(now_us).max(1))));
            }
            shared.events.is_full()
        };
        if full {
            shared.events.room().await;
        }
    }
}

async fn receive(receiver: &mut Option<(Receiver, u64)>) -> Result<Option<Frame<Bytes>>, ReceiveError> {
    match receiver {
        Some((receiver, _)) => receiver.receive().await,
        None => std::future::pending().await,
    }
}

/// The last word on a connection that a newer one replaces.
pub(super) fn farewell<O: Parcel>(sender: &Sender<O>, epoch: u64, code: CloseCode) {
    let body = Body::Control(Control::Close { code });
    sender.try_send(Frame { epoch, seq: 0, ack: 0, body });
}
