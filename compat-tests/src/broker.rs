//! The broker as a user runs it: the `streamhouse` binary that was built beside this test, on a free port and a folder of its
//! own. It can be killed as by `kill -9` and started again on the same folder and port, so that clients find it again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{Process, Signal, tail};
use crate::wire;

/// From the start to the first answer. A start takes a fraction of a second; builds may run beside the test.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// From the signal to the exit.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// The address that the broker prints begins so: it listens on the loopback interface only.
const ADDRESS: &str = "127.0.0.1:";

/// What holds its data, in its folder.
const DATA: &str = "data";

/// A broker process and its folder.
#[derive(Debug)]
pub(crate) struct Broker {
    binary: PathBuf,
    folder: TempDir,
    settings: Vec<String>,
    process: Process,
    port: u16,
}

impl Broker {
    /// Starts a broker with these settings (`key=value`) on an empty folder and a free port, and waits until it answers.
    pub(crate) fn start(binary: &Path, settings: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let settings: Vec<String> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        let (process, port) = start(binary, folder.path(), 0, &settings)?;
        Ok(Self {
            binary: binary.to_path_buf(),
            folder,
            settings,
            process,
            port,
        })
    }

    /// `host:port` for `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("{ADDRESS}{}", self.port)
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends the process as `kill -9` does and starts it again on the same folder and port.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Ends the process as `kill -9` does, does something to its data, and starts it again.
    pub(crate) fn kill_and_meddle(
        &mut self,
        meddle: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.kill()?;
        meddle(&self.folder.path().join(DATA))?;
        self.start_again()
    }

    /// Asks the process to end, and starts it again when it has.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.end()?;
        self.start_again()
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    fn start_again(&mut self) -> Result<()> {
        let (process, port) = start(&self.binary, self.folder.path(), self.port, &self.settings)?;
        ensure!(
            port == self.port,
            "the broker came back on port {port}, not {}",
            self.port
        );
        self.process = process;
        Ok(())
    }

    /// Where the broker says that its metrics are; asked once after a start.
    pub(crate) fn metrics(&mut self) -> Result<String> {
        while let Some(line) = self.process.next_line(READY_DEADLINE)? {
            if let Some(port) = line.strip_suffix("/metrics").and_then(port_in) {
                return Ok(format!("{ADDRESS}{port}"));
            }
        }
        bail!(
            self.process
                .tale("ended before it told where its metrics are")
        )
    }

    /// How many bytes the process has read so far, from files and sockets; `None` where the system does not tell.
    pub(crate) fn bytes_read(&self) -> Option<u64> {
        let told = std::fs::read_to_string(format!("/proc/{}/io", self.process.id())).ok()?;
        told.lines()
            .find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
    }

    /// Asks the process to end; it must do so without an error.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP_DEADLINE)?;
        ensure!(
            status.success(),
            self.process
                .tale(&format!("ended with {status} when asked to stop"))
        );
        Ok(())
    }

    /// The last lines that the broker logged.
    pub(crate) fn last_words(&self) -> String {
        tail(&log(self.folder.path()))
    }
}

/// The binary of the same build: beside the folder of this test, or beside this program.
pub(crate) fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2);
    let mut binaries = beside.map(|folder| folder.join("streamhouse"));
    let found = binaries.find(|binary| binary.is_file());
    found.with_context(|| {
        format!(
            "no streamhouse beside {}; build it: cargo build -p streamhouse-broker",
            own.display()
        )
    })
}

fn start(binary: &Path, folder: &Path, port: u16, settings: &[String]) -> Result<(Process, u16)> {
    let mut command = Command::new(binary);
    command
        .args(["dev", "--port", &port.to_string(), "--data"])
        .arg(folder.join(DATA));
    for setting in settings {
        command.args(["--set", setting]);
    }
    // Settings of this test are none of the broker's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMHOUSE_") {
            command.env_remove(name);
        }
    }
    let mut process = Process::start("streamhouse", &mut command, &log(folder))?;
    loop {
        let Some(line) = process.next_line(READY_DEADLINE)? else {
            bail!(process.tale("ended before it was ready"));
        };
        if let Some(port) = port_in(&line) {
            wire::greet(&format!("{ADDRESS}{port}"))?;
            return Ok((process, port));
        }
    }
}

/// The port of the first address in a line.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(ADDRESS)?;
    let digits = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn log(folder: &Path) -> PathBuf {
    folder.join("broker.log")
}
