//! Real mTLS over loopback: what works, what is refused, and what survives cuts.

mod cuts;
mod doors;
mod rig;
mod stream;
