//! What a session's owner learns, and how much of it may wait.
//!
//! Job: a queue that never blocks whoever puts in (that happens under the session's lock) and
//! whose fill the task looks at before it reads on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tidegate_domain::ids::AttemptId;
use tidegate_domain::limits::SESSION_WINDOW_FRAMES;
use tidegate_domain::session::{CloseCode, Load};
use tokio::sync::{Notify, mpsc};

/// Events that may wait for the owner before the line is not read any more.
pub const EVENTS_MAX: usize = 2 * SESSION_WINDOW_FRAMES;
/// Payload bytes that may wait for the owner before the line is not read any more.
pub const EVENT_BYTES_MAX: usize = 32 << 20;

/// What happened to a session.
#[derive(Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// The other side is there; payloads may be sent.
    Connected {
        /// Whether the session goes on where it was.
        resumed: bool,
        /// The hub's incarnation, for a node to keep.
        incarnation: u64,
        /// The connection's number, for either side to keep.
        epoch: u64,
    },
    /// The connection is gone.
    Away {
        /// The reason, if one side gave one, and whether it was the other.
        closed: Option<(CloseCode, bool)>,
    },
    /// The other side forgot the session. Dispatch again, by attempt id, every payload that was
    /// not acknowledged; it is not asked for by [`PeerEvent::Resend`].
    Reset,
    /// Have this payload judged again and answer with `resend` or `withdraw`. An answer the owner
    /// still owes from before an [`PeerEvent::Away`] is void.
    Resend {
        /// Its number.
        seq: u64,
    },
    /// The other side holds everything up to this number durably.
    Acked {
        /// The last number covered.
        seq: u64,
    },
    /// A payload arrived. Call `durable` when it cannot be lost.
    Deliver {
        /// The number to call it durable by.
        seq: u64,
        /// Its bytes; see [`crate::message::Message::decode`].
        payload: Bytes,
    },
    /// The other side gave up this attempt.
    Cancel {
        /// Which.
        attempt: AttemptId,
    },
    /// How busy the other side is.
    Load(Load),
    /// A measured round trip.
    RoundTrip {
        /// This one, in microseconds.
        us: u64,
        /// Smoothed, in microseconds.
        smoothed_us: u64,
    },
    /// The answer to `probe`.
    Probed {
        /// The padding that travelled one way.
        padding_bytes: u32,
        /// There and back, in microseconds.
        us: u64,
    },
}

impl std::fmt::Debug for PeerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerEvent::Connected { resumed, epoch, .. } => write!(f, "Connected(resumed {resumed}, epoch {epoch})"),
            PeerEvent::Away { closed } => write!(f, "Away({closed:?})"),
            PeerEvent::Reset => f.write_str("Reset"),
            PeerEvent::Resend { seq } => write!(f, "Resend({seq})"),
            PeerEvent::Acked { seq } => write!(f, "Acked({seq})"),
            // Content of users is never printed.
            PeerEvent::Deliver { seq, payload } => write!(f, "Deliver({seq}, {} bytes)", payload.len()),
            PeerEvent::Cancel { attempt } => write!(f, "Cancel({attempt})"),
            PeerEvent::Load(load) => write!(f, "{load:?}"),
            PeerEvent::RoundTrip { us, smoothed_us } => write!(f, "RoundTrip({us} us, smoothed {smoothed_us} us)"),
            PeerEvent::Probed { padding_bytes, us } => write!(f, "Probed({padding_bytes} bytes, {us} us)"),
        }
    }
}

fn bytes(event: &PeerEvent) -> usize {
    match event {
        PeerEvent::Deliver { payload, .. } => payload.len(),
        _ => 0,
    }
}

#[derive(Default)]
struct Gauge {
    events: AtomicUsize,
    bytes: AtomicUsize,
    fell: Notify,
}

impl Gauge {
    fn is_full(&self) -> bool {
        self.events.load(Ordering::Acquire) >= EVENTS_MAX || self.bytes.load(Ordering::Acquire) >= EVENT_BYTES_MAX
    }
}

pub(super) struct EventSender {
    queue: mpsc::UnboundedSender<PeerEvent>,
    gauge: Arc<Gauge>,
}

/// A session's events, for its owner. Take them promptly: while too many wait, nothing is read
/// from the line, and the other side will think this one away.
pub struct Events {
    queue: mpsc::UnboundedReceiver<PeerEvent>,
    gauge: Arc<Gauge>,
}

pub(super) fn channel() -> (EventSender, Events) {
    let (to, from) = mpsc::unbounded_channel();
    let gauge = Arc::<Gauge>::default();
    (EventSender { queue: to, gauge: gauge.clone() }, Events { queue: from, gauge })
}

impl EventSender {
    pub(super) fn push(&self, event: PeerEvent) {
        let size = bytes(&event);
        self.gauge.events.fetch_add(1, Ordering::AcqRel);
        self.gauge.bytes.fetch_add(size, Ordering::AcqRel);
        // The owner may have stopped listening; then nobody misses it.
        let _ = self.queue.send(event);
    }

    pub(super) fn is_full(&self) -> bool {
        self.gauge.is_full() && !self.queue.is_closed()
    }

    /// Waits until the owner has taken enough, or listens no more.
    pub(super) async fn room(&self) {
        loop {
            let fell = self.gauge.fell.notified();
            tokio::pin!(fell);
            fell.as_mut().enable();
            if !self.gauge.is_full() || self.queue.is_closed() {
                return;
            }
            fell.await;
        }
    }
}

impl Events {
    /// The next event; `None` when the session has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        let event = self.queue.recv().await?;
        Some(self.taken(event))
    }

    /// The next event if one waits.
    pub fn try_next(&mut self) -> Option<PeerEvent> {
        let event = self.queue.try_recv().ok()?;
        Some(self.taken(event))
    }

    fn taken(&self, event: PeerEvent) -> PeerEvent {
        let was_full = self.gauge.is_full();
        self.gauge.events.fetch_sub(1, Ordering::AcqRel);
        self.gauge.bytes.fetch_sub(bytes(&event), Ordering::AcqRel);
        if was_full && !self.gauge.is_full() {
            self.gauge.fell.notify_waiters();
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.close();
        self.gauge.fell.notify_waiters();
    }
}
