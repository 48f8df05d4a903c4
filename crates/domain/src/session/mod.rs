//! One side of a resumable, authenticated, ordered connection, as decisions without I/O.
//!
//! [`Session`] numbers what is sent, knows what has arrived and what is durable, notices silence,
//! and after a reconnect goes on where both sides were. It never sees a socket: the transport's
//! driver and the simulator feed it frames and time and carry out what it says.
//!
//! Not here: bytes, certificates, and what a payload means. Nor any retry of an *effect*: a
//! payload may be dispatched again after [`Output::Reset`], and the receiving side's inbox, by
//! attempt id, keeps that harmless.
//!
//! The promise, tested in `tests.rs` over lossy links: within one numbering every payload is
//! delivered exactly once and in order, and nothing is acknowledged before the owner called it
//! durable.

mod frame;
mod incoming;
mod machine;
mod outgoing;
mod pulse;
#[cfg(test)]
mod tests;

pub use frame::{
    Body, CloseCode, Control, Frame, Hello, Load, PROBE_PADDING_BYTES_MAX, SESSION_VERSION, SESSION_VERSION_MIN,
    Welcome,
};
pub use machine::{Output, SendError, Session};

use crate::ids::{SessionId, SiteId};
use crate::limits::SESSION_WINDOW_FRAMES;

/// Silence after which a ping is sent, in microseconds.
pub const PING_AFTER_US: u64 = 5_000_000;
/// Silence after which the other side counts as away, in microseconds.
pub const SILENCE_US_MAX: u64 = 15_000_000;
/// Under steady traffic the round trip is measured this often, in microseconds.
pub const RTT_REFRESH_US: u64 = 30_000_000;
/// How long an acknowledgement waits for a frame to ride on, in microseconds.
pub const ACK_DELAY_US: u64 = 20_000;
/// How many payloads one acknowledgement may stay behind before it travels alone at once.
pub const ACK_EVERY_FRAMES: u64 = 64;

/// Which side this is, with what it knows from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that connects.
    Node {
        /// Who this is.
        site: SiteId,
        /// Minted at each start of the node.
        session: SessionId,
        /// The number of the last connection this site made, ever. The owner keeps it (a
        /// high-water mark of wall milliseconds will do); numbers rise from here.
        epoch_last: u64,
        /// The highest [`Welcome::incarnation`] this site has seen, zero if none.
        incarnation_seen: u64,
    },
    /// The side that is connected to; one machine for each site it serves.
    Hub {
        /// Whom this machine serves.
        site: SiteId,
        /// A number that rises with each start of the hub and is kept in its database.
        incarnation: u64,
        /// The highest connection number this site has used, zero if unknown.
        epoch_seen: u64,
    },
}

/// What a session may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payloads on the way in one direction. Both sides must agree; it is part of the protocol.
    pub window_frames: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window_frames: SESSION_WINDOW_FRAMES as u64 }
    }
}
