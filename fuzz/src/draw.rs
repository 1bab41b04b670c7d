//! Drawing from a seeded stream: the same seed and number give the same choices everywhere.

use streamhouse_runtime::{Chance, SeededChance};

/// A stream of choices.
#[derive(Debug)]
pub struct Draw {
    chance: SeededChance,
}

impl Draw {
    /// The stream of input number `number` of the target `name` under `seed`.
    #[must_use]
    pub fn of(name: &str, seed: u64, number: u64) -> Self {
        let name = crc32c::crc32c(name.as_bytes());
        let stream = SeededChance::new(seed ^ (u64::from(name) << 32));
        Self::new(stream.next_u64() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            chance: SeededChance::new(seed),
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// A number in `0..bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.chance.below(bound)).expect("it is below a usize")
    }

    /// Whether one of `n` comes up.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }
}
