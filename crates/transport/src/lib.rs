//! Getting cleared bytes from a node to the hub and back.
//!
//! Job: the wire schema, the certificates that name both ends, and the I/O of a session. The
//! decisions of a session — numbers, acknowledgements, what to do after a reconnect — are made in
//! `tidegate_domain::session`; [`peer`] carries them out.
//!
//! Not here: deciding what may leave (`gate`). Bytes get onto a connection in two ways only: as
//! a payload the gate cleared, unchanged, or as a control frame of a closed set without text
//! (invariant I1).

pub mod certs;
pub mod connect;
pub mod connection;
pub mod dial;
pub mod listen;
pub mod local;
pub mod message;
mod parcel;
pub mod peer;
mod rpc;
mod tls;
mod wire;

pub use parcel::Parcel;
pub use rpc::Recorder;
pub use tls::{Credentials, PeerIdentity};
pub use wire::WireError;

#[cfg(test)]
mod tests;
