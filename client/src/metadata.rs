//! Brokers, topics, partitions and their leaders, as Metadata tells them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::messages::metadata_request::MetadataRequestTopic;
use streamhouse_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use streamhouse_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use streamhouse_protocol::{ErrorCode, StrBytes};
use streamhouse_runtime::deadline;
use uuid::Uuid;

use crate::address::BrokerAddress;
use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};

/// The highest version of Metadata that is filled here.
const METADATA_MAX: i16 = 13;

/// How long to wait for a topic that is being created by asking for it.
const CREATION_WAIT: Duration = Duration::from_secs(10);

/// The brokers of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The id of the cluster; old brokers do not tell it.
    pub id: Option<String>,
    /// The brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The broker to which administration is sent.
    pub controller: Option<i32>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Where clients reach it.
    pub address: BrokerAddress,
    /// Its zone.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: String,
    /// The id; nil where the broker does not tell it (before Kafka 2.8).
    pub id: Uuid,
    /// Whether it belongs to the broker's own works.
    pub is_internal: bool,
    /// The partitions by ascending index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The index, from 0.
    pub index: i32,
    /// The leader; `None` while there is none.
    pub leader: Option<i32>,
    /// The epoch of the leader; -1 where the broker does not tell it.
    pub leader_epoch: i32,
    /// Where copies are.
    pub replicas: Vec<i32>,
    /// Which copies are in sync.
    pub in_sync_replicas: Vec<i32>,
}

impl Topic {
    /// The partition with this index.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.index == index)
    }
}

/// Which topics metadata is wanted of.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    Nothing,
    Everything,
    Topic { name: &'a str, create: bool },
}

impl Client {
    /// Learns the brokers again.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn refresh_cluster(&self) -> Result<Arc<Cluster>, ClientError> {
        self.metadata(Wanted::Nothing).await?;
        Ok(self.cluster())
    }

    /// All topics by name.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn all_topics(&self) -> Result<Vec<Arc<Topic>>, ClientError> {
        let response = self
            .retrying(Retry::Always, move || async move {
                self.metadata(Wanted::Everything).await
            })
            .await?;
        // A topic that is being deleted at this moment has an error and no use.
        let topics = response.topics.iter().filter(|topic| topic.error_code == 0);
        let mut topics: Vec<Arc<Topic>> = topics.map(|topic| Arc::new(read_topic(topic))).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// A topic that exists; asked for again after [`Client::forget_topic`] or when the knowledge is old.
    ///
    /// # Errors
    /// [`ClientError::Absent`] at once if there is none.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        self.topic_or(name, false).await
    }

    /// A topic that exists or that the broker creates because it is asked for, if it does that
    /// (`auto.create.topics.enable`).
    ///
    /// # Errors
    /// [`ClientError::Absent`] after some seconds if there is none.
    pub async fn topic_or_create(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        if let Ok(topic) = self.topic_or(name, true).await {
            return Ok(topic);
        }
        let clock = Arc::clone(&self.ambient().clock);
        let limit = clock.monotonic() + CREATION_WAIT;
        let attempts = self.retrying(Retry::Always, move || self.topic_or(name, true));
        match deadline(&*clock, limit, attempts).await {
            Some(result) => result,
            None => self.topic_or(name, false).await,
        }
    }

    async fn topic_or(&self, name: &str, create: bool) -> Result<Arc<Topic>, ClientError> {
        if let Some(topic) = self.remembered_topic(name) {
            return Ok(topic);
        }
        let response = self.metadata(Wanted::Topic { name, create }).await?;
        let found = response
            .topics
            .first()
            .ok_or_else(|| ClientError::Incomplete {
                broker: Arc::from("asked for metadata"),
                what: format!("topic {name:?}"),
            })?;
        let checked = check(found.error_code, None, || format!("topic {name:?}"));
        checked.map_err(|error| {
            if create {
                error
            } else {
                error.absent_if_unknown()
            }
        })?;
        let topic = Arc::new(read_topic(found));
        self.remember_topic(&topic);
        Ok(topic)
    }

    /// The leader of a partition.
    ///
    /// # Errors
    /// [`ClientError::Absent`] if there is no such topic, [`ClientError::Refused`] with UNKNOWN_TOPIC_OR_PARTITION if it
    /// has no such partition, with LEADER_NOT_AVAILABLE (retriable) while that has no leader.
    pub async fn leader(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(Arc<Topic>, i32), ClientError> {
        let known = self.topic(topic).await?;
        let refused = |code| ClientError::Refused {
            subject: format!("topic {topic:?} partition {partition}"),
            code,
            message: None,
        };
        let Some(found) = known.partition(partition) else {
            self.forget_topic(topic);
            return Err(refused(ErrorCode::UnknownTopicOrPartition));
        };
        let Some(leader) = found.leader else {
            self.forget_topic(topic);
            return Err(refused(ErrorCode::LeaderNotAvailable));
        };
        Ok((known, leader))
    }

    async fn metadata(&self, wanted: Wanted<'_>) -> Result<MetadataResponse, ClientError> {
        let (_, response) = self
            .ask::<MetadataRequest>(Target::Any, METADATA_MAX, |version| {
                request(wanted, version)
            })
            .await?;
        check(response.error_code, None, || {
            "metadata of the cluster".to_owned()
        })?;
        self.remember_cluster(Arc::new(read_cluster(&response)));
        Ok(response)
    }
}

fn request(wanted: Wanted<'_>, version: i16) -> MetadataRequest {
    let mut request = MetadataRequest::default();
    let mut create = false;
    request.topics = match wanted {
        // Version 0 knows no empty list: there, all topics come along.
        Wanted::Nothing => Some(Vec::new()),
        Wanted::Everything if version == 0 => Some(Vec::new()),
        Wanted::Everything => None,
        Wanted::Topic { name, create: wish } => {
            create = wish;
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            Some(vec![MetadataRequestTopic::default().with_name(Some(name))])
        }
    };
    if version >= 4 {
        request.allow_auto_topic_creation = create;
    }
    request
}

fn read_cluster(response: &MetadataResponse) -> Cluster {
    let brokers = response.brokers.iter().filter_map(|broker| {
        let address = BrokerAddress::new(&broker.host, u16::try_from(broker.port).ok()?);
        let rack = broker.rack.as_ref().map(ToString::to_string);
        Some((broker.node_id.0, Broker { address, rack }))
    });
    Cluster {
        id: response.cluster_id.as_ref().map(ToString::to_string),
        brokers: brokers.collect(),
        controller: Some(response.controller_id.0).filter(|id| *id >= 0),
    }
}

fn read_topic(topic: &MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic.partitions.iter().map(read_partition).collect();
    partitions.sort_by_key(|partition| partition.index);
    Topic {
        name: topic
            .name
            .as_ref()
            .map_or_else(String::new, |name| name.0.to_string()),
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
    }
}

fn read_partition(partition: &MetadataResponsePartition) -> Partition {
    let ids = |brokers: &[streamhouse_protocol::messages::BrokerId]| {
        brokers.iter().map(|id| id.0).collect()
    };
    Partition {
        index: partition.partition_index,
        leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: ids(&partition.replica_nodes),
        in_sync_replicas: ids(&partition.isr_nodes),
    }
}
