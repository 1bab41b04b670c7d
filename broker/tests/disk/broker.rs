//! The broker as a process on a folder. It is killed when the value is dropped: no test leaves one behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// The longest wait for a line or an end; builds may run beside the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a process that wait to be read.
const LINES_WAITING_MAX: usize = 1024;

/// Small files and short intervals, so that a few hundred batches pass through every room: files are switched and
/// recycled, objects are written, manifests are committed.
pub(crate) const BUSY: &[&str] = &[
    "wal.file_bytes=4MiB",
    "wal.max_bytes=32MiB",
    "wal.pool_files=2",
    "log.flush_bytes=1MiB",
    "log.flush_interval=50ms",
    "log.checkpoint_manifests=20",
    "metadata.shards=4",
];

/// The broker could not start, or was ended while it did.
#[derive(Debug)]
pub(crate) struct EndedAtStart {
    pub(crate) status: ExitStatus,
    /// The end of what it logged.
    pub(crate) words: String,
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    pub(crate) port: u16,
}

impl Broker {
    /// Starts a broker on the folder `data`, with `settings`, below the command `under` (none: by itself). Logs go to
    /// the folder `scratch`.
    pub(crate) fn start(
        data: &Path,
        settings: &[&str],
        under: &[String],
        scratch: &Path,
    ) -> Result<Self, EndedAtStart> {
        let log = scratch.join("broker.log");
        let binary = env!("CARGO_BIN_EXE_streamhouse");
        let mut command = match under.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(["dev", "--port", "0", "--data"]).arg(data);
        command.args(["--set", "telemetry.metrics_address=none"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.current_dir(scratch);
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut broker = Self {
            child,
            lines,
            log,
            port: 0,
        };
        match broker.wait_for_port() {
            Some(port) => {
                broker.port = port;
                Ok(broker)
            }
            None => Err(EndedAtStart {
                status: broker.wait(),
                words: broker.last_words(),
            }),
        }
    }

    /// The port that it prints, or nothing if it ends before that.
    fn wait_for_port(&self) -> Option<u16> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((_, port)) = line.split_once("127.0.0.1:") {
                        return Some(port.parse().unwrap());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the broker did not get ready: {}", self.last_words())
                }
            }
        }
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the broker did not end: {}", self.last_words())
                }
            }
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Stops all its threads, each after the system call that it is in, as SIGSTOP does.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let stopped = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
        let (_, status) = stopped.unwrap();
        assert!(status.stopped(), "the broker ended instead: {status:?}");
    }

    /// Lets it go on after [`Broker::pause`].
    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Asks it to end; it must do so without an error.
    pub(crate) fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.last_words());
    }

    /// The last lines that it logged.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read beside the caller; the channel ends with the pipe.
pub(crate) fn read_lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    let work = move || send_lines(pipe, &sender);
    std::thread::Builder::new().spawn(work).unwrap();
    lines
}

fn send_lines(pipe: impl Read, lines: &SyncSender<String>) {
    for line in BufReader::new(pipe).lines() {
        let Ok(line) = line else { return };
        if lines.send(line).is_err() {
            return;
        }
    }
}
