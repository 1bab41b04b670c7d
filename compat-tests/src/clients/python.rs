//! librdkafka of today through confluent-kafka for Python: the same core as the clients of .NET, PHP, Ruby and Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::process::output;

#[derive(Debug)]
pub(super) struct Python {
    python: PathBuf,
}

impl Python {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            python: super::python(cache),
        }
    }
}

impl Client for Python {
    fn name(&self) -> &'static str {
        "confluent-kafka"
    }

    fn title(&self) -> &'static str {
        "confluent-kafka (Python, librdkafka)"
    }

    fn prepare(&mut self) -> Result<String> {
        let program =
            "import confluent_kafka as c; print(c.__version__, 'librdkafka', c.libversion()[0])";
        let told = output(
            "python",
            Command::new(&self.python).args(["-c", program]),
            &[],
            START_DEADLINE,
        )?;
        ensure!(
            told.status.success(),
            "confluent-kafka is not installed: {}",
            told.stderr.trim()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    fn limitation(&self, _scenario: &str) -> Option<&'static str> {
        None
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let mut command = Command::new(&self.python);
        Ok(Box::new(Driver::start(
            self.name(),
            command.arg(source("python/driver.py")),
            bootstrap,
            folder,
        )?))
    }
}
