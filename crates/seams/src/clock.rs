//! Wall time for people and expiry, boot time for leases and durations.
//!
//! Wall time may jump; boot time only rises and dies with the boot. Both are read here alone.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
    /// Microseconds on a clock that never goes back while the machine is up.
    fn boot_us(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose boot time counts from now.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that reads the clock")]
    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn boot_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}
