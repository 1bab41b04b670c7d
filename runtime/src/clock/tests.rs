//! The system's clock.

use std::time::Duration;

use super::{Clock, SystemClock};

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

#[test]
fn a_sleep_ends_when_the_monotonic_reading_has_reached_its_deadline() {
    let clock = SystemClock::new();
    for micros in [0, 1, 900, 5_300] {
        let deadline = clock.monotonic() + Duration::from_micros(micros);
        runtime().block_on(clock.sleep_until(deadline));
        assert!(clock.monotonic() >= deadline);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_time_in_which_the_machine_slept_counts() {
    // The first number is the time since boot, sleep included, in seconds.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let counted = super::since_boot().as_secs_f64();
    assert!(
        counted >= uptime && counted < uptime + 60.0,
        "{counted} is not {uptime}"
    );
}
