//! What a connection carries as payload: bytes the gate cleared, and nothing else.
//!
//! Job: the sealed trait that lets this room's own tests drive connections with plain bytes while
//! everyone else can only send [`Cleared`]. It is what makes "no other way to put bytes on the
//! wire" a matter of types (invariant I1).
//!
//! Not here: clearing.

use bytes::Bytes;
use tidegate_domain::ids::SiteId;
use tidegate_gate::Cleared;

/// Bytes that may be sent. Sealed: outside this room only [`Cleared`] is one.
pub trait Parcel: sealed::Sealed + Send + Sync + 'static {
    /// The final bytes.
    #[doc(hidden)]
    fn bytes(&self) -> &Bytes;
    /// Whether they may go to this site at this wall time.
    #[doc(hidden)]
    fn may_go(&self, site: SiteId, wall_ms: u64) -> bool;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for tidegate_gate::Cleared {}
    #[cfg(test)]
    impl Sealed for bytes::Bytes {}
}

impl Parcel for Cleared {
    fn bytes(&self) -> &Bytes {
        self.payload()
    }

    fn may_go(&self, site: SiteId, wall_ms: u64) -> bool {
        self.destination().site == site && self.is_fresh(wall_ms)
    }
}

#[cfg(test)]
impl Parcel for Bytes {
    fn bytes(&self) -> &Bytes {
        self
    }

    fn may_go(&self, _site: SiteId, _wall_ms: u64) -> bool {
        true
    }
}
