//! What a producer was promised, held against real faults of real disks: power cuts, `kill -9` at the n-th system call,
//! errors of reads, writes and syncs, disks that are full, that fail once and then lie, and that lie only.
//!
//! Every test runs the `streamhouse` binary on a folder of its own, lets an idempotent and a plain producer write with
//! acks=all, breaks something, starts the binary again and reads everything back. What must hold is in [`history`].
//!
//! Needs root, loop devices, mkfs.ext4, strace and perl (one ioctl that no safe function wraps).
//! `STREAMHOUSE_TEST_SCALE` multiplies the number of faults.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod broker;
mod capabilities;
mod disk;
mod history;
mod ledger;
mod load;
mod strace;
#[path = "../wire/connection.rs"]
mod wire;

mod errors;
mod full;
mod kills;
mod lies;
mod power;

/// `base` faults, times the variable `STREAMHOUSE_TEST_SCALE`.
fn scaled(base: u64) -> u64 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE");
    base * scale
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1u64)
}

/// Says something beside the results of the tests.
fn say(line: &str) {
    use std::io::Write;
    // Nobody may be reading, which fails no test.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
