//! Groups of real members, in at most four processes, that join, leave and crash while their coordinator is killed and moved:
//! `members/storm.py` plays them with Apache Kafka's Java consumers against two brokers of one cluster, in the eager, the cooperative and
//! the consumer protocol (KIP-848), and `members/checker.py` says what was wrong.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::broker;
use crate::clients;
use crate::matrix::{is_ci, say};
use crate::process::output;

/// For a storm, which takes a minute.
const DEADLINE: Duration = Duration::from_secs(600);

/// Debian keeps the programs of PostgreSQL outside of the search path.
const FIND_POSTGRES: &str = "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb";

/// What a storm needs.
#[derive(Debug)]
struct Tools {
    binary: PathBuf,
    s3_server: PathBuf,
    jars: PathBuf,
}

/// Plays groups of 1 and 10 members; an error names everything that was wrong.
pub fn live_through_a_storm() -> Result<()> {
    let tools = match find() {
        Ok(tools) => tools,
        Err(missing) if is_ci() => return Err(missing.context("CI needs it")),
        Err(missing) => {
            say(&format!("left out: groups of real members: {missing:#}"));
            return Ok(());
        }
    };
    let mut command = Command::new("python3");
    command
        .arg(clients::source("members/storm.py"))
        .arg("--binary")
        .arg(&tools.binary)
        .arg("--s3-server")
        .arg(&tools.s3_server)
        .arg("--jars")
        .arg(&tools.jars);
    run("members/storm.py", &mut command)
}

/// Spoils good histories in each way, and wants the checker to find it.
pub fn find_what_is_wrong() -> Result<()> {
    let mut command = Command::new("python3");
    command.arg(clients::source("members/test_checker.py"));
    run("members/test_checker.py", &mut command)
}

fn find() -> Result<Tools> {
    let find_postgres = Command::new("sh").args(["-c", FIND_POSTGRES]).output()?;
    ensure!(
        find_postgres.status.success(),
        "PostgreSQL is not installed: apt-get install postgresql"
    );
    let jars = clients::cache()?.join("java");
    ensure!(
        jars.is_dir(),
        "the Java clients are not in {}: bash .ci/install-clients",
        jars.display()
    );
    let binary = broker::binary()?;
    let s3_server = binary.with_file_name("s3-server");
    ensure!(
        s3_server.is_file(),
        "no {}: cargo build -p streamhouse-storage --features test-support --bin s3-server",
        s3_server.display()
    );
    Ok(Tools {
        binary,
        s3_server,
        jars,
    })
}

fn run(program: &str, command: &mut Command) -> Result<()> {
    let told = output(program, command, &[], DEADLINE).context("Python 3.9 or later is needed")?;
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
