//! What every part of a simulation shares: the clock, the trace, and the ledger that the checks
//! read.
//!
//! The ledger sees two things that no site can touch: what each disk made durable (`disk`) and
//! what each line took from a sender (`network`).

use crate::checks;
use crate::random::SimEntropy;
use crate::{Broken, FaultKind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_domain::ids::AttemptId;
use tidegate_seams::{Clock, Seams};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Wall time at the start of every simulation: 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// One of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Device,
    Hub,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Side::Device => "device",
            Side::Hub => "hub",
        }
    }
}

/// Tokio's paused clock behind the seam.
struct SimClock {
    start: Instant,
    /// How far this site's wall clock is ahead of the simulation's, in milliseconds.
    ahead_ms: u64,
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.ahead_ms + now().duration_since(self.start).as_millis() as u64
    }

    fn boot_us(&self) -> u64 {
        now().duration_since(self.start).as_micros() as u64
    }
}

/// The simulation's time.
#[expect(clippy::disallowed_methods, reason = "this is the seam that stands in for the clock; time is paused")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What was seen of one simulation.
#[derive(Default)]
pub(crate) struct Ledger {
    trace: blake3::Hasher,
    pub(crate) faults: BTreeMap<FaultKind, u64>,
    pub(crate) violations: Vec<String>,
    pub(crate) frames: u64,
    pub(crate) payloads: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) commits: u64,
    /// Durable intents by side and digest.
    pub(crate) intents: BTreeMap<(Side, [u8; 32]), u64>,
    /// Payload frames that a line took, by side and digest.
    pub(crate) sent: BTreeMap<(Side, [u8; 32]), u64>,
    /// How often the hub executed an attempt.
    pub(crate) executed: BTreeMap<AttemptId, u64>,
    /// Outcomes that the hub made durable, by attempt.
    pub(crate) recorded: BTreeMap<AttemptId, Vec<[u8; 32]>>,
    /// Outcomes that the hub sent, by attempt.
    pub(crate) answered: BTreeMap<AttemptId, [u8; 32]>,
}

/// Shared by all tasks of one simulation.
pub(crate) struct World {
    start: Instant,
    pub(crate) seed: u64,
    pub(crate) broken: Option<Broken>,
    entropy: Arc<SimEntropy>,
    hub_ahead_ms: u64,
    /// What must never be on a line.
    pub(crate) canaries: Vec<Vec<u8>>,
    /// Something was written or sent: a good moment for a fault.
    pub(crate) activity: Notify,
    ledger: Mutex<Ledger>,
}

impl World {
    /// A world whose time begins now. Must be called within the simulation's runtime.
    pub(crate) fn new(seed: u64, broken: Option<Broken>, hub_ahead_ms: u64, canaries: Vec<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self {
            start: now(),
            seed,
            broken,
            entropy: Arc::new(SimEntropy::new(seed)),
            hub_ahead_ms,
            canaries,
            activity: Notify::new(),
            ledger: Mutex::default(),
        })
    }

    /// Clock and entropy of a site.
    pub(crate) fn seams(&self, side: Side) -> Seams {
        let ahead_ms = if side == Side::Hub { self.hub_ahead_ms } else { 0 };
        Seams { clock: Arc::new(SimClock { start: self.start, ahead_ms }), entropy: self.entropy.clone() }
    }

    /// Virtual time since the start.
    pub(crate) fn elapsed_us(&self) -> u64 {
        now().duration_since(self.start).as_micros() as u64
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event to the trace.
    pub(crate) fn trace(&self, what: &str, bytes: &[u8]) {
        let mut ledger = self.ledger();
        ledger.trace.update(&self.elapsed_us().to_le_bytes());
        ledger.trace.update(what.as_bytes());
        ledger.trace.update(&(bytes.len() as u64).to_le_bytes());
        ledger.trace.update(bytes);
    }

    /// The trace so far, as a hash.
    pub(crate) fn trace_hash(&self) -> String {
        self.ledger().trace.finalize().to_hex().to_string()
    }

    /// Counts a fault that was done.
    pub(crate) fn fault(&self, kind: FaultKind) {
        self.trace("fault", kind.as_str().as_bytes());
        *self.ledger().faults.entry(kind).or_default() += 1;
    }

    /// A promise was broken.
    pub(crate) fn violation(&self, what: String) {
        let at_s = self.elapsed_us() as f64 / 1e6;
        self.ledger().violations.push(format!("at {at_s:.3} s: {what}"));
    }

    /// A line took this frame from a sender: from here on it has left.
    pub(crate) fn on_the_wire(&self, from: Side, frame: &Bytes) {
        self.trace(from.as_str(), frame);
        {
            let mut ledger = self.ledger();
            ledger.frames += 1;
            ledger.wire_bytes += frame.len() as u64;
        }
        checks::no_canary(self, from, frame);
        match crate::frame::payload(frame) {
            Ok(Some(payload)) => {
                self.ledger().payloads += 1;
                self.activity.notify_waiters();
                checks::payload_is_audited(self, from, &payload);
                checks::labels_are_cleared(self, from, &payload);
                checks::one_answer(self, from, &payload);
            }
            Ok(None) => {}
            Err(()) => self.violation(format!("a frame of the {} cannot be read", from.as_str())),
        }
    }
}
