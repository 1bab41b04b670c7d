//! A client that knows three addresses and finds leaders and coordinators by itself, as every Kafka client does.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::time::Duration;

use streamhouse_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use streamhouse_protocol::{Request, StrBytes};

use crate::wire::Connection;

/// How long a client waits for an answer before it looks for another broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

const METADATA: i16 = 9;
const FIND_COORDINATOR: i16 = 2;

/// Errors after which a client asks again, perhaps somebody else: 3 unknown topic, 5 and 6 no leader or another one,
/// 7 timed out, 9 replica missing, 13 network, 14 to 16 coordinators, 19 and 20 replicas, 56 storage, 74 and 76 epochs,
/// 78 not yet available.
const RETRIABLE: &[i16] = &[3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 56, 74, 76, 78];

/// Whether a client tries again after `code`.
pub(crate) fn is_retriable(code: i16) -> bool {
    RETRIABLE.contains(&code)
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The leader of a partition and its epoch.
pub(crate) type Leader = (i32, i32);

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The ports that it was told, by node id.
    bootstrap: Vec<u16>,
    /// Which of them it asks first.
    turn: usize,
    ports: BTreeMap<i32, u16>,
    connections: BTreeMap<u16, Connection>,
}

impl Client {
    pub(crate) fn new(bootstrap: &[u16]) -> Self {
        Self {
            bootstrap: bootstrap.to_vec(),
            turn: 0,
            ports: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// Asks the broker on `port`; after an error its connection is thrown away.
    pub(crate) fn ask_port<R: Request>(
        &mut self,
        port: u16,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let mut connection = match self.connections.remove(&port) {
            Some(connection) => connection,
            None => Connection::open_within(port, REQUEST_TIMEOUT)?,
        };
        let answer = connection.ask(version, request)?;
        self.connections.insert(port, connection);
        Ok(answer)
    }

    /// Asks a broker by its number.
    pub(crate) fn ask<R: Request>(
        &mut self,
        node: i32,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let port = self.ports.get(&node).copied();
        let port = port.ok_or_else(|| Error::other(format!("no address of broker {node}")))?;
        self.ask_port(port, version, request)
    }

    /// Asks whichever broker answers.
    pub(crate) fn ask_any<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let mut last = Error::other("no bootstrap address");
        for _ in 0..self.bootstrap.len() {
            let port = self.bootstrap[self.turn % self.bootstrap.len()];
            match self.ask_port(port, version, request) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
            self.turn += 1;
        }
        Err(last)
    }

    /// The leaders of a topic's partitions that have one.
    pub(crate) fn leaders(&mut self, topic: &str) -> Result<BTreeMap<i32, Leader>> {
        let answer = self.ask_any(METADATA, &asking(topic))?;
        // Another one next time: the one that answered may know less.
        self.turn += 1;
        self.learn(&answer);
        Ok(leaders(&answer))
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        for broker in &answer.brokers {
            let port = u16::try_from(broker.port).unwrap();
            self.ports.insert(broker.node_id.0, port);
        }
    }

    /// The coordinator of a group, if there is one now.
    pub(crate) fn coordinator(&mut self, group: &str) -> Result<i32> {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let answer = self.ask_any(FIND_COORDINATOR, &request)?;
        self.turn += 1;
        if answer.error_code != 0 {
            let told = format!("no coordinator: error {}", answer.error_code);
            assert!(is_retriable(answer.error_code), "{told}");
            return Err(Error::other(told));
        }
        let port = u16::try_from(answer.port).unwrap();
        self.ports.insert(answer.node_id.0, port);
        Ok(answer.node_id.0)
    }

    /// What the broker on `port` says of all brokers and of a topic's leaders.
    pub(crate) fn told_by(
        &mut self,
        port: u16,
        topic: &str,
    ) -> Result<(Vec<i32>, BTreeMap<i32, Leader>)> {
        let answer = self.ask_port(port, METADATA, &asking(topic))?;
        let mut brokers: Vec<i32> = answer.brokers.iter().map(|it| it.node_id.0).collect();
        brokers.sort_unstable();
        Ok((brokers, leaders(&answer)))
    }

    /// What the broker on `port` says of a group's coordinator.
    pub(crate) fn coordinator_told_by(&mut self, port: u16, group: &str) -> Result<(i16, i32)> {
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let answer = self.ask_port(port, FIND_COORDINATOR, &request)?;
        Ok((answer.error_code, answer.node_id.0))
    }
}

fn asking(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false)
}

fn leaders(answer: &MetadataResponse) -> BTreeMap<i32, Leader> {
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .filter(|partition| partition.error_code == 0 && partition.leader_id.0 >= 0)
        .map(|it| (it.partition_index, (it.leader_id.0, it.leader_epoch)))
        .collect()
}
