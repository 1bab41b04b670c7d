//! The ambient world, so that it can be replaced: time, chance, tasks.
//!
//! Nothing outside this crate reads a clock, draws a random number or starts a task; `clippy.toml` bans the calls. A
//! room receives one [`Ambient`] and takes what it needs from it.

pub mod ambient;
pub mod chance;
pub mod clock;
pub mod planted;
pub mod tasks;

pub use ambient::Ambient;
pub use chance::{Chance, OsChance, SeededChance};
pub use clock::{Clock, ManualClock, Monotonic, SystemClock, deadline};
pub use tasks::{Running, Scheduler, TaskStopped, Tasks};
