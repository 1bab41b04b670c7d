//! The programs that play the parts of a history: one for each library, several clients in each.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::go::Go;
use super::{cache, java, source};

/// The programs, compiled.
#[derive(Debug)]
pub(crate) struct Programs {
    cache: PathBuf,
    folder: TempDir,
}

impl Programs {
    /// Compiles what must be compiled; an error where a library is not installed.
    pub(crate) fn compile() -> Result<Self> {
        let cache = cache()?;
        let python = super::python(&cache);
        ensure!(
            python.is_file(),
            "confluent-kafka for Python is not installed"
        );
        let jars = cache.join("java");
        java::version(&jars, "kafka-clients-").context("the Java clients are not installed")?;
        let folder = TempDir::new()?;
        java::compile(&jars, "java/History.java", folder.path())?;
        let go = Go::new(&cache);
        go.build("./history", &folder.path().join("history"))?;
        Ok(Self { cache, folder })
    }

    /// Apache Kafka's Java clients.
    pub(crate) fn java(&self) -> Result<Command> {
        java::program(&self.cache.join("java"), self.folder.path(), "History")
    }

    /// librdkafka through confluent-kafka.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(super::python(&self.cache));
        command.arg(source("python/history.py"));
        command
    }

    /// franz-go.
    pub(crate) fn go(&self) -> Command {
        Command::new(self.folder.path().join("history"))
    }
}
