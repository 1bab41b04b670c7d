//! Clusters of real processes: three brokers over a real PostgreSQL and an S3 server over TCP, under producers, a reader
//! and a group, while brokers are killed and stopped, answers of the database and the bucket are lost, either is down, or
//! another database server takes over without the last commits.
//!
//! What must hold is in [`ledger`] (what clients were told, and what is read back) and in [`audit`] (what the database and
//! the bucket say of each other). `STREAMHOUSE_TEST_SCALE` multiplies the number of faults and the length of outages.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod audit;
mod broker;
mod client;
mod cluster;
mod group;
mod ledger;
mod load;
mod wait;
#[path = "../wire/connection.rs"]
mod wire;

mod agreement;
mod bucket;
mod database;
mod deaths;
mod failover;
mod outages;
mod page;
mod refusals;

/// `base` faults, times the variable `STREAMHOUSE_TEST_SCALE`.
fn scaled(base: usize) -> usize {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    base * scale.and_then(|text| text.parse().ok()).unwrap_or(1usize)
}

/// How long an outage lasts: 20 seconds times `STREAMHOUSE_TEST_SCALE`, at most 5 minutes.
fn outage() -> std::time::Duration {
    let seconds = scaled(20).min(300);
    std::time::Duration::from_secs(seconds.try_into().unwrap())
}

/// Says something beside the results of the tests.
fn say(line: &str) {
    use std::io::Write;
    // Nobody may be reading, which fails no test.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
