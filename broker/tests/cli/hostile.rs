//! Clients that mean no good, or are merely broken, against the real binary: what they do costs the broker little
//! memory, and it costs those who behave nothing but time.
//!
//! Memory is what the process holds at its peak, as `/proc` has it. No time is asserted.

mod bombs;
mod crowd;
mod honest;
mod slow;
#[path = "../wire/connection.rs"]
mod wire;

use std::path::Path;

use crate::broker::Dev;

/// How much more the broker may hold while it is bothered, in bytes.
const GROWTH_MAX: u64 = 100_000_000;

/// Everybody here has one address.
const SETTINGS: &[&str] = &["listener.max_connections_per_ip=20000"];

/// A broker that is about to be bothered.
struct Bothered {
    dev: Dev,
    /// What it held before, in bytes.
    held: u64,
}

impl Bothered {
    fn start(data: &Path) -> Self {
        let dev = Dev::start_with(data, SETTINGS);
        Self { dev, held: 0 }
    }

    fn port(&self) -> u16 {
        self.dev.port().parse().unwrap()
    }

    /// From here on what the broker holds is watched.
    fn watch(&mut self) {
        // Forgets the highest size that there was. Where the system cannot, growth is judged too strictly.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.dev.id()), "5");
        self.held = self.status("VmRSS:").unwrap_or(0);
    }

    /// That the broker never held much more than at [`Bothered::watch`].
    fn expect_little_growth(&self, what: &str) {
        // A system without /proc/PID/status shows no memory; the rest of the test counts there too.
        let Some(peak) = self.status("VmHWM:") else {
            return;
        };
        let grown = peak.saturating_sub(self.held);
        say(&format!(
            "{what}: {} MB and then {} MB at most",
            self.held / 1_000_000,
            peak / 1_000_000
        ));
        assert!(grown <= GROWTH_MAX, "{what}: {} and {peak}", self.held);
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.dev.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib << 10)
    }
}

/// Says something beside the results of the tests.
fn say(line: &str) {
    use std::io::Write;
    // Nobody may be reading, which fails no test.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
