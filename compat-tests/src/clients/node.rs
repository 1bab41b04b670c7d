//! The libraries for Node.js: kafkajs with the codecs that its users plug in, and confluent-kafka-javascript, which has
//! librdkafka behind the same calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::operation::Record;
use crate::process::output;

/// What is to be known of a library.
#[derive(Debug)]
pub(super) struct Library {
    name: &'static str,
    title: &'static str,
    /// Prints its version.
    version: &'static str,
    /// Where it was installed, in the cache.
    folder: &'static str,
    /// Its driver.
    program: &'static str,
    limitation: fn(&str) -> Option<&'static str>,
    remark: fn(&str) -> Option<&'static str>,
    sends: fn(&Record) -> bool,
}

pub(super) const KAFKAJS: Library = Library {
    name: "kafkajs",
    title: "kafkajs (Node.js)",
    version: "console.log(require('kafkajs/package.json').version)",
    folder: "node",
    program: "node/driver.js",
    limitation: super::joins_classic_only,
    remark: |scenario| match scenario {
        "headers" => {
            Some("kafkajs sends no header whose value is null, and groups headers by name")
        }
        _ => None,
    },
    sends: has_headers_of_an_object,
};

pub(super) const CONFLUENT_JAVASCRIPT: Library = Library {
    name: "confluent-js",
    title: "confluent-kafka-javascript (Node.js, librdkafka)",
    version: "const name = '@confluentinc/kafka-javascript';
        console.log(require(`${name}/package.json`).version, 'librdkafka', require(name).librdkafkaVersion)",
    folder: "node-confluent",
    program: "node-confluent/driver.js",
    limitation: |scenario| match scenario {
        "create-topic" | "alter-topic" => Some(
            "confluent-kafka-javascript has no call that shows or alters a topic's configs or its number of partitions",
        ),
        _ => None,
    },
    remark: |scenario| match scenario {
        "headers" => Some(
            "confluent-kafka-javascript sends no header whose value is null, and groups headers by name",
        ),
        "nulls" => Some("confluent-kafka-javascript sends an empty key or value as null"),
        _ => None,
    },
    sends: |record| {
        let mut sent = [&record.key, &record.value].into_iter().flatten();
        has_headers_of_an_object(record) && sent.all(|bytes| !bytes.0.is_empty())
    },
};

#[derive(Debug)]
pub(super) struct Node {
    library: Library,
    modules: PathBuf,
}

impl Node {
    pub(super) fn new(cache: &Path, library: Library) -> Self {
        Self {
            modules: cache.join(library.folder).join("node_modules"),
            library,
        }
    }

    fn node(&self) -> Command {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &self.modules);
        command
    }
}

impl Client for Node {
    fn name(&self) -> &'static str {
        self.library.name
    }

    fn title(&self) -> &'static str {
        self.library.title
    }

    fn prepare(&mut self) -> Result<String> {
        let told = output(
            "node",
            self.node().args(["-e", self.library.version]),
            &[],
            START_DEADLINE,
        )?;
        ensure!(
            told.status.success(),
            "{} is not installed in {}: {}",
            self.name(),
            self.modules.display(),
            told.stderr.trim()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        (self.library.limitation)(scenario)
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        (self.library.remark)(scenario)
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let mut command = self.node();
        let driver = Driver::start(
            self.name(),
            command.arg(source(self.library.program)),
            bootstrap,
            folder,
        )?;
        Ok(Box::new(driver.sending(self.library.sends)))
    }
}

/// Headers are an object in these clients: those of one name lie together, and null is not among their values.
fn has_headers_of_an_object(record: &Record) -> bool {
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
