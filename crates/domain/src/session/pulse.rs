//! Whether the other side is there, and how far away it is.
//!
//! Job: when to ping, when silence has lasted too long, and a smoothed round trip.
//!
//! Not here: leases. A silent peer is *away*, which says nothing about what it is doing.

use super::{PING_AFTER_US, RTT_REFRESH_US, SILENCE_US_MAX};

/// One question on its way.
#[derive(Clone, Copy)]
struct Asked {
    nonce: u64,
    at_us: u64,
    padding_bytes: u32,
}

/// What an answer told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Echo {
    RoundTrip { us: u64, smoothed_us: u64 },
    Probed { padding_bytes: u32, us: u64 },
}

pub(super) struct Pulse {
    heard_us: u64,
    pinged_us: u64,
    nonce: u64,
    ping: Option<Asked>,
    probe: Option<Asked>,
    smoothed_us: Option<u64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { heard_us: 0, pinged_us: 0, nonce: 0, ping: None, probe: None, smoothed_us: None }
    }

    /// A connection begins. What is known about the distance stays.
    pub(super) fn begin(&mut self, now_us: u64) {
        self.heard_us = now_us;
        self.pinged_us = now_us;
        self.ping = None;
        self.probe = None;
    }

    pub(super) fn heard(&mut self, now_us: u64) {
        self.heard_us = self.heard_us.max(now_us);
    }

    pub(super) fn smoothed_us(&self) -> Option<u64> {
        self.smoothed_us
    }

    pub(super) fn silent(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.heard_us) >= SILENCE_US_MAX
    }

    fn ping_due_us(&self) -> u64 {
        // After silence, to learn whether anybody is there; and now and then under traffic, to
        // keep the round trip fresh. Never more often than once per interval.
        let quiet = self.heard_us.max(self.pinged_us).saturating_add(PING_AFTER_US);
        quiet.min(self.pinged_us.saturating_add(RTT_REFRESH_US))
    }

    /// When [`Self::ping`] or [`Self::silent`] will next have something to say.
    pub(super) fn due_us(&self) -> u64 {
        self.ping_due_us().min(self.heard_us.saturating_add(SILENCE_US_MAX))
    }

    /// The nonce to ping with, if it is time.
    pub(super) fn ping(&mut self, now_us: u64) -> Option<u64> {
        (now_us >= self.ping_due_us()).then(|| self.ping_now(now_us))
    }

    pub(super) fn ping_now(&mut self, now_us: u64) -> u64 {
        self.nonce += 1;
        self.pinged_us = now_us;
        self.ping = Some(Asked { nonce: self.nonce, at_us: now_us, padding_bytes: 0 });
        self.nonce
    }

    pub(super) fn probe_now(&mut self, padding_bytes: u32, now_us: u64) -> u64 {
        self.nonce += 1;
        self.probe = Some(Asked { nonce: self.nonce, at_us: now_us, padding_bytes });
        self.nonce
    }

    /// Takes an answer; `None` if nobody asked that.
    pub(super) fn pong(&mut self, nonce: u64, now_us: u64) -> Option<Echo> {
        if let Some(ping) = self.ping.filter(|asked| asked.nonce == nonce) {
            self.ping = None;
            return Some(self.measured(now_us.saturating_sub(ping.at_us)));
        }
        let probe = self.probe.filter(|asked| asked.nonce == nonce)?;
        self.probe = None;
        Some(Echo::Probed { padding_bytes: probe.padding_bytes, us: now_us.saturating_sub(probe.at_us) })
    }

    /// Mixes in a measurement, weight 1/8 as in RFC 6298.
    pub(super) fn measured(&mut self, us: u64) -> Echo {
        let smoothed_us = self.smoothed_us.map_or(us, |old| (old.saturating_mul(7).saturating_add(us)) / 8);
        self.smoothed_us = Some(smoothed_us);
        Echo::RoundTrip { us, smoothed_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_is_smoothed_and_strange_answers_are_ignored() {
        let mut pulse = Pulse::new();
        let nonce = pulse.ping_now(1_000);
        assert_eq!(pulse.pong(nonce + 1, 1_500), None);
        assert_eq!(pulse.pong(nonce, 1_800), Some(Echo::RoundTrip { us: 800, smoothed_us: 800 }));
        assert_eq!(pulse.pong(nonce, 1_900), None);
        let nonce = pulse.ping_now(2_000);
        assert_eq!(pulse.pong(nonce, 3_600), Some(Echo::RoundTrip { us: 1_600, smoothed_us: 900 }));
        let nonce = pulse.probe_now(64, 4_000);
        assert_eq!(pulse.pong(nonce, 4_100), Some(Echo::Probed { padding_bytes: 64, us: 100 }));
    }
}
