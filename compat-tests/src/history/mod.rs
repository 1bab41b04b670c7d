//! Histories: several real clients write and read at once while the broker is killed and stopped; everything that they did and
//! saw is written down, and a checker looks for records that were lost, doubled, reordered, changed or invented, and for
//! offsets that move.

mod anomaly;
mod chance;
mod checker;
mod event;
