//! A connection as both sides see it: frames out, frames in, and who is at the other end.
//!
//! Job: one shape for the hub's side, a node's side and a simulated line, so that what drives a
//! session does not know which it has. The queue between a sender and its line is bounded in
//! frames and in bytes.
//!
//! Not here: sessions (`peer`), HTTP/2 (`rpc`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tidegate_domain::ids::Realm;
use tidegate_domain::limits::{FRAME_BYTES_MAX, SESSION_WINDOW_FRAMES};
use tidegate_domain::session::{Body, Frame};
use tidegate_gate::Cleared;
use tokio::sync::{Notify, mpsc};
use tonic::codec::Streaming;

use crate::WireError;
use crate::parcel::Parcel;
use crate::tls::PeerIdentity;
use crate::wire::{decode_frame, encode_frame};

/// Frames that wait for the line: a whole window, and the session's own talk.
const QUEUE_FRAMES_MAX: usize = SESSION_WINDOW_FRAMES + 256;
/// Payload bytes that may wait for the line before a sender has to.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;

/// One connection.
pub struct Connection<O = Cleared> {
    /// Who is at the other end.
    pub peer: PeerIdentity,
    /// Frames out.
    pub sender: Sender<O>,
    /// Frames in.
    pub receiver: Receiver,
}

/// Why a connection gave no frame.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The line broke, or the other side passed a limit of it.
    #[error("the connection broke")]
    Line(#[source] Box<tonic::Status>),
    /// The other side sent what is not a frame.
    #[error("the other side broke the protocol")]
    Wire(#[from] WireError),
}

/// What is written and has not reached the line.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    /// Wakes senders that wait for room.
    pub(crate) room: Notify,
}

impl Backlog {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > QUEUE_BYTES_MAX && before - bytes <= QUEUE_BYTES_MAX {
            self.room.notify_waiters();
        }
    }
}

/// The sending end.
pub struct Sender<O = Cleared> {
    frames: mpsc::Sender<Frame<O>>,
    backlog: Arc<Backlog>,
}

/// The line's end of a [`Sender`].
pub(crate) struct Outbound<O> {
    frames: mpsc::Receiver<Frame<O>>,
    backlog: Arc<Backlog>,
}

pub(crate) fn queue<O: Parcel>() -> (Sender<O>, Outbound<O>) {
    let (to, from) = mpsc::channel(QUEUE_FRAMES_MAX);
    let backlog = Arc::<Backlog>::default();
    (Sender { frames: to, backlog: backlog.clone() }, Outbound { frames: from, backlog })
}

fn payload_bytes<O: Parcel>(frame: &Frame<O>) -> usize {
    match &frame.body {
        Body::Payload(payload) => payload.bytes().len(),
        Body::Control(_) => 0,
    }
}

impl<O: Parcel> Sender<O> {
    /// Queues a frame; false if the line is gone or does not keep up.
    pub(crate) fn try_send(&self, frame: Frame<O>) -> bool {
        let bytes = payload_bytes(&frame);
        self.backlog.add(bytes);
        let sent = self.frames.try_send(frame).is_ok();
        if !sent {
            self.backlog.remove(bytes);
        }
        sent
    }

    /// Whether a payload would have to wait.
    pub(crate) fn is_crowded(&self) -> bool {
        self.backlog.bytes.load(Ordering::Relaxed) > QUEUE_BYTES_MAX
    }

    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }
}

impl<O: Parcel> Outbound<O> {
    /// The next frame for the line; `None` when the sender is gone.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<O>>> {
        let polled = self.frames.poll_recv(cx);
        if let Poll::Ready(Some(frame)) = &polled {
            self.backlog.remove(payload_bytes(frame));
        }
        polled
    }
}

/// The receiving end.
pub struct Receiver {
    realm: Realm,
    source: Source,
    /// Kept for as long as the connection is wanted.
    _line: LineGuard,
}

enum Source {
    Rpc(Box<Streaming<Bytes>>),
    Memory(mpsc::Receiver<Bytes>),
}

/// Tells the line's task, when dropped, that nobody wants the connection any more.
pub(crate) type LineGuard = Option<tokio::sync::oneshot::Sender<()>>;

impl Receiver {
    pub(crate) fn rpc(realm: Realm, stream: Streaming<Bytes>, line: LineGuard) -> Self {
        Self { realm, source: Source::Rpc(Box::new(stream)), _line: line }
    }

    /// The next frame; `None` when the other side ended the connection in order. Dropping the
    /// future loses nothing.
    pub(crate) async fn receive(&mut self) -> Result<Option<Frame<Bytes>>, ReceiveError> {
        let bytes = match &mut self.source {
            Source::Rpc(stream) => stream.message().await.map_err(|status| ReceiveError::Line(Box::new(status)))?,
            Source::Memory(messages) => messages.recv().await,
        };
        Ok(bytes.map(|bytes| decode_frame(bytes, self.realm)).transpose()?)
    }
}

/// The far end of a simulated line: encoded frames, to be carried, delayed or lost.
pub struct Wire<O = Cleared> {
    outbound: Outbound<O>,
    inject: mpsc::Sender<Bytes>,
}

impl<O: Parcel> Connection<O> {
    /// A connection whose line is in the caller's hands.
    pub fn in_memory(peer: tidegate_domain::ids::SiteId) -> (Self, Wire<O>) {
        let (sender, outbound) = queue();
        let (inject, messages) = mpsc::channel(QUEUE_FRAMES_MAX);
        let receiver = Receiver { realm: peer.realm, source: Source::Memory(messages), _line: None };
        (Connection { peer: PeerIdentity::once(peer), sender, receiver }, Wire { outbound, inject })
    }
}

impl<O: Parcel> Wire<O> {
    /// The next message this side wrote; `None` when it ended the connection.
    pub async fn sent(&mut self) -> Option<Bytes> {
        let frame = std::future::poll_fn(|cx| self.outbound.poll_next(cx)).await?;
        let mut bytes = Vec::new();
        encode_frame(&frame, &mut bytes);
        Some(bytes.into())
    }

    /// Gives this side a message; false if it does not listen any more, or the message is larger
    /// than a line would carry.
    pub async fn deliver(&self, message: Bytes) -> bool {
        message.len() <= FRAME_BYTES_MAX && self.inject.send(message).await.is_ok()
    }
}
