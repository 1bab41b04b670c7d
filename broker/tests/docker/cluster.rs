//! The processes of the compose file: PostgreSQL, S3 and the brokers, each with the variables of its service and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::compose::Compose;
use crate::image::Image;
use crate::network::Network;
use crate::stores::{Database, Store};

/// Lines of each broker's log that are told when a test fails.
const LINES_TOLD: usize = 40;

/// A cluster that runs. Everything is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    brokers: BTreeMap<String, Broker>,
    pub(crate) database: Database,
    _store: Store,
    network: Network,
    image: Image,
    pub(crate) compose: Compose,
    folder: TempDir,
}

#[derive(Debug)]
struct Broker {
    child: Child,
    /// Open as long as the broker may write to it.
    _said: BufReader<ChildStdout>,
}

impl Cluster {
    /// Starts PostgreSQL, S3 and its bucket, which the brokers wait for. None where PostgreSQL is not installed.
    pub(crate) fn start(compose: Compose) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut network = Network::default();
        Some(Self {
            brokers: BTreeMap::new(),
            database: Database::start(compose.service("postgres"), &mut network)?,
            _store: Store::start(&compose, &mut network, folder.path()),
            network,
            image: Image::of_this_checkout(),
            compose,
            folder,
        })
    }

    /// Starts a broker and waits until it says that it serves.
    pub(crate) fn start_broker(&mut self, name: &str) {
        let errors = self.log_of(name);
        let mut child = self.spawn(name, &errors);
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let is_ready = serves(&mut said);
        let broker = Broker { child, _said: said };
        self.brokers.insert(name.to_owned(), broker);
        let told = || std::fs::read_to_string(&errors).unwrap_or_default();
        assert!(is_ready, "{name} does not serve: {}", told());
    }

    fn spawn(&mut self, name: &str, errors: &Path) -> Child {
        let data = self.data_of(name);
        std::fs::create_dir_all(&data).unwrap();
        let mut environment = self.image.environment.clone();
        let own = self.compose.service(name).environment.clone();
        environment.extend(own);
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
        let image = &self.image;
        command.args(&image.entrypoint[1..]).args(&image.command);
        command.env_clear().current_dir(&data);
        for (variable, value) in environment {
            let value = self.network.seen_by(&self.compose, name, &value);
            let volume = self.image.volume.as_deref().unwrap();
            command.env(variable, value.replace(volume, data.to_str().unwrap()));
        }
        self.network.give(name);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let log = File::options().create(true).append(true).open(errors);
        command.stderr(log.unwrap()).spawn().unwrap()
    }

    fn log_of(&self, broker: &str) -> PathBuf {
        self.folder.path().join(format!("{broker}.log"))
    }

    /// What a broker keeps on its own machine.
    pub(crate) fn data_of(&self, broker: &str) -> PathBuf {
        self.folder.path().join(broker)
    }

    /// Runs the health check of a broker once.
    pub(crate) fn is_healthy(&mut self, name: &str) -> bool {
        let check = self.compose.service(name).healthcheck.clone().unwrap();
        self.passes(name, &check.test)
    }

    /// Runs a health check as the engine does in the container of `name`.
    pub(crate) fn passes(&mut self, name: &str, check: &[String]) -> bool {
        assert_eq!(check[0], "CMD", "another form of a check is not known here");
        if name == "postgres" {
            return self.database.passes(&check[1..]);
        }
        let words = check[1..].iter();
        let words: Vec<_> = words
            .map(|word| self.network.seen_by(&self.compose, name, word))
            .collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.output().unwrap().status.success()
    }

    /// `docker kill`.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut broker = self.brokers.remove(name).unwrap();
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
    }

    /// `docker stop`.
    pub(crate) fn stop(&mut self, name: &str) -> ExitStatus {
        let mut broker = self.brokers.remove(name).unwrap();
        kill_process(Pid::from_child(&broker.child), Signal::TERM).unwrap();
        broker.child.wait().unwrap()
    }

    /// What the brokers said last, for whoever looks for the reason of a failure.
    fn tell_logs(&self) {
        for name in self.compose.brokers() {
            let log = std::fs::read_to_string(self.log_of(&name)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n");
            let told = format!("--- {name}\n{last}\n");
            // Whoever closed the error output does not want to know.
            let _ = std::io::stderr().write_all(told.as_bytes());
        }
    }

    /// An address as a client of this machine sees it, or one in a container beside `beside`.
    pub(crate) fn address(&mut self, beside: &str, address: &str) -> String {
        self.network.seen_by(&self.compose, beside, address)
    }

    /// Runs a tool with lines for its standard input, and returns what it wrote.
    pub(crate) fn tool(&self, arguments: &[&str], lines: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
        command.args(arguments).env_clear().stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for broker in self.brokers.values_mut() {
            // It has ended already, or it ends now.
            let _ = broker.child.kill();
            let _ = broker.child.wait();
        }
        if std::thread::panicking() {
            self.tell_logs();
        }
    }
}

/// Whether it says that it serves before it ends.
fn serves(said: &mut impl BufRead) -> bool {
    let mut line = String::new();
    while said.read_line(&mut line).unwrap() > 0 {
        // The last line of those that always come.
        if line.trim_start().starts_with("Data") {
            return true;
        }
        line.clear();
    }
    false
}
