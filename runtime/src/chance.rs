//! Chance: random numbers for ids, salts and jitter, from the kernel or from a seed.

use std::fmt;

use parking_lot::Mutex;

/// Draws random numbers.
pub trait Chance: fmt::Debug + Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// 128 random bits, never zero: ids of topics, incarnations, directories.
    fn next_u128(&self) -> u128 {
        loop {
            let drawn = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
            if drawn != 0 {
                return drawn;
            }
        }
    }

    /// A number in `0..bound`; zero if `bound` is zero.
    fn below(&self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for every bound that is used here (jitter, picks).
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }
}

/// The kernel's randomness.
#[derive(Clone, Copy, Debug)]
pub struct OsChance;

impl Chance for OsChance {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(count) => filled += count,
                // Interrupted before any byte came: ask again.
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("the kernel gave no randomness: {error}"),
            }
        }
        u64::from_le_bytes(bytes)
    }
}

/// A reproducible stream of numbers (SplitMix64): the same seed gives the same stream.
#[derive(Debug)]
pub struct SeededChance {
    state: Mutex<u64>,
}

impl SeededChance {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(seed),
        }
    }
}

impl Chance for SeededChance {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
