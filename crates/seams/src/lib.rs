//! Where the program touches the world: clocks, entropy, the disk's head files, processes.
//!
//! Everything above takes these as values, so that the simulator can replace them; lints ban the
//! direct calls elsewhere. Timers are `tokio::time`, which the simulator pauses and drives.
//!
//! Not here: sockets of the session (`transport` owns TLS and gRPC) and SQLite's own files
//! (`store`).

pub mod clock;
pub mod entropy;
pub mod files;
pub mod lock;
pub mod process;
pub mod sandbox;
pub mod sealing;

pub use clock::{Clock, SystemClock};
pub use entropy::{Entropy, SystemEntropy};
pub use sealing::SealingKey;

use std::sync::Arc;

/// The seams a room is built with.
#[derive(Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Seams {
    /// The machine's own clock and entropy.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy) }
    }
}
