//! Topics: create, delete, give partitions, set configs. The rules of Kafka's controller, in one place for every API.
//!
//! Invariants: what returned `Ok` is in the metadata store and, unless the store fails just then, in this broker's
//! catalogue, so that the next request sees it; the shard of each partition is fixed when the partition is made;
//! nothing changes when an error says so.

mod broker_configs;
mod configs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use streamhouse_config::topic::check_overrides;
use streamhouse_config::{TopicConfigError, TopicDefaults, TopicOverrides};
use streamhouse_log::shard_for_partition;
use streamhouse_metadata::{
    AddPartitions, AddPartitionsError, Catalogue, CreateTopicError, DeleteTopicError,
    MetadataStore, NewTopic, Revision, ShardId, StoreError, Topic, TopicCatalogue,
};
use streamhouse_protocol::ids::{BrokerId, PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::{TopicName, TopicNameError};
use streamhouse_runtime::Ambient;
use tracing::{info, warn};

use crate::reach::Brokers;

pub use broker_configs::AlterBrokerError;
pub use configs::{AlterTopicError, ConfigOperation};

/// The most partitions that one request may create (Kafka: `ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// How many replicas a partition is shown with, whatever was asked for: its leader. The copies that make records safe are
/// the storage's own.
pub const REPLICAS_SHOWN: i16 = 1;

/// What the broker's settings say about topics.
#[derive(Clone, Debug)]
pub struct TopicRules {
    /// `num.partitions`.
    pub num_partitions: u32,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub may_delete: bool,
    /// What applies to topics that do not say otherwise, as long as nothing else is set while the broker runs.
    pub defaults: TopicDefaults,
    /// Whose settings these are.
    pub broker: BrokerId,
}

/// What applied to topics at a revision.
type DefaultsAt = (Revision, Arc<TopicDefaults>);

/// The topics of the cluster. Clones share them.
#[derive(Clone, Debug)]
pub struct Topics {
    store: Arc<dyn MetadataStore>,
    catalogue: Arc<TopicCatalogue>,
    ambient: Ambient,
    rules: Arc<TopicRules>,
    brokers: Arc<Brokers>,
    shards: u32,
    /// Held by a change of configs from reading the old value until the new one is in the catalogue: appending to a
    /// list twice at once must not lose one of the two.
    altering: Arc<tokio::sync::Mutex<()>>,
    /// What applies to topics at a revision: worked out once.
    defaults: Arc<Mutex<Option<DefaultsAt>>>,
}

/// A topic that is asked for. Negative numbers ask for the defaults.
#[derive(Clone, Debug, Default)]
pub struct TopicRequest {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for `num.partitions`.
    pub partitions: i32,
    /// How many replicas; -1 for the broker's default. Every number from 1 on is accepted, and means
    /// [`REPLICAS_SHOWN`].
    pub replication_factor: i16,
    /// Partition and brokers, if the client places them itself.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Configs by name; null values as they came.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic as it was created, or as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; of a topic that was only checked: an id that nobody has.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: usize,
    /// What was set for it.
    pub configs: TopicOverrides,
}

/// Why a topic is not created. Texts are Kafka's where scripts match on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The name is not one. Choose another.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// The name is taken.
    #[error("Topic '{name}' already exists.")]
    Exists {
        /// The name.
        name: TopicName,
    },
    /// The name differs from another only in `.` and `_`.
    #[error("Topic '{name}' collides with existing topic: {with}")]
    Collision {
        /// The name.
        name: TopicName,
        /// The other.
        with: TopicName,
    },
    /// The number of partitions is none.
    #[error("Number of partitions was set to an invalid non-positive value.")]
    Partitions,
    /// The request asks for more partitions than one request may.
    #[error(
        "Excessively large number of partitions per request: at most {max} can be created at once."
    )]
    TooManyPartitions {
        /// How many may be created.
        max: usize,
    },
    /// The number of replicas is none.
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    ReplicationFactor,
    /// A placement and a number contradict each other.
    #[error("A manual partition assignment was specified, but {number} was not set to -1.")]
    AssignmentAndNumber {
        /// Which number.
        number: &'static str,
    },
    /// The placement is not possible.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// A config is not one.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// A config without value.
    #[error("Null value not supported for topic configs: {name}")]
    NullConfig {
        /// The config.
        name: String,
    },
    /// A config that is given twice.
    #[error("Error due to duplicate config keys: {name}")]
    DuplicateConfig {
        /// The config.
        name: String,
    },
    /// The store failed; the error says whether the topic may exist now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why brokers cannot hold partitions as the client wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// A partition without brokers.
    #[error("The manual partition assignment includes an empty replica list.")]
    Empty,
    /// A broker that does not exist.
    #[error(
        "The manual partition assignment includes broker {broker}, but no such broker is registered."
    )]
    UnknownBroker {
        /// The broker.
        broker: i32,
    },
    /// A broker twice for one partition.
    #[error("The manual partition assignment includes the broker {broker} more than once.")]
    DuplicateBroker {
        /// The broker.
        broker: i32,
    },
    /// A partition twice.
    #[error("Found multiple manual partition assignments for partition {partition}")]
    DuplicatePartition {
        /// The partition.
        partition: i32,
    },
    /// A gap between partitions.
    #[error("partitions should be a consecutive 0-based integer sequence")]
    NotConsecutive,
    /// Another number of placements than of partitions to add.
    #[error(
        "Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."
    )]
    Count {
        /// Partitions to add.
        added: usize,
        /// Placements.
        assigned: usize,
    },
}

