//! The chance of a world: one reproducible stream, begun anew at every operation.
//!
//! Because each operation has a stream of its own, leaving one out of a history does not change what the others draw.
//! That is what makes a failing history shrink.

use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::Chance;

/// Draws for everything in one world.
#[derive(Debug)]
pub struct WorldChance {
    seed: u64,
    state: Mutex<u64>,
}

impl WorldChance {
    /// The chance of the world `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let chance = Self {
            seed,
            state: Mutex::new(0),
        };
        chance.begin(u64::MAX);
        chance
    }

    /// Begins the stream of operation `number`.
    pub fn begin(&self, number: u64) {
        *self.state.lock() = mix(self.seed ^ mix(number));
    }

    /// An index into something of `len` elements; zero if there are none.
    pub fn place(&self, len: usize) -> usize {
        if len <= 1 {
            return 0;
        }
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Whether something happens that does so `per_mille` of a thousand times.
    pub fn hits(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    /// A time between two bounds, in microseconds.
    pub fn micros(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to.saturating_sub(from).max(1)))
    }
}

impl Chance for WorldChance {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }
}

/// SplitMix64's finish: every bit of the result depends on every bit of `from`.
#[must_use]
pub fn mix(from: u64) -> u64 {
    let mut mixed = from;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
