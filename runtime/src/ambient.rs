//! The bundle that every room is built with.

use std::sync::Arc;

use crate::{Chance, Clock, OsChance, SystemClock, Tasks};

/// Clock, chance and tasks of one broker process (or of one simulated broker).
#[derive(Clone, Debug)]
pub struct Ambient {
    /// Tells the time and wakes sleepers.
    pub clock: Arc<dyn Clock>,
    /// Draws random numbers.
    pub chance: Arc<dyn Chance>,
    /// Runs and supervises tasks; holds the shutdown signal.
    pub tasks: Tasks,
}

impl Ambient {
    /// The real world: the system's clocks, the kernel's randomness, tasks on the current tokio runtime.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            chance: Arc::new(OsChance),
            tasks: Tasks::new(),
        }
    }
}
