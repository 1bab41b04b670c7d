//! Apache Kafka's own Java clients: producer, consumer and admin, as every program on the JVM uses them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::process::output;

/// Start quickly and keep to one core: operations are short.
pub(super) const JVM: &[&str] = &[
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Xmx1g",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

#[derive(Debug)]
pub(super) struct Java {
    jars: PathBuf,
    /// The compiled driver.
    classes: Option<TempDir>,
}

impl Java {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            jars: cache.join("java"),
            classes: None,
        }
    }
}

impl Client for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn title(&self) -> &'static str {
        "Apache Kafka's Java clients"
    }

    fn prepare(&mut self) -> Result<String> {
        let version = version(&self.jars, "kafka-clients-")?;
        let classes = TempDir::new()?;
        compile(&self.jars, "java/Driver.java", classes.path())?;
        self.classes = Some(classes);
        Ok(version)
    }

    fn limitation(&self, _scenario: &str) -> Option<&'static str> {
        None
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let classes = self
            .classes
            .as_ref()
            .context("the driver is compiled")?
            .path();
        let mut command = program(&self.jars, classes, "Driver")?;
        Ok(Box::new(Driver::start(
            self.name(),
            &mut command,
            bootstrap,
            folder,
        )?))
    }
}

/// Compiles one of the programs.
pub(crate) fn compile(jars: &Path, file: &str, classes: &Path) -> Result<()> {
    let mut command = Command::new("javac");
    command
        .arg("-cp")
        .arg(jars.join("*"))
        .arg("-d")
        .arg(classes);
    let compiled = output("javac", command.arg(source(file)), &[], START_DEADLINE)?;
    ensure!(
        compiled.status.success(),
        "{file} does not compile: {}",
        compiled.stderr
    );
    Ok(())
}

/// The command that runs a compiled program.
pub(crate) fn program(jars: &Path, classes: &Path, class: &str) -> Result<Command> {
    let path = std::env::join_paths([classes.to_path_buf(), jars.join("*")])?;
    let mut command = Command::new("java");
    command.args(JVM).arg("-cp").arg(path).arg(class);
    Ok(command)
}

/// The version in the name of a jar.
pub(crate) fn version(jars: &Path, artifact: &str) -> Result<String> {
    let listed =
        std::fs::read_dir(jars).with_context(|| format!("no jars in {}", jars.display()))?;
    for entry in listed {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let version = name
            .strip_prefix(artifact)
            .and_then(|rest| rest.strip_suffix(".jar"));
        if let Some(version) = version {
            return Ok(version.to_owned());
        }
    }
    anyhow::bail!("no {artifact}*.jar in {}", jars.display())
}
