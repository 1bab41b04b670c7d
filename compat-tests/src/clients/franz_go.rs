//! franz-go: the client of most programs written in Go.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::process::output;

#[derive(Debug)]
pub(super) struct FranzGo {
    modules: PathBuf,
    /// Holds the compiled driver.
    folder: Option<TempDir>,
}

impl FranzGo {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            modules: cache.join("go"),
            folder: None,
        }
    }

    /// Runs Go in the driver's folder on the modules that were installed, without a network.
    fn go(&self, arguments: &[&str]) -> Result<String> {
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
        self.go(&["build", "-o", program, package]).map(|_| ())
    }
}

impl Client for FranzGo {
    fn name(&self) -> &'static str {
        "franz-go"
    }

    fn title(&self) -> &'static str {
        "franz-go (Go)"
    }

    fn prepare(&mut self) -> Result<String> {
        let version = self.go(&[
            "list",
            "-m",
            "-f",
            "{{.Version}}",
            "github.com/twmb/franz-go",
        ])?;
        let folder = TempDir::new()?;
        self.build(".", &driver(&folder))?;
        self.folder = Some(folder);
        Ok(version.trim_start_matches('v').to_owned())
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        super::joins_classic_only(scenario)
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let program = driver(self.folder.as_ref().context("the driver is compiled")?);
        Ok(Box::new(Driver::start(
            self.name(),
            &mut Command::new(program),
            bootstrap,
            folder,
        )?))
    }
}

fn driver(folder: &TempDir) -> PathBuf {
    folder.path().join("driver")
}
