//! kafkajs: the client of most programs on Node.js, with the codecs that its users plug in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::operation::Record;
use crate::process::output;

#[derive(Debug)]
pub(super) struct KafkaJs {
    modules: PathBuf,
}

impl KafkaJs {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            modules: cache.join("node").join("node_modules"),
        }
    }

    fn node(&self) -> Command {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &self.modules);
        command
    }
}

impl Client for KafkaJs {
    fn name(&self) -> &'static str {
        "kafkajs"
    }

    fn title(&self) -> &'static str {
        "kafkajs (Node.js)"
    }

    fn prepare(&mut self) -> Result<String> {
        let program = "console.log(require('kafkajs/package.json').version)";
        let told = output(
            "node",
            self.node().args(["-e", program]),
            &[],
            START_DEADLINE,
        )?;
        ensure!(
            told.status.success(),
            "kafkajs is not installed in {}",
            self.modules.display()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        super::joins_classic_only(scenario)
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        match scenario {
            "headers" => {
                Some("kafkajs sends no header whose value is null, and groups headers by name")
            }
            _ => None,
        }
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let mut command = self.node();
        let driver = Driver::start(
            self.name(),
            command.arg(source("node/driver.js")),
            bootstrap,
            folder,
        )?;
        Ok(Box::new(driver.sending(sends)))
    }
}

/// Headers are an object in this client: those of one name lie together, and null is not among their values.
fn sends(record: &Record) -> bool {
    let headers = &record.headers;
    let names: Vec<&str> = headers.iter().map(|header| header.name.as_str()).collect();
    let runs: Vec<&str> = names
        .chunk_by(|left, right| left == right)
        .map(|run| run[0])
        .collect();
    let is_grouped = runs
        .iter()
        .enumerate()
        .all(|(index, name)| !runs[..index].contains(name));
    is_grouped && headers.iter().all(|header| header.value.is_some())
}
