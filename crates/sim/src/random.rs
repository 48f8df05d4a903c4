//! All that is random in a simulation: one generator, split by purpose.
//!
//! Each part (network, faults, workload, keys) draws from its own stream, so that a change in one
//! part leaves the others as they were.

use std::sync::{Mutex, PoisonError};
use tidegate_seams::Entropy;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults with.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed for one purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let hash = blake3::derive_key(purpose, &seed.to_le_bytes());
        let mut state = [0; 8];
        state.copy_from_slice(&hash[..8]);
        Self(u64::from_le_bytes(state))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound - 1`; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True this often in a hundred times.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len() as u64) as usize).copied()
    }
}

/// Seeded entropy for ids, salts, nonces and keys.
pub(crate) struct SimEntropy(Mutex<Random>);

impl SimEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(Random::new(seed, "tidegate sim entropy")))
    }

    /// Begins another seed's stream.
    pub(crate) fn reseed(&self, seed: u64, purpose: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Random::new(seed, purpose);
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