/// Why a topic is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// `delete.topic.enable` is false.
    #[error("Topic deletion is disabled.")]
    Disabled,
    /// There is no such topic (any more).
    #[error("This server does not host this topic ID.")]
    UnknownTopic,
    /// The store failed; the error says whether the topic may be gone.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why partitions are not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// There is no such topic.
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    /// Topics never shrink.
    #[error(
        "Topic currently has {partitions} partitions, which is higher than the requested {asked}."
    )]
    Fewer {
        /// How many it has.
        partitions: usize,
        /// How many were asked for.
        asked: i32,
    },
    /// Nothing would change.
    #[error("Topic already has {partitions} partition(s).")]
    Same {
        /// How many it has.
        partitions: usize,
    },
    /// The request asks for more partitions than one request may.
    #[error(
        "Excessively large number of partitions per request: at most {max} can be created at once."
    )]
    TooMany {
        /// How many may be created.
        max: usize,
    },
    /// The placement is not possible.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// Somebody else added partitions at the same moment: ask again.
    #[error("The number of partitions changed at the same time; ask again.")]
    Changed,
    /// The store failed; the error says whether the partitions may exist now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Topics {
    /// The topics of `store`, whose cluster has `shards` shards (at least 1) and these `brokers`.
    #[must_use]
    pub fn new(
        store: Arc<dyn MetadataStore>,
        catalogue: Arc<TopicCatalogue>,
        ambient: Ambient,
        rules: TopicRules,
        brokers: Arc<Brokers>,
        shards: u32,
    ) -> Self {
        let rules = Arc::new(rules);
        let (altering, defaults) = (Arc::default(), Arc::default());
        Self {
            store,
            catalogue,
            ambient,
            rules,
            brokers,
            shards: shards.max(1),
            altering,
            defaults,
        }
    }

    /// What the settings say.
    #[must_use]
    pub fn rules(&self) -> &TopicRules {
        &self.rules
    }

    /// The newest snapshot of all topics.
    #[must_use]
    pub fn current(&self) -> Arc<Catalogue> {
        self.catalogue.current()
    }

    /// Tells of every change of the topics.
    #[must_use]
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.catalogue.watch()
    }

    /// The topic of this name, which need not be a legal one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Topic> {
        let name = TopicName::new(name).ok()?;
        self.current().by_name(&name).cloned()
    }

    /// The topic with the id `id`.
    #[must_use]
    pub fn find_by_id(&self, id: TopicId) -> Option<Topic> {
        self.current().by_id(id).cloned()
    }

    /// Creates a topic, or with `validate_only` says whether it could be created.
    pub async fn create(
        &self,
        request: TopicRequest,
        validate_only: bool,
    ) -> Result<CreatedTopic, CreateError> {
        let name = TopicName::new(&request.name)?;
        if self.current().by_name(&name).is_some() {
            return Err(CreateError::Exists { name });
        }
        let partitions = self.partitions_of(&request)?;
        let configs = self.checked_configs(&request.configs)?;
        let id = self.fresh_id();
        let created = CreatedTopic {
            id,
            partitions,
            configs,
        };
        if validate_only {
            self.check_collision(&name)?;
            return Ok(created);
        }
        let topic = NewTopic {
            id,
            name: name.clone(),
            partitions: self.shards_of(id, 0..partitions),
            configs: created.configs.clone(),
            created_ms: self.ambient.clock.wall_ms(),
        };
        self.store
            .create_topic(topic)
            .await
            .map_err(|error| match error {
                CreateTopicError::Exists { name, .. } => CreateError::Exists { name },
                CreateTopicError::NameCollision { name, with } => {
                    CreateError::Collision { name, with }
                }
                CreateTopicError::Store(error) => CreateError::Store(error),
            })?;
        info!(topic = %name, topic_id = %id, partitions, "topic created");
        self.refresh().await;
        Ok(created)
    }

    /// Creates a topic because a client asked for its metadata, with the defaults of the broker. Whoever comes second
    /// gets the topic of the first.
    pub async fn create_automatically(&self, name: &str) -> Result<Topic, CreateError> {
        let request = TopicRequest {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..TopicRequest::default()
        };
        match self.create(request, false).await {
            // Somebody else was faster; perhaps through another broker, so look again.
            Ok(_) => {}
            Err(CreateError::Exists { .. }) => self.refresh().await,
            Err(error) => return Err(error),
        }
        self.find(name).ok_or_else(|| {
            CreateError::Store(StoreError::Unavailable {
                operation: "read a topic that was just created",
                outcome: streamhouse_metadata::Outcome::MayHaveHappened,
                reason: "it is not in the catalogue".to_owned(),
            })
        })
    }

    /// Deletes a topic. Its name is free at once, its records go in the background.
    pub async fn delete(&self, id: TopicId) -> Result<(), DeleteError> {
        if !self.rules.may_delete {
            return Err(DeleteError::Disabled);
        }
        self.store
            .delete_topic(id)
            .await
            .map_err(|error| match error {
                DeleteTopicError::UnknownTopic { .. } => DeleteError::UnknownTopic,
                DeleteTopicError::Store(error) => DeleteError::Store(error),
            })?;
        info!(topic_id = %id, "topic deleted");
        self.refresh().await;
        Ok(())
    }

    /// Gives a topic more partitions, `asked` in all, or with `validate_only` says whether that is possible. `left` is
    /// how many the request may still add; what this topic asks for is taken from it.
    pub async fn add_partitions(
        &self,
        name: &str,
        asked: i32,
        assignments: Option<&[Vec<i32>]>,
        validate_only: bool,
        left: &mut usize,
    ) -> Result<(), AddError> {
        let topic = self.find(name).ok_or(AddError::UnknownTopic)?;
        let partitions = topic.partitions.len();
        let count = usize::try_from(asked).unwrap_or(0);
        if count < partitions {
            return Err(AddError::Fewer { partitions, asked });
        }
        if count == partitions {
            return Err(AddError::Same { partitions });
        }
        let added = count - partitions;
        *left = left.checked_sub(added).ok_or(AddError::TooMany {
            max: PARTITIONS_PER_REQUEST_MAX,
        })?;
        if let Some(assignments) = assignments {
            if assignments.len() != added {
                return Err(AssignmentError::Count {
                    added,
                    assigned: assignments.len(),
                }
                .into());
            }
            for brokers in assignments {
                self.check_brokers(brokers)?;
            }
        }
        if validate_only {
            return Ok(());
        }
        let request = AddPartitions {
            topic: topic.id,
            current: u32::try_from(partitions).unwrap_or(u32::MAX),
            shards: self.shards_of(topic.id, partitions..count),
        };
        self.store
            .add_partitions(request)
            .await
            .map_err(|error| match error {
                AddPartitionsError::UnknownTopic { .. } => AddError::UnknownTopic,
                AddPartitionsError::Changed { .. } => AddError::Changed,
                AddPartitionsError::Store(error) => AddError::Store(error),
            })?;
        info!(topic = %topic.name, partitions = count, "partitions added");
        self.refresh().await;
        Ok(())
    }

    /// Takes the store's state into the catalogue, so that the next request sees the change that was just made.
    pub(crate) async fn refresh(&self) {
        if let Err(error) = self.catalogue.refresh(&*self.store).await {
            warn!(%error, "the change is made, but this broker shows it only after the next refresh");
        }
    }

    /// How many partitions a new topic has.
    fn partitions_of(&self, request: &TopicRequest) -> Result<usize, CreateError> {
        if !request.assignments.is_empty() {
            return self.assigned_partitions(request);
        }
        if request.replication_factor != -1 && request.replication_factor <= 0 {
            return Err(CreateError::ReplicationFactor);
        }
        let partitions = match request.partitions {
            -1 => usize::try_from(self.rules.num_partitions).unwrap_or(usize::MAX),
            count if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err(CreateError::Partitions),
        };
        if partitions > PARTITIONS_PER_REQUEST_MAX {
            return Err(CreateError::TooManyPartitions {
                max: PARTITIONS_PER_REQUEST_MAX,
            });
        }
        Ok(partitions)
    }

    fn assigned_partitions(&self, request: &TopicRequest) -> Result<usize, CreateError> {
        if request.replication_factor != -1 {
            return Err(CreateError::AssignmentAndNumber {
                number: "replication factor",
            });
        }
        if request.partitions != -1 {
            return Err(CreateError::AssignmentAndNumber {
                number: "numPartitions",
            });
        }
        let count = request.assignments.len();
        if count > PARTITIONS_PER_REQUEST_MAX {
            return Err(CreateError::TooManyPartitions {
                max: PARTITIONS_PER_REQUEST_MAX,
            });
        }
        let mut seen = BTreeSet::new();
        for (partition, brokers) in &request.assignments {
            if !seen.insert(*partition) {
                return Err(AssignmentError::DuplicatePartition {
                    partition: *partition,
                }
                .into());
            }
            self.check_brokers(brokers)?;
        }
        let is_consecutive = seen.first() == Some(&0)
            && seen.last().and_then(|last| usize::try_from(*last).ok()) == Some(count - 1);
        if !is_consecutive {
            return Err(AssignmentError::NotConsecutive.into());
        }
        Ok(count)
    }

    /// Replicas can only be placed on brokers that live. Who leads a partition follows from its shard all the same.
    fn check_brokers(&self, brokers: &[i32]) -> Result<(), AssignmentError> {
        let living = self.brokers.current();
        let mut seen = BTreeSet::new();
        for &broker in brokers {
            if !living.iter().any(|known| known.broker.0 == broker) {
                return Err(AssignmentError::UnknownBroker { broker });
            }
            if !seen.insert(broker) {
                return Err(AssignmentError::DuplicateBroker { broker });
            }
        }
        if seen.is_empty() {
            Err(AssignmentError::Empty)
        } else {
            Ok(())
        }
    }

    fn checked_configs(
        &self,
        given: &[(String, Option<String>)],
    ) -> Result<TopicOverrides, CreateError> {
        let mut configs = BTreeMap::new();
        for (name, value) in given {
            let Some(value) = value else {
                return Err(CreateError::NullConfig { name: name.clone() });
            };
            if configs.insert(name.as_str(), value.as_str()).is_some() {
                return Err(CreateError::DuplicateConfig { name: name.clone() });
            }
        }
        Ok(check_overrides(configs, &self.defaults(&self.current()))?)
    }

    /// Finds what the store would refuse, for a topic that is only checked.
    fn check_collision(&self, name: &TopicName) -> Result<(), CreateError> {
        let key = name.collision_key();
        let current = self.current();
        let with = current
            .topics()
            .find(|topic| topic.name.collision_key() == key);
        with.map_or(Ok(()), |with| {
            Err(CreateError::Collision {
                name: name.clone(),
                with: with.name.clone(),
            })
        })
    }

    /// A random id. As Kafka's, its text does not begin with `-`, so that command lines do not take it for an option.
    fn fresh_id(&self) -> TopicId {
        const DASH: u128 = 62;
        loop {
            let id = self.ambient.chance.next_u128();
            if id >> 122 != DASH && id > 1 {
                return TopicId(id);
            }
        }
    }

    /// The shards of partitions: spread from a start that the topic's id chooses. Stored, never computed again.
    fn shards_of(&self, id: TopicId, partitions: std::ops::Range<usize>) -> Vec<ShardId> {
        partitions
            .map(|partition| {
                let index = i32::try_from(partition).unwrap_or(i32::MAX);
                let at = TopicPartition::new(id, PartitionIndex(index));
                shard_for_partition(at, self.shards)
            })
            .collect()
    }
}
