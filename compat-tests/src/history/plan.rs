//! What a seed decides: what each producer sends, and what the nemesis does after how many acknowledgements.

use super::chance::Chance;
use super::event::Fault;

/// Partitions of the topic.
pub(super) const PARTITIONS: usize = 4;

/// The longest value.
const VALUE_BYTES_MAX: u64 = 100 << 10;

/// Answers to Produce that are lost before some of the kills: what is sent again after it was written before.
const LOST_ANSWERS: u32 = 4;

/// A stop shorter than the clients' request timeout of 3 s.
const SHORT_STOP_MS: (u32, u64) = (200, 1_500);

/// A stop longer than that.
const LONG_STOP_MS: (u32, u64) = (4_000, 2_500);

/// A record to be sent, as the programs are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) partition: usize,
    pub(super) bytes: u64,
    /// `v`: a value that names the record; `k`: a key that does, and a value of any length; `n`: the same with a null value;
    /// `h`: an empty key and headers.
    pub(super) kind: char,
}

/// How much, and what goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Records that are sent in all.
    pub(super) operations: u64,
    pub(super) faults: u64,
    /// The folder of the broker is set back to an earlier copy once: the checker must notice.
    pub(super) rewinds: bool,
}

impl Plan {
    /// A stream of numbers for a part of the run.
    pub(super) fn chance(&self, part: u64) -> Chance {
        Chance::new(self.seed ^ part.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// What the nemesis does, each with the count of acknowledgements at which it does it, in their order.
    pub(super) fn faults(&self) -> Vec<(u64, Fault)> {
        if self.rewinds {
            let third = self.operations / 3;
            return vec![(third, Fault::Kill), (2 * third, Fault::Rewind)];
        }
        let mut chance = self.chance(0);
        // One in each part of the run, so that what goes wrong has time to show.
        let part = self.operations * 9 / 10 / self.faults.max(1);
        let faults = (0..self.faults).map(|index| {
            let at = part * index + self.operations / 20 + chance.below(part);
            (at.min(self.operations * 19 / 20), fault(&mut chance, index))
        });
        faults.collect()
    }
}

/// Kills most of all; the first ones are one of each kind.
fn fault(chance: &mut Chance, index: u64) -> Fault {
    let draw = match index {
        0 => 0,
        1 => 30,
        2 => 60,
        3 => 80,
        4 => 90,
        _ => chance.below(100),
    };
    let mut stop = |(least, more): (u32, u64)| {
        let more = u32::try_from(chance.below(more)).unwrap_or(0);
        Fault::Stop(least + more)
    };
    match draw {
        0..30 => Fault::Kill,
        30..60 => Fault::Lose(LOST_ANSWERS),
        60..80 => stop(SHORT_STOP_MS),
        80..90 => stop(LONG_STOP_MS),
        _ => Fault::Restart,
    }
}

impl Shape {
    /// The next record of a producer.
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let partition = chance.index(PARTITIONS);
        let bytes = match chance.below(100) {
            0..10 => 0,
            10..80 => chance.below(300),
            80..98 => chance.below(5_000),
            _ => chance.below(VALUE_BYTES_MAX),
        };
        let kind = match chance.below(20) {
            0..12 => 'v',
            12..15 => 'k',
            15 => 'n',
            _ => 'h',
        };
        Self {
            partition,
            bytes,
            kind,
        }
    }
}

#[cfg(test)]
mod tests;
