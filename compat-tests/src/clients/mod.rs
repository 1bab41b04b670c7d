//! The clients: what each is called, where it lies, what it cannot do by itself, and how it performs an operation.

mod console;
mod console_text;
mod driver;
mod go;
mod group_process;
pub(crate) mod java;
mod kcat;
mod node;
mod parts;
mod python;
mod rdkafka;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use std::time::Duration;

use anyhow::{Context, Result};

use crate::operation::{Answer, Record, Refusal, Request};

pub(crate) use self::parts::Programs;

/// How long a program may take to tell its version or to be compiled.
const START_DEADLINE: Duration = Duration::from_secs(300);

/// A client of Kafka that is not ours.
pub(crate) trait Client: Debug + Send + Sync {
    /// Its name in cells, topics and the page.
    fn name(&self) -> &'static str;

    /// What it is, for people.
    fn title(&self) -> &'static str;

    /// Makes it ready once per run; its version, or why it is not there.
    fn prepare(&mut self) -> Result<String>;

    /// Why it cannot play a scenario, whatever the broker does: the client's own limitation.
    fn limitation(&self, scenario: &str) -> Option<&'static str>;

    /// What a scenario does not show of this client, because the client lacks it.
    fn remark(&self, _scenario: &str) -> Option<&'static str> {
        None
    }

    /// Of so many records of the data set it is sent one in a default run.
    fn data_set_part(&self) -> usize {
        1
    }

    /// Starts it; files of its own go into `folder`.
    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>>;
}

/// A client that runs.
pub(crate) trait Session: Debug + Send {
    /// Performs an operation. An error that is a `Refusal` is the client's own answer; any other means that the harness or the
    /// client is broken.
    fn perform(&mut self, request: &Request) -> Result<Answer>;

    /// Whether this client has a way to send such a record.
    fn can_send(&self, _record: &Record) -> bool {
        true
    }
}

/// The limitation of clients that cannot join by `group.protocol=consumer`, or whose driver does not.
fn joins_classic_only(scenario: &str) -> Option<&'static str> {
    let is_consumer = scenario.starts_with("consumer-protocol");
    is_consumer.then_some("joins groups by the classic protocol only")
}

/// Every client of the matrix.
pub(crate) fn all() -> Result<Vec<Box<dyn Client>>> {
    let cache = cache()?;
    Ok(vec![
        Box::new(kcat::Kcat),
        Box::new(python::Python::new(&cache, python::CONFLUENT_KAFKA)),
        Box::new(java::Java::new(&cache)),
        Box::new(console::Console::new(&cache)),
        Box::new(go::GoClient::new(&cache, go::FRANZ_GO)),
        Box::new(node::Node::new(&cache, node::KAFKAJS)),
        Box::new(rdkafka::RdKafka::new(&cache)),
        Box::new(node::Node::new(&cache, node::CONFLUENT_JAVASCRIPT)),
        Box::new(go::GoClient::new(&cache, go::SARAMA)),
        Box::new(go::GoClient::new(&cache, go::KAFKA_GO)),
        Box::new(python::Python::new(&cache, python::KAFKA_PYTHON)),
        Box::new(python::Python::new(&cache, python::AIOKAFKA)),
    ])
}

/// Kafka's code of an error, where it is a client's answer with one.
pub(crate) fn refusal_code(error: &anyhow::Error) -> Option<i16> {
    error
        .downcast_ref::<Refusal>()
        .and_then(|refusal| refusal.code)
}

/// Where the clients were installed.
pub(crate) fn cache() -> Result<PathBuf> {
    let folder = match std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(folder.join("streamhouse").join("clients"))
}

/// The Python of the environment that the clients for Python are installed in.
pub(crate) fn python(cache: &Path) -> PathBuf {
    cache.join("python").join("bin").join("python")
}

/// A file of this crate, such as a driver program.
pub(crate) fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
