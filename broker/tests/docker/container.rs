//! A process that has the command and the environment of the image and nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::image::Image;

/// `EX_UNAVAILABLE`: a port is taken.
const PORT_IS_TAKEN: i32 = 69;

/// A container that serves. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    /// The port for Kafka clients.
    pub(crate) kafka: u16,
    /// The port for metrics and health.
    pub(crate) metrics: u16,
}

/// How a container ended that did not begin to serve.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) errors: String,
}

impl Container {
    /// Runs the image with `volume` mounted and `more` variables, as `docker run -v ... -e ...` does, until it serves.
    /// On a machine where a port of the image is taken it gets free ones.
    pub(crate) fn run(image: &Image, volume: &Path, more: &[(&str, &str)]) -> Result<Self, Ended> {
        match Self::try_run(image, volume, more, |value| value) {
            Err(ended) if ended.status.code() == Some(PORT_IS_TAKEN) => {
                Self::try_run(image, volume, more, |value| free_ports(image, &value))
            }
            ended => ended,
        }
    }

    fn try_run(
        image: &Image,
        volume: &Path,
        more: &[(&str, &str)],
        adapt: impl Fn(String) -> String,
    ) -> Result<Self, Ended> {
        let mounted = volume.join("data");
        let errors = volume.join("stderr");
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
        command
            .args(&image.entrypoint[1..])
            .args(&image.command)
            .env_clear();
        for (name, value) in &image.environment {
            let value = value.replace(image.volume.as_deref().unwrap(), mounted.to_str().unwrap());
            command.env(name, adapt(value));
        }
        command.envs(more.iter().copied()).current_dir(volume);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap());
        let mut child = command.spawn().unwrap();
        let said = said_until_ready(&mut child);
        let ports = (port_after(&said, "Kafka"), port_after(&said, "Metrics"));
        let mut container = Self {
            child,
            kafka: 0,
            metrics: 0,
        };
        if let (Some(kafka), Some(metrics)) = ports {
            (container.kafka, container.metrics) = (kafka, metrics);
            return Ok(container);
        }
        let status = container.child.wait().unwrap();
        Err(Ended {
            status,
            errors: read(errors),
        })
    }

    /// Stops it as `docker stop` does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It has ended already, or it ends now: either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that it writes when it serves; fewer if it ends before.
fn said_until_ready(child: &mut Child) -> Vec<String> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    for line in output.lines().map(Result::unwrap) {
        let is_last = line.trim_start().starts_with("Recovered");
        said.push(line);
        if is_last {
            break;
        }
    }
    said
}

/// The port of the address in the line that begins with `word`.
fn port_after(said: &[String], word: &str) -> Option<u16> {
    let line = said
        .iter()
        .find(|line| line.trim_start().starts_with(word))?;
    let (_, port) = line.trim_end_matches("/metrics").rsplit_once(':')?;
    port.parse().ok()
}

/// Port 0, which takes a free one, for each port of the image.
fn free_ports(image: &Image, value: &str) -> String {
    let all = image.ports.iter();
    all.fold(value.to_owned(), |value, port| {
        value.replace(&format!(":{port}"), ":0")
    })
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
