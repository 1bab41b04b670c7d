//! Histories: several real clients write and read at once while the broker is killed and stopped; everything that they did and
//! saw is written down, and a checker looks for records that were lost, doubled, reordered, changed or invented, and for
//! offsets that move.
//!
//! The walk: `event` is the history, one event a line; `anomaly` lists what can be wrong with it; `checker` judges it. `plan` is what a
//! seed decides, `cast` who plays, `run` the play itself, `command` what people see of it.

mod anomaly;
mod cast;
mod chance;
mod checker;
mod command;
mod event;
mod plan;
mod run;

pub use command::{command, command_of_the_test};
