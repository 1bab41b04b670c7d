//! A member of a group that is a process of its own and writes one line per record: `kcat -G` and the console consumer.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::operation::Record;
use crate::process::Process;

/// For the next line, and for the process to leave the group when it is asked to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a line of such a process says.
#[derive(Debug)]
pub(super) enum Line {
    Record(Record),
    /// The member has this many partitions now.
    Assigned(usize),
    Other,
}

/// The process and what it has said so far.
#[derive(Debug)]
pub(super) struct GroupProcess {
    process: Process,
    read: fn(&str) -> Line,
    assigned: usize,
    waiting: Vec<Record>,
}

impl GroupProcess {
    pub(super) fn new(process: Process, read: fn(&str) -> Line) -> Self {
        Self {
            process,
            read,
            assigned: 0,
            waiting: Vec::new(),
        }
    }

    /// Waits until the member says that it has exactly this many partitions.
    pub(super) fn wait_for_partitions(&mut self, count: usize) -> Result<()> {
        while self.assigned != count {
            self.read_line(&format!("{count} partitions, it has {}", self.assigned))?;
        }
        Ok(())
    }

    /// The next records.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<Record>> {
        while self.waiting.len() < count {
            self.read_line(&format!("{count} records, it has {}", self.waiting.len()))?;
        }
        Ok(self.waiting.drain(..count).collect())
    }

    /// Ends the member as by Ctrl-C's cousin SIGTERM: it commits what it has shown and leaves the group.
    pub(super) fn leave(&mut self) -> Result<()> {
        let status = self.process.terminate(DEADLINE)?;
        // Some runtimes report the signal in their status although they ended in order.
        let is_signal = status.code().is_none_or(|code| code == 0 || code == 143);
        ensure!(is_signal, self.process.tale(&format!("left with {status}")));
        Ok(())
    }

    fn read_line(&mut self, awaited: &str) -> Result<()> {
        let Some(line) = self.process.next_line(DEADLINE)? else {
            bail!(self.process.tale(&format!("ended before it had {awaited}")));
        };
        match (self.read)(&line) {
            Line::Record(record) => self.waiting.push(record),
            Line::Assigned(count) => self.assigned = count,
            Line::Other => {}
        }
        Ok(())
    }
}
