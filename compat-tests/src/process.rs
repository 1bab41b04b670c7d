//! A child process whose output is read line by line, with a deadline on every wait. Its errors go to a file, which is shown
//! when something fails. The process is killed when the value is dropped: no test leaves one behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};

pub(crate) use rustix::process::Signal;

/// Lines that wait to be read; a process that writes more waits on its pipe.
const LINES_WAITING_MAX: usize = 1024;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    log: PathBuf,
}

impl Process {
    /// Starts a command. What it writes as errors goes to `log`, behind what is there.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let errors = File::options().create(true).append(true).open(log)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a piped output")?;
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        spawn(move || send_lines(stdout, &sender))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            log: log.to_path_buf(),
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub(crate) fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the input is closed")?;
        let written = stdin
            .write_all(line.as_bytes())
            .and_then(|()| stdin.write_all(b"\n"));
        written
            .and_then(|()| stdin.flush())
            .with_context(|| self.tale("no longer reads"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| self.tale("cannot be signalled"))
    }

    /// Hands every line of its output to `sink`, until that says no or the output ends; nothing is left for `next_line`.
    pub(crate) fn send_lines_to(
        &mut self,
        mut sink: impl FnMut(Option<String>) -> bool + Send + 'static,
    ) -> Result<()> {
        let (_, none) = sync_channel(0);
        let lines = std::mem::replace(&mut self.lines, none);
        spawn(move || {
            for line in lines {
                if !sink(Some(text(&line))) {
                    return;
                }
            }
            sink(None);
        })
    }

    /// Closes its input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next line of its output, without the line end; `None` after the last one.
    pub(crate) fn next_line(&mut self, deadline: Duration) -> Result<Option<String>> {
        let line = self.next_bytes(deadline)?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).into_owned()))
    }

    /// The next line as bytes.
    pub(crate) fn next_bytes(&mut self, deadline: Duration) -> Result<Option<Vec<u8>>> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!(self.tale(&format!("wrote no line within {} s", deadline.as_secs())))
            }
        }
    }

    /// Waits until it ends by itself, throwing away what it still writes.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.close_input();
        while self.next_bytes(deadline)?.is_some() {}
        // Its output is closed, so it is ending.
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        // A process that has ended already cannot be signalled, which is as good.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.wait(deadline)
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A sentence about this process, with the end of its log.
    pub(crate) fn tale(&self, what: &str) -> String {
        format!("{} {what}{}", self.name, tail(&self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a child that cannot be killed.
        let _ = self.kill();
    }
}

/// Runs a command to its end with bytes on its input, within a deadline; what it left.
pub(crate) fn output(
    name: &str,
    command: &mut Command,
    input: &[u8],
    deadline: Duration,
) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut stdin = child.stdin.take().context("a piped input")?;
    let stdout = child.stdout.take().context("a piped output")?;
    let stderr = child.stderr.take().context("a piped error output")?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A process that ends early closes its input; its status tells.
            let _ = stdin.write_all(input);
        });
        let errors = scope.spawn(move || read_all(stderr));
        let (sender, answer) = sync_channel(1);
        scope.spawn(move || sender.send(read_all(stdout)));
        let Ok(stdout) = answer.recv_timeout(deadline) else {
            // It may have ended just now.
            let _ = child.kill();
            child.wait()?;
            let errors = errors.join().unwrap_or_default();
            bail!(
                "{name} did not end within {} s: {}",
                deadline.as_secs(),
                text(&errors).trim()
            );
        };
        let status = child.wait()?;
        Ok(Output {
            status,
            stdout,
            stderr: text(&errors.join().unwrap_or_default()),
        })
    })
}

/// Everything until the end of a pipe; what was read before an error is kept.
fn read_all(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs work beside the caller; it ends when its pipe or socket does.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new().spawn(work)?;
    Ok(())
}

/// The last lines of a log, indented; empty where there are none.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read(log)
        .map(|bytes| text(&bytes))
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES)..];
    shown.iter().map(|line| format!("\n    | {line}")).collect()
}

fn send_lines(stdout: impl Read, lines: &SyncSender<Vec<u8>>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if lines.send(line).is_err() {
            return;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
