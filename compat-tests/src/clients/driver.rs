//! A client library behind a driver program: one operation per line in, one answer per line out.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Session;
use crate::operation::{Answer, Record, Reply, Request};
use crate::process::Process;

/// The longest operation is to read the whole data set on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A driver program that runs.
#[derive(Debug)]
pub(super) struct Driver {
    process: Process,
    sends: fn(&Record) -> bool,
}

impl Driver {
    /// Starts a driver. The command is complete but for the address, which is its last argument.
    pub(super) fn start(
        name: &str,
        command: &mut Command,
        bootstrap: &str,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join("driver.log");
        let process = Process::start(
            &format!("the driver of {name}"),
            command.arg(bootstrap),
            &log,
        )?;
        Ok(Self {
            process,
            sends: |_| true,
        })
    }

    /// The same for a library that has no way to send some records.
    pub(super) fn sending(self, sends: fn(&Record) -> bool) -> Self {
        Self { sends, ..self }
    }
}

impl Session for Driver {
    fn perform(&mut self, request: &Request) -> Result<Answer> {
        self.process.write_line(&serde_json::to_string(request)?)?;
        let Some(line) = self.process.next_line(DEADLINE)? else {
            bail!(self.process.tale("ended without an answer"));
        };
        let reply = serde_json::from_str(&line);
        match reply.with_context(|| self.process.tale(&format!("answered {line:.200}")))? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Refusal(refusal) => Err(refusal.into()),
        }
    }

    fn can_send(&self, record: &Record) -> bool {
        (self.sends)(record)
    }
}
