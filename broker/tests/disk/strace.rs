//! Faults at the n-th system call, by `strace -e inject`. It counts the calls of each thread by itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use streamhouse_runtime::{Clock, SystemClock};

use crate::broker::{Broker, PATIENCE, read_lines};

/// The command below which a process suffers `fault` (`error=EIO`, `signal=KILL`, `retval=0`, with `:when=`) at
/// `calls`, in all its threads, from its start. The tracer is the grandchild, so that the process is our own child.
/// Every call stops at the tracer: with `--seccomp-bpf`, which would be faster, strace 6.1 sends no signals.
pub(crate) fn around(calls: &str, fault: &str, scratch: &Path) -> Vec<String> {
    let log = scratch.join("strace.log").display().to_string();
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:{fault}");
    ["strace", "-D", "-f", "-qq", "-o", &log]
        .into_iter()
        .chain(["-e", &trace, "-e", &inject])
        .map(str::to_owned)
        .collect()
}

/// A tracer of one thread of a running broker.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
}

impl Tracer {
    /// From now on `fault` happens at `calls` of the thread with this name.
    pub(crate) fn attach(
        broker: &Broker,
        thread: &str,
        calls: &str,
        fault: &str,
        scratch: &Path,
    ) -> Self {
        let mut child = Command::new("strace")
            .args(["-y", "-s", "4096", "-p", &thread_id(broker, thread), "-o"])
            .arg(scratch.join("strace.log"))
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{fault}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stderr.take().unwrap());
        let tracer = Self { child };
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.ends_with("attached"), "strace says {line:?}");
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It ended with the broker, or it ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The calls that the last fault made fail, as strace writes them, with the names of their files.
pub(crate) fn struck(scratch: &Path) -> Vec<String> {
    let log = std::fs::read(scratch.join("strace.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines()
        .filter(|line| line.contains("(INJECTED)"))
        .map(str::to_owned)
        .collect()
}

/// The id of a thread. A thread that was started a moment ago may not have given itself its name yet.
fn thread_id(broker: &Broker, name: &str) -> String {
    let tasks = format!("/proc/{}/task", broker.pid().as_raw_nonzero());
    let is_named = |path: &Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let clock = SystemClock::new();
    while clock.monotonic().0 < PATIENCE {
        let mut threads = std::fs::read_dir(&tasks).unwrap().flatten();
        if let Some(thread) = threads.find(|thread| is_named(&thread.path())) {
            return thread.file_name().into_string().unwrap();
        }
        std::thread::yield_now();
    }
    panic!("the broker has no thread {name}: {}", broker.last_words())
}
