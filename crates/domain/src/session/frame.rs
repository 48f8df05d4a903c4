//! What travels on a session: numbered payloads and a closed set of control frames.
//!
//! Job: the vocabulary. Control frames hold ids, numbers and codes and no text, because they are
//! the only bytes that leave a device without a gate's decision (invariant I1): what cannot be
//! written down in them cannot leak through them.
//!
//! Not here: bytes (`transport` encodes frames) and what a frame does (`machine`).

use crate::ids::{AttemptId, SessionId, SiteId};

/// The version of the session protocol this code speaks.
pub const SESSION_VERSION: u32 = 1;
/// The oldest version it still understands.
pub const SESSION_VERSION_MIN: u32 = 1;
/// Padding of one probe in bytes. More would measure the buffers instead of the line.
pub const PROBE_PADDING_BYTES_MAX: u32 = 64 << 10;

/// One message on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<P> {
    /// The connection it belongs to, numbered by the node; frames of an older one are refused.
    pub epoch: u64,
    /// The number of a payload or of a [`Control::Void`] that stands for one, from 1. Zero on all
    /// other control frames.
    pub seq: u64,
    /// The sender of this frame holds everything up to this number durably.
    pub ack: u64,
    /// What it says.
    pub body: Body<P>,
}

/// The content of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<P> {
    /// Bytes that a gate cleared.
    Payload(P),
    /// The session's own talk.
    Control(Control),
}

/// Everything two sides say to each other beside payloads. Closed, and without text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// First frame of a node.
    Hello(Hello),
    /// First frame of the hub.
    Welcome(Welcome),
    /// Nothing but the acknowledgement that every frame carries.
    Ack,
    /// Takes the number of a payload that was withdrawn, so that numbers have no gaps.
    Void,
    /// Asks for a [`Control::Pong`].
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// Answers a ping or a probe.
    Pong {
        /// What was asked with.
        nonce: u64,
    },
    /// A ping that is heavy, to learn what the line carries. Its padding is zeros.
    Probe {
        /// Comes back in the answer.
        nonce: u64,
        /// How many zeros travel along, at most [`PROBE_PADDING_BYTES_MAX`].
        padding_bytes: u32,
    },
    /// The receiver should give up this attempt.
    Cancel {
        /// Which.
        attempt: AttemptId,
    },
    /// How busy the sender is.
    Load(Load),
    /// Last frame on a connection.
    Close {
        /// Why.
        code: CloseCode,
    },
}

/// A node's introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest protocol version it understands.
    pub version_min: u32,
    /// Newest protocol version it understands.
    pub version_max: u32,
    /// The session it wants to begin or go on with.
    pub session: SessionId,
    /// Who it is. The transport compares this with the certificate.
    pub site: SiteId,
    /// The number of this connection; rises with every connection of the site.
    pub epoch: u64,
    /// The connection on which the numbering it knows began; zero if it knows none.
    pub born: u64,
    /// The last payload number it received in that numbering.
    pub last_received: u64,
}

/// The hub's answer to [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u32,
    /// The session that was asked for.
    pub session: SessionId,
    /// A number of the hub's own that rises with each of its starts; one that falls tells of a
    /// restored backup.
    pub incarnation: u64,
    /// The last payload number the hub received.
    pub last_received: u64,
    /// Whether the hub still knows the session. If not, numbers start again at 1 on both sides.
    pub resumed: bool,
}

/// How busy a site is, in buckets: exact counts would tell of other tenants and other work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bits needed to write the number of running attempts (0, 1, 2–3, 4–7, …).
    pub running_bucket: u8,
    /// Bits needed to write the number of waiting attempts.
    pub queued_bucket: u8,
    /// Attempts it is willing to run at once.
    pub slots: u16,
}

impl Load {
    /// Puts exact counts into buckets.
    pub fn from_counts(running: u64, queued: u64, slots: u16) -> Self {
        let bucket = |count: u64| (u64::BITS - count.leading_zeros()) as u8;
        Self { running_bucket: bucket(running), queued_bucket: bucket(queued), slots }
    }
}

/// Why a connection ended by word of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The side is going down in order; connect again later.
    Shutdown,
    /// A frame broke the protocol.
    Protocol,
    /// No protocol version is common to both.
    Version,
    /// The introduction names another site than the certificate.
    Site,
    /// A newer connection of the same site took over.
    Fenced,
    /// The node counted its connections backwards: restored from a backup, or cloned.
    EpochBackwards,
    /// The hub counted its starts backwards: restored from a backup.
    IncarnationBackwards,
    /// More payloads were on the way than the window allows.
    Window,
    /// Nothing was heard for [`super::SILENCE_US_MAX`].
    Silence,
    /// The certificate was revoked or has expired.
    Revoked,
}

impl CloseCode {
    /// Whether connecting again, unchanged, can succeed.
    pub fn may_reconnect(self) -> bool {
        match self {
            CloseCode::Shutdown | CloseCode::Protocol | CloseCode::Window | CloseCode::Silence => true,
            CloseCode::Version
            | CloseCode::Site
            | CloseCode::Fenced
            | CloseCode::EpochBackwards
            | CloseCode::IncarnationBackwards
            | CloseCode::Revoked => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_in_buckets() {
        let buckets: Vec<u8> = [0, 1, 2, 3, 4, 1000].map(|n| Load::from_counts(n, 0, 4).running_bucket).into();
        assert_eq!(buckets, [0, 1, 2, 2, 3, 10]);
    }
}
