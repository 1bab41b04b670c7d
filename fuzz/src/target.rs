//! What a target is: where its inputs begin, what must hold for every one of them, and what one may cost.

use crate::draw::Draw;

/// What a reader made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took the bytes for what they claim to be; everything that must hold of them was looked at.
    Accepted,
    /// It refused them.
    Refused,
}

/// Memory that one execution may take at its peak, and in all, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// For every byte of the input.
    pub per_byte: u64,
    /// Whatever the input.
    pub free: u64,
}

impl Memory {
    /// What an input of `length` bytes may take at its peak.
    #[must_use]
    pub fn of(self, length: usize) -> u64 {
        u64::try_from(length)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.per_byte)
            .saturating_add(self.free)
    }
}

/// Something that reads bytes of strangers.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its folder of regressions.
    pub name: &'static str,
    /// What it reads, in a few words.
    pub reads: &'static str,
    /// Executions of a default run.
    pub executions: u64,
    /// The longest input, in bytes.
    pub length_max: usize,
    /// The most memory that one execution may take.
    pub memory: Memory,
    /// Words that inputs are made of, for targets that read text.
    pub words: &'static [&'static str],
    /// Sound inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes checksums (and lengths that a checksum depends on) true again in most bent inputs.
    pub repair: Option<fn(&mut [u8], &mut Draw)>,
    /// Reads the input and panics if something does not hold.
    pub check: fn(&[u8]) -> Verdict,
}
