//! Planted bugs: places in the code that do the wrong thing when a test asks for it, so that the checks which should
//! notice can be seen to notice.
//!
//! Without the feature `planted-bugs` the question is answered with a constant `false`, and nothing of a bug is
//! compiled. The lists of all bugs, each with what must notice, are in `simulation/src/bugs.rs`, `fuzz/src/bugs.rs`
//! and `metadata/src/postgres/tests/bugs.rs`.

#[cfg(feature = "planted-bugs")]
use std::cell::{Cell, RefCell};
#[cfg(feature = "planted-bugs")]
use std::collections::BTreeMap;

/// Stands in every binary that could misbehave on purpose, so that a release can be searched for it.
#[cfg(feature = "planted-bugs")]
pub const MARKER: &str = "streamhouse: this binary holds planted bugs";

#[cfg(feature = "planted-bugs")]
thread_local! {
    static SWITCHED_ON: Cell<Option<&'static str>> = const { Cell::new(None) };
    static PASSED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether the bug `name` is switched on for this thread.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn bug(_name: &'static str) -> bool {
    false
}

/// Whether the bug `name` is switched on for this thread.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn bug(name: &'static str) -> bool {
    let is_on = SWITCHED_ON.get() == Some(name);
    if is_on {
        PASSED.with_borrow_mut(|passed| *passed.entry(name).or_default() += 1);
    }
    is_on
}

/// Switches one bug on for this thread, and every other one off.
#[cfg(feature = "planted-bugs")]
pub fn switch_on(name: Option<&'static str>) {
    // A use that no optimiser removes, so that the marker stands in the binary.
    std::hint::black_box(MARKER);
    SWITCHED_ON.set(name);
}

/// How often this thread passed the place of a bug while it was switched on.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn passed(name: &'static str) -> u64 {
    PASSED.with_borrow(|passed| passed.get(name).copied().unwrap_or(0))
}
