//! Partitions as clients name them: from topic name and index to the log, with the rules of the topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_config::topic::{TimestampType, TopicConfigs};
use streamhouse_log::Log;
use streamhouse_log::append::validate::AppendRules;
use streamhouse_log::read::{Offsets, PartitionAddress};
use streamhouse_metadata::{Catalogue, Topic};
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId, TopicPartition};
use streamhouse_runtime::Clock;

use crate::api::RequestContext;
use crate::error_code::{self, Refusal};
use crate::fetch_memory::FetchMemory;
use crate::reach::{Cluster, Reach, ShardLeaders};
use crate::security::{Access, Operation};
use crate::topics::Topics;

/// Topics whose rules are kept; above it all are worked out again.
const RULES_MAX: usize = 10_000;

/// The log, by the names that clients use.
#[derive(Clone, Debug)]
pub struct Partitions {
    /// The log.
    pub log: Log,
    /// The topics.
    pub topics: Topics,
    /// Who may do what.
    pub access: Access,
    /// The cluster and this broker's place in it.
    pub cluster: Cluster,
    /// Who leads which shard.
    pub leaders: Arc<ShardLeaders>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Limits.
    pub limits: FetchLimits,
    /// Memory of answers that are read from the WAL or from objects.
    pub memory: FetchMemory,
    rules: Arc<Mutex<HashMap<TopicId, (u64, TopicRule)>>>,
}

/// Bounds of one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// `fetch.max.bytes`: record bytes of one answer.
    pub bytes_max: usize,
    /// The longest that a fetch waits, whatever the client asks for.
    pub wait_max: Duration,
    /// `listener.fetch_memory`: bytes of all answers together that are read from the WAL or from objects.
    pub memory_bytes: usize,
}

/// A topic as a request names it: by its id in the newer versions of an API (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNamed<'a> {
    /// By name.
    Name(&'a str),
    /// By id, which no other topic ever has, not even one of the same name.
    Id(TopicId),
}

/// What a topic's configs mean for its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// For appends.
    pub append: AppendRules,
    /// Whether records go when they are old or too many.
    pub expires: bool,
    /// Whether clients may delete records by offset: `cleanup.policy` contains `delete`.
    pub may_delete: bool,
    /// `retention.ms`; `None` keeps for ever.
    pub retention: Option<Duration>,
    /// `retention.bytes`; `None` keeps all.
    pub retention_bytes: Option<u64>,
}

impl Reach for Partitions {
    fn of(broker: &crate::reach::Broker) -> &Self {
        &broker.partitions
    }
}

impl Partitions {
    /// Partitions of `log`.
    #[must_use]
    pub fn new(
        log: Log,
        topics: Topics,
        (cluster, leaders): (Cluster, Arc<ShardLeaders>),
        clock: Arc<dyn Clock>,
        limits: FetchLimits,
    ) -> Self {
        let access = cluster.access.clone();
        Self {
            log,
            topics,
            access,
            cluster,
            leaders,
            clock,
            limits,
            memory: FetchMemory::new(limits.memory_bytes),
            rules: Arc::default(),
        }
    }

    /// The topic that the asker of `cx` wants to do `operation` to.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID.
    pub fn authorized(
        &self,
        cx: &RequestContext,
        operation: Operation,
        topic: TopicNamed<'_>,
    ) -> Result<Topic, Refusal> {
        let may = |name: &str| self.access.to_topic(cx, operation, name);
        match topic {
            TopicNamed::Name(name) if !may(name) => Err(error_code::TOPIC_AUTHORIZATION_FAILED),
            TopicNamed::Name(name) => self
                .topics
                .find(name)
                .ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION),
            TopicNamed::Id(id) => match self.topics.find_by_id(id) {
                Some(topic) if may(topic.name.as_str()) => Ok(topic),
                Some(_) => Err(error_code::TOPIC_AUTHORIZATION_FAILED),
                None => Err(error_code::UNKNOWN_TOPIC_ID),
            },
        }
    }

    /// The partition `index` of `topic`.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn address(&self, topic: Option<&Topic>, index: i32) -> Result<PartitionAddress, Refusal> {
        let found = topic.and_then(|topic| {
            let shard = *topic.partitions.get(usize::try_from(index).ok()?)?;
            let at = TopicPartition::new(topic.id, PartitionIndex(index));
            Some(PartitionAddress { at, shard })
        });
        found.ok_or(error_code::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// What the configs of a topic mean, worked out once per change of the catalogue.
    #[must_use]
    pub fn rule(&self, catalogue: &Catalogue, topic: &Topic) -> TopicRule {
        let revision = catalogue.revision().number;
        let mut rules = self.rules.lock();
        if let Some((known, rule)) = rules.get(&topic.id)
            && *known == revision
        {
            return *rule;
        }
        let rule = rule_of(&TopicConfigs::resolve(
            &topic.configs,
            &self.topics.defaults(catalogue),
        ));
        if rules.len() >= RULES_MAX {
            rules.clear();
        }
        rules.insert(topic.id, (revision, rule));
        rule
    }

    /// The largest leader epoch of the partition that is at most `wanted`, and where it ends; `None` for one that never was.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn epoch_end(
        &self,
        address: PartitionAddress,
        offsets: &Offsets,
        wanted: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, i64)>, Refusal> {
        if wanted < LeaderEpoch(0) || wanted > offsets.leader_epoch {
            return Ok(None);
        }
        let known = self.log.epoch_end(address, wanted);
        let known = known.map_err(|error| Refusal::from(&error))?;
        // An epoch in which nothing was written, or whose records are gone: what is there was written behind it.
        Ok(known.or(Some((wanted, offsets.log_start))))
    }

    /// Compares the leader epoch that a client believes in with the partition's; -1 is not compared.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH.
    pub fn check_epoch(current: LeaderEpoch, believed: i32) -> Result<(), Refusal> {
        if believed < 0 || believed == current.0 {
            Ok(())
        } else if believed < current.0 {
            Err(error_code::log::FENCED_LEADER_EPOCH)
        } else {
            Err(error_code::log::UNKNOWN_LEADER_EPOCH)
        }
    }
}

fn rule_of(configs: &TopicConfigs) -> TopicRule {
    TopicRule {
        append: AppendRules {
            batch_bytes_max: configs.max_message_bytes as usize,
            segment_bytes: configs.segment_bytes as usize,
            is_compacted: configs.cleanup_policy.is_compact,
            stamps_append_time: configs.timestamp_type == TimestampType::LogAppendTime,
            before_max_ms: millis(configs.timestamp_before_max),
            after_max_ms: millis(configs.timestamp_after_max),
        },
        // Until compaction exists nothing of a compacted topic is removed by itself.
        expires: configs.cleanup_policy.is_delete && !configs.cleanup_policy.is_compact,
        may_delete: configs.cleanup_policy.is_delete,
        retention: configs.retention,
        retention_bytes: configs.retention_bytes,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
