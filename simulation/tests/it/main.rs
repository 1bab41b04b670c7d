//! The simulation in the test command: a thousand worlds, the same worlds twice, and (with `planted-bugs`) every planted
//! bug.

#[cfg(feature = "planted-bugs")]
mod bugs;
mod worlds;

/// Prints a report, also when all is well: which places were deadly, how often, and what nobody could know.
#[expect(
    clippy::print_stdout,
    reason = "a run shows what it covered, not only that nothing was wrong"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Multiplies the number of worlds.
pub(crate) fn scale() -> u64 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Worlds at once.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
