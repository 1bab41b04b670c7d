//! rdkafka: the client of most programs written in Rust, with the librdkafka that it brings. Its driver is a package of its
//! own, so that nobody else compiles librdkafka.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::process::output;

const MANIFEST: &str = "rust/Cargo.toml";

#[derive(Debug)]
pub(super) struct RdKafka {
    target: PathBuf,
}

impl RdKafka {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            target: cache.join("rust"),
        }
    }

    /// Runs Cargo on the driver and what was installed for it, without a network.
    fn cargo(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("cargo");
        command.args(arguments).args(["--offline", "--locked"]);
        command.arg("--manifest-path").arg(source(MANIFEST));
        command.env("CARGO_TARGET_DIR", &self.target);
        let told = output("cargo", &mut command, &[], START_DEADLINE)?;
        ensure!(
            told.status.success(),
            "rdkafka is not installed: cargo {}: {}",
            arguments.join(" "),
            told.stderr.trim()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }
}

impl Client for RdKafka {
    fn name(&self) -> &'static str {
        "rdkafka"
    }

    fn title(&self) -> &'static str {
        "rdkafka (Rust, librdkafka)"
    }

    fn prepare(&mut self) -> Result<String> {
        ensure!(
            self.target.join("debug").is_dir(),
            "rdkafka is not in {}",
            self.target.display()
        );
        self.cargo(&["build", "--quiet"])?;
        let tree = self.cargo(&["tree", "--depth=2", "--prefix=none", "--format={p}"])?;
        // rdkafka v0.39.0, rdkafka-sys v4.10.0+2.12.1
        let version = |name: &str| {
            let line = tree.lines().find_map(|line| line.strip_prefix(name));
            line.with_context(|| format!("cargo tree tells no {name}"))
        };
        let core = version("rdkafka-sys v")?;
        let (_, core) = core
            .split_once('+')
            .with_context(|| format!("no version of librdkafka in {core}"))?;
        Ok(format!("{} librdkafka {core}", version("rdkafka v")?))
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        let is_consumer = scenario.starts_with("consumer-protocol");
        is_consumer.then_some(
            "the driver of rdkafka joins groups by the classic protocol only; rdkafka itself can do both",
        )
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let program = self.target.join("debug").join("driver");
        Ok(Box::new(Driver::start(
            self.name(),
            &mut Command::new(program),
            bootstrap,
            folder,
        )?))
    }
}
