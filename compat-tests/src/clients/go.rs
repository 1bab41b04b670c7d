//! The libraries for Go, each behind a driver that is compiled once per run: franz-go, sarama and kafka-go.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::operation::Record;
use crate::process::output;

/// The modules that were installed, and Go to compile programs with them.
#[derive(Debug)]
pub(super) struct Go {
    modules: PathBuf,
}

/// What is to be known of a library.
#[derive(Debug)]
pub(super) struct Library {
    name: &'static str,
    title: &'static str,
    /// The module whose version is told.
    module: &'static str,
    /// The folder of its driver.
    package: &'static str,
    limitation: fn(&str) -> Option<&'static str>,
    remark: fn(&str) -> Option<&'static str>,
    sends: fn(&Record) -> bool,
}

pub(super) const FRANZ_GO: Library = Library {
    name: "franz-go",
    title: "franz-go (Go)",
    module: "github.com/twmb/franz-go",
    package: ".",
    limitation: |scenario| {
        (scenario == "consumer-protocol-change").then_some(
            "franz-go told its application ILLEGAL_GENERATION in one of two runs, while the group changed; whether the broker or the driver is to blame is not known yet",
        )
    },
    remark: |_| None,
    sends: |_| true,
};

pub(super) const SARAMA: Library = Library {
    name: "sarama",
    title: "sarama (Go)",
    module: "github.com/IBM/sarama",
    package: "./sarama",
    limitation: super::joins_classic_only,
    remark: |_| None,
    sends: |_| true,
};

pub(super) const KAFKA_GO: Library = Library {
    name: "kafka-go",
    title: "kafka-go (Go)",
    module: "github.com/segmentio/kafka-go",
    package: "./kafka-go",
    limitation: |scenario| match scenario {
        "idempotent" | "idempotent-lost-answer" => Some("kafka-go has no idempotent producer"),
        "delete-records" => Some("kafka-go has no call that deletes records"),
        "log-append-time" => {
            Some("kafka-go shows the time that the producer set, whatever the broker set")
        }
        _ => super::joins_classic_only(scenario),
    },
    remark: |scenario| match scenario {
        "headers" | "nulls" => Some("kafka-go shows empty keys, values and headers as null"),
        _ => None,
    },
    sends: |record| {
        let values = record.headers.iter().map(|header| &header.value);
        let mut shown = values.chain([&record.key, &record.value]).flatten();
        shown.all(|bytes| !bytes.0.is_empty())
    },
};

/// A library and its compiled driver.
#[derive(Debug)]
pub(super) struct GoClient {
    library: Library,
    go: Go,
    /// Holds the compiled driver.
    folder: Option<TempDir>,
}

impl Go {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            modules: cache.join("go"),
        }
    }

    /// Runs Go in the drivers' folder on the modules that were installed, without a network.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(source("go"));
        command
            .env("GOMODCACHE", &self.modules)
            .env("GOPROXY", "off")
            .env("GOFLAGS", "-mod=readonly");
        let told = output("go", &mut command, &[], START_DEADLINE)?;
        ensure!(
            told.status.success(),
            "go {}: {}",
            arguments.join(" "),
            told.stderr.trim()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    /// Compiles one of the programs.
    pub(super) fn build(&self, package: &str, program: &Path) -> Result<()> {
        let program = program
            .to_str()
            .context("a folder with a name in Unicode")?;
        self.run(&["build", "-o", program, package]).map(|_| ())
    }
}

impl GoClient {
    pub(super) fn new(cache: &Path, library: Library) -> Self {
        Self {
            library,
            go: Go::new(cache),
            folder: None,
        }
    }
}

impl Client for GoClient {
    fn name(&self) -> &'static str {
        self.library.name
    }

    fn title(&self) -> &'static str {
        self.library.title
    }

    fn prepare(&mut self) -> Result<String> {
        let version = self
            .go
            .run(&["list", "-m", "-f", "{{.Version}}", self.library.module])?;
        let folder = TempDir::new()?;
        self.go.build(self.library.package, &driver(&folder))?;
        self.folder = Some(folder);
        Ok(version.trim_start_matches('v').to_owned())
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        (self.library.limitation)(scenario)
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        (self.library.remark)(scenario)
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let program = driver(self.folder.as_ref().context("the driver is compiled")?);
        let driver = Driver::start(self.name(), &mut Command::new(program), bootstrap, folder)?;
        Ok(Box::new(driver.sending(self.library.sends)))
    }
}

fn driver(folder: &TempDir) -> PathBuf {
    folder.path().join("driver")
}
