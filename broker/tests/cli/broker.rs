//! A broker in a process of its own, and commands against it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The binary, with nothing of the environment that could set it.
pub(crate) fn streamhouse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    streamhouse(arguments).output().unwrap()
}

/// What a command wrote to standard output, which must have ended well.
pub(crate) fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command complained about, which must have ended with this code.
pub(crate) fn complained(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// A running `streamhouse dev`; killed when dropped.
pub(crate) struct Dev {
    child: Child,
    /// What it said when it was ready.
    pub(crate) banner: String,
    /// Where clients connect.
    pub(crate) bootstrap: String,
}

impl Dev {
    /// Starts a broker on a free port and waits until it serves.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// As [`Dev::start`], with settings of its own.
    pub(crate) fn start_with(data: &Path, settings: &[&str]) -> Self {
        Self::start_saying(data, settings, Stdio::null())
    }

    /// As [`Dev::start_with`], with log lines to a file.
    pub(crate) fn start_logging(data: &Path, settings: &[&str], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self::start_saying(data, settings, log.into())
    }

    fn start_saying(data: &Path, settings: &[&str], log: Stdio) -> Self {
        let data = data.to_str().unwrap();
        let mut child = streamhouse(&["dev", "--port", "0", "--data", data])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            banner.push_str(&line);
            banner.push('\n');
            if line.trim_start().starts_with("Stop") {
                break;
            }
        }
        let bootstrap = banner
            .lines()
            .find_map(|line| line.trim().strip_prefix("Kafka"));
        let bootstrap = bootstrap.unwrap_or_else(|| panic!("the broker did not start: {banner}"));
        Self {
            bootstrap: bootstrap.trim().to_owned(),
            child,
            banner,
        }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The port of [`Dev::bootstrap`].
    pub(crate) fn port(&self) -> &str {
        self.bootstrap.rsplit_once(':').unwrap().1
    }

    /// Runs a tool against this broker.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        self.fed(arguments, "")
    }

    /// Runs a tool against this broker with this standard input.
    pub(crate) fn fed(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = streamhouse(arguments)
            .args(["-b", &self.bootstrap])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // Beside the output, so that neither pipe fills up and holds the other one.
        let feed = std::thread::Builder::new().spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // A tool that refuses its arguments reads no input; its exit code tells.
        let _ = feed.unwrap().join().unwrap();
        output
    }

    /// Ends the broker as a power cut would end its process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the broker to stop and gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
