//! Where a scenario plays: one client, one broker, a folder for files, and names that no other cell uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::broker::Broker;
use crate::clients::{Client, Session};
use crate::data_set;
use crate::matrix::scale;
use crate::wire;

/// The server under test.
#[derive(Debug)]
pub(crate) enum Server {
    /// The binary beside the test; `bootstrap` is the one broker that all cells share which do not kill it.
    Ours { binary: PathBuf, bootstrap: String },
    /// Someone else's, which is not ours to kill.
    Other { bootstrap: String },
}

/// What a scenario has at hand.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    client: &'a dyn Client,
    server: &'a Server,
    scenario: &'static str,
    folder: TempDir,
}

impl Server {
    /// `host:port` of the shared broker.
    pub(crate) fn bootstrap(&self) -> &str {
        match self {
            Self::Ours { bootstrap, .. } | Self::Other { bootstrap } => bootstrap,
        }
    }

    /// Whether scenarios may kill it.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        client: &'a dyn Client,
        server: &'a Server,
        scenario: &'static str,
    ) -> Result<Self> {
        Ok(Self {
            client,
            server,
            scenario,
            folder: TempDir::new()?,
        })
    }

    /// The client at the shared broker.
    pub(crate) fn open(&self) -> Result<Box<dyn Session>> {
        self.open_at(self.bootstrap())
    }

    /// The client at another address.
    pub(crate) fn open_at(&self, bootstrap: &str) -> Result<Box<dyn Session>> {
        let session = self.client.open(bootstrap, self.folder.path());
        session.with_context(|| format!("cannot start {}", self.client.name()))
    }

    /// The address of the shared broker.
    pub(crate) fn bootstrap(&self) -> &str {
        self.server.bootstrap()
    }

    /// A broker of this scenario's own, to be killed.
    pub(crate) fn broker(&self) -> Result<Broker> {
        self.broker_with(&[])
    }

    /// The same with settings, `key=value`.
    pub(crate) fn broker_with(&self, settings: &[&str]) -> Result<Broker> {
        match self.server {
            Server::Ours { binary, .. } => Broker::start(binary, settings),
            Server::Other { bootstrap } => bail!("the server at {bootstrap} is not ours to kill"),
        }
    }

    /// A name of this cell.
    pub(crate) fn name(&self, what: &str) -> String {
        let process = std::process::id();
        format!("{what}.{}.{}.{process}", self.scenario, self.client.name())
    }

    /// A topic that the harness made, for scenarios that are about something else.
    pub(crate) fn topic(&self, partitions: i32, configs: &[(&str, &str)]) -> Result<String> {
        self.topic_at(self.bootstrap(), partitions, configs)
    }

    /// The same at another broker.
    pub(crate) fn topic_at(
        &self,
        bootstrap: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<String> {
        let topic = self.name("topic");
        let configs = configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        wire::create_topic(
            bootstrap,
            &topic,
            partitions,
            &configs.collect::<BTreeMap<_, _>>(),
        )?;
        Ok(topic)
    }

    /// The data set, or as much of it as this client takes in a default run.
    pub(crate) fn data_set(&self) -> Result<&'static [Vec<u8>]> {
        let records = &data_set::get()?.records;
        let part = self.client.data_set_part().div_ceil(scale());
        Ok(&records[..records.len() / part])
    }

    /// A folder for files of this cell.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
