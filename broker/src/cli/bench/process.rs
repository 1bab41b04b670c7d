//! What a process used while it was measured: CPU time, memory, bytes to and from the disk, as Linux counts them.
//!
//! Only the user of a process, and root, may read its counters.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::report::{as_f64, rounded};
use crate::cli::failure::Failure;

/// Linux tells the CPU time of processes in hundredths of a second (USER_HZ), on every machine that runs this.
const TICK: Duration = Duration::from_millis(10);

/// Whom to watch.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Watched {
    /// The process id of the broker, if it runs on this machine: its CPU time and peak memory are reported, with --json
    /// also what Linux accounts to it as read from and written to files
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
}

/// Counters of client and broker at the beginning of the window.
#[derive(Debug)]
pub(super) struct Watch {
    client: Option<Counters>,
    broker: Option<(Process, Counters)>,
}

impl Watched {
    /// Begins to watch.
    pub(super) fn begin(self) -> Result<Watch, Failure> {
        let broker = self.broker_pid.map(Process::of);
        if let Some(broker) = &broker {
            broker.reset_peak();
        }
        let counted = broker.map(|broker| broker.counters().map(|counters| (broker, counters)));
        Ok(Watch {
            // A system that does not count costs the client nothing but this line of the report.
            client: Process::own().counters().ok(),
            broker: counted.transpose()?,
        })
    }
}

impl Watch {
    /// What was used since the beginning, for so many bytes of batches.
    pub(super) fn end(self, batch_bytes: u64) -> Result<Used, Failure> {
        let client = self.client.and_then(|begun| {
            let now = Process::own().counters().ok()?;
            Some(now.cpu.saturating_sub(begun.cpu))
        });
        let broker = self.broker;
        let broker = broker.map(|(broker, begun)| broker.used_since(&begun, batch_bytes));
        Ok(Used {
            client_cpu_seconds: client.map(|cpu| rounded(cpu.as_secs_f64())),
            broker: broker.transpose()?,
        })
    }
}

/// What client and broker used in the window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Used {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) broker: Option<BrokerUsed>,
}

/// What the broker used in the window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BrokerUsed {
    pub(super) cpu_seconds: f64,
    /// For a billion bytes of batches; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds_per_gigabyte: Option<f64>,
    /// The most memory that was resident; since the process began where the system cannot forget an earlier peak.
    pub(super) memory_peak_bytes: u64,
    /// Bytes of files that it changed, as Linux accounts them: page by page, and on file systems with large folios far
    /// more than reaches the disk. What goes into sockets is not in it.
    pub(super) written_bytes: u64,
    /// Bytes that it caused to be read from disks.
    pub(super) read_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    cpu: Duration,
    written_bytes: u64,
    read_bytes: u64,
}

/// A process in the system's books.
#[derive(Clone, Debug)]
struct Process(PathBuf);

impl Process {
    fn own() -> Self {
        Self(PathBuf::from("/proc/self"))
    }

    fn of(id: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{id}")))
    }

    /// Lets the peak begin anew, where the system can do that.
    fn reset_peak(&self) {
        let _ = std::fs::write(self.0.join("clear_refs"), "5");
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.0.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            Failure::Data(format!(
                "{} cannot be read ({error}); --broker-pid wants a running process of this user, on Linux",
                path.display()
            ))
        })
    }

    fn counters(&self) -> Result<Counters, Failure> {
        let (stat, io) = (self.read("stat")?, self.read("io")?);
        let bytes = |name: &str| self.known("io", number_behind(&io, name));
        Ok(Counters {
            cpu: self.known("stat", cpu(&stat))?,
            written_bytes: bytes("write_bytes:")?,
            read_bytes: bytes("read_bytes:")?,
        })
    }

    fn used_since(&self, begun: &Counters, batch_bytes: u64) -> Result<BrokerUsed, Failure> {
        let now = self.counters()?;
        let cpu = now.cpu.saturating_sub(begun.cpu).as_secs_f64();
        let per_gigabyte = || rounded(cpu * 1e9 / as_f64(batch_bytes));
        Ok(BrokerUsed {
            cpu_seconds: rounded(cpu),
            cpu_seconds_per_gigabyte: (batch_bytes > 0).then(per_gigabyte),
            memory_peak_bytes: self.peak_bytes()?,
            written_bytes: now.written_bytes.saturating_sub(begun.written_bytes),
            read_bytes: now.read_bytes.saturating_sub(begun.read_bytes),
        })
    }

    fn peak_bytes(&self) -> Result<u64, Failure> {
        let status = self.read("status")?;
        let kilobytes = self.known("status", number_behind(&status, "VmHWM:"))?;
        Ok(kilobytes.saturating_mul(1024))
    }

    fn known<T>(&self, file: &str, found: Option<T>) -> Result<T, Failure> {
        let path = self.0.join(file);
        found.ok_or_else(|| {
            Failure::Data(format!(
                "{} does not say what Linux says there",
                path.display()
            ))
        })
    }
}

/// User and system time. The name of the process, the second word, may hold anything up to the last bracket.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut words = behind_name.split_whitespace().skip(11);
    let user: u32 = words.next()?.parse().ok()?;
    let system: u32 = words.next()?.parse().ok()?;
    Some(TICK * user.saturating_add(system))
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;
