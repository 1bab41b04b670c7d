//! Every version of every API that the broker advertises, over a socket: `versions/check.py` holds the conversation of the golden
//! frames with it, decodes the answers with kafka-python, and compares each field with what Apache Kafka answered.
//!
//! The differences that are allowed are listed in `versions/differences.toml`, each with its reason.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::broker::{self, Broker};
use crate::clients;
use crate::matrix::{BOOTSTRAP, is_ci, say};
use crate::process::output;

/// For the whole conversation, which takes seconds.
const DEADLINE: Duration = Duration::from_secs(300);

/// As the broker that was recorded had it: the conversation makes a topic without saying how many partitions it wants.
const SETTINGS: &[&str] = &["num.partitions=4"];

/// What the programs need: kafka-python, and the message schemas of the release that was recorded.
#[derive(Debug)]
struct Tools {
    python: PathBuf,
    schemas: PathBuf,
}

/// Compares every answer with Kafka's; an error names each difference that is not in the list.
pub fn compare() -> Result<()> {
    let Some(tools) = tools()? else {
        return Ok(());
    };
    if let Ok(bootstrap) = std::env::var(BOOTSTRAP) {
        return tools.run("versions/check.py", &[&bootstrap]);
    }
    let broker = Broker::start(&broker::binary()?, SETTINGS)?;
    let compared = tools.run("versions/check.py", &[&broker.bootstrap()]);
    compared.with_context(|| format!("the broker's last words:{}", broker.last_words()))?;
    broker.stop()
}

/// Alters Kafka's own answers, field by field, and wants the comparison to find every one.
pub fn find_what_is_altered() -> Result<()> {
    match tools()? {
        Some(tools) => tools.run("versions/test_comparison.py", &[]),
        None => Ok(()),
    }
}

/// `None` where the machine lacks them, which CI does not let pass.
fn tools() -> Result<Option<Tools>> {
    match find() {
        Ok(tools) => Ok(Some(tools)),
        Err(missing) if is_ci() => Err(missing.context("CI needs it: run .ci/install-clients")),
        Err(missing) => {
            say(&format!("left out: the versions of the APIs: {missing:#}"));
            Ok(None)
        }
    }
}

fn find() -> Result<Tools> {
    let cache = clients::cache()?;
    let python = clients::python(&cache);
    let told = output(
        "python",
        Command::new(&python).args(["-c", "import kafka.protocol, tomllib"]),
        &[],
        DEADLINE,
    )?;
    ensure!(
        told.status.success(),
        "kafka-python is not installed, or Python is older than 3.11: {}",
        told.stderr.trim()
    );
    let schemas = jar(&cache.join("java"))?;
    Ok(Tools { python, schemas })
}

/// The jar with the message schemas, among those of the Java clients.
fn jar(folder: &Path) -> Result<PathBuf> {
    let missing = || format!("the Java clients are not in {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(missing)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("kafka-clients-") {
            return Ok(path);
        }
    }
    bail!(missing())
}

impl Tools {
    /// Runs a program of this crate; the jar is its last argument.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.python);
        command
            .arg(clients::source(program))
            .args(arguments)
            .arg(&self.schemas);
        let told = output(program, &mut command, &[], DEADLINE)?;
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        ensure!(
            told.status.success(),
            "{program} {}:\n{said}{}",
            told.status,
            told.stderr
        );
        say(said.trim_end());
        Ok(())
    }
}
