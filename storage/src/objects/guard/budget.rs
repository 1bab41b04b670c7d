//! How many requests may be repeated: about one for every five that succeeded, so that a store in trouble is not given
//! more to do by those who want an answer from it.
//!
//! First attempts are always free. What is left over is kept, up to a bound, for the next bad minute.

/// A repetition costs what this many successes earn.
const COST: u32 = 5;
/// Enough for a hundred repetitions: what a broker has at its start, and never more.
const CREDITS_MAX: u32 = 100 * COST;

/// The repetitions that one class of requests can still afford.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    credits: u32,
}

impl Budget {
    pub(super) fn full() -> Self {
        Self {
            credits: CREDITS_MAX,
        }
    }

    /// A request succeeded.
    pub(super) fn earn(&mut self) {
        self.credits = (self.credits + 1).min(CREDITS_MAX);
    }

    /// Pays for one repetition; false if there is not enough left.
    pub(super) fn pay(&mut self) -> bool {
        let left = self.credits.checked_sub(COST);
        if let Some(left) = left {
            self.credits = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests;
