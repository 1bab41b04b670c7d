//! One `streamhouse serve` as a process of a cluster. It is killed when the value is dropped: no test leaves one behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::wait::{PATIENCE, now, pause, since, until};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) node: i32,
    /// For Kafka clients; 0: any.
    pub(crate) port: u16,
    pub(crate) settings: Vec<String>,
    pub(crate) log: PathBuf,
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: PathBuf,
    pub(crate) port: u16,
    pub(crate) metrics: u16,
}

/// The binary with a command and settings, and nothing of the environment but the credentials of the bucket.
pub(crate) fn streamhouse(command: &[&str], settings: &[String]) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
    process
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "key-id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .args(command)
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null());
    process
}

impl Start {
    /// All settings, with the ones that only this broker has.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut all = vec![
            format!("broker.node_id={}", self.node),
            format!("listener.listeners=PLAINTEXT://127.0.0.1:{}", self.port),
            "telemetry.metrics_address=127.0.0.1:0".to_owned(),
        ];
        all.extend(self.settings.iter().cloned());
        all
    }

    /// Starts it and waits until it says where it is, or ends.
    pub(crate) fn start(&self) -> Result<Broker, (ExitStatus, String)> {
        let log = File::options().create(true).append(true).open(&self.log);
        let mut child = streamhouse(&["serve"], &self.all())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut banner = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            banner += &line.unwrap();
            banner += "\n";
            if banner.contains("  Data ") {
                break;
            }
        }
        let mut broker = Broker {
            child,
            log: self.log.clone(),
            port: 0,
            metrics: 0,
        };
        match (port(&banner, "Kafka"), port(&banner, "Metrics")) {
            (Some(port), Some(metrics)) => {
                (broker.port, broker.metrics) = (port, metrics);
                Ok(broker)
            }
            _ => Err((broker.child.wait().unwrap(), broker.words())),
        }
    }
}

/// The port in the line of the banner with this name.
fn port(banner: &str, name: &str) -> Option<u16> {
    let line = banner.lines().find(|line| line.trim().starts_with(name))?;
    let (_, port) = line.split_once("127.0.0.1:")?;
    port.trim_end_matches("/metrics").trim().parse().ok()
}

impl Broker {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops all its threads where they are.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(self.pid()), WaitOptions::UNTRACED)
            .unwrap()
            .unwrap();
        assert!(
            status.stopped(),
            "the broker ended instead: {}",
            self.words()
        );
    }

    /// Lets it go on after [`Broker::pause`].
    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Asks it to end, which it must do without an error.
    pub(crate) fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let (status, _) = until("the end of a broker that was asked to stop", || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}: {}", self.words());
    }

    /// What it answers to `GET path`: the status and the body; nothing while it does not answer.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.metrics)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Waits until `/readyz` says that it serves.
    pub(crate) fn until_ready(&self) {
        let mut last = None;
        let began = now();
        loop {
            match self.get("/readyz") {
                Some((200, _)) => return,
                other => last = other.or(last),
            }
            assert!(
                since(began) < PATIENCE,
                "not ready: {last:?}; {}",
                self.words()
            );
            pause();
        }
    }

    /// Waits until `/readyz` refuses for a reason that holds `word`, and gives the time that it took.
    pub(crate) fn until_unready(&self, word: &str) -> Duration {
        let began = now();
        loop {
            let told = self.get("/readyz");
            if let Some((503, reasons)) = &told
                && reasons.contains(word)
            {
                return since(began);
            }
            let words = self.words();
            assert!(since(began) < PATIENCE, "no {word} in {told:?}; {words}");
            pause();
        }
    }

    /// The value of a metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        values.reduce(|sum, value| sum + value)
    }

    /// How many lines of its log hold `word`.
    pub(crate) fn log_lines(&self, word: &str) -> usize {
        text_of(&self.log)
            .lines()
            .filter(|line| line.contains(word))
            .count()
    }

    /// The last lines that it logged.
    pub(crate) fn words(&self) -> String {
        let text = text_of(&self.log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

fn text_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
