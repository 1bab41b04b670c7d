//! What can be done to what: Kafka's operations and resource types.

/// The one name of the cluster resource (Kafka: `Resource.CLUSTER_NAME`).
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// An operation that an authorizer allows or denies. The number is Kafka's code (`AclOperation`); on the wire, never
/// renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Fetch records, join a group, commit offsets.
    Read = 3,
    /// Produce records.
    Write = 4,
    /// Create a topic.
    Create = 5,
    /// Delete a topic, its records, or a group.
    Delete = 6,
    /// Add partitions.
    Alter = 7,
    /// See that a thing exists, its offsets and its state.
    Describe = 8,
    /// What only brokers do.
    ClusterAction = 9,
    /// See configurations.
    DescribeConfigs = 10,
    /// Change configurations.
    AlterConfigs = 11,
    /// Produce with a producer id. `WRITE` on any topic implies it (KIP-679).
    IdempotentWrite = 12,
}

/// The kind of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A topic, by name.
    Topic,
    /// A consumer group, by group id.
    Group,
    /// The cluster; its name is always [`CLUSTER_NAME`].
    Cluster,
    /// A transactional id.
    TransactionalId,
}

impl ResourceKind {
    /// The operations that exist for this kind (Kafka: `AclEntry.supportedOperations`).
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
            IdempotentWrite, Read, Write,
        };
        match self {
            Self::Topic => &[
                Read,
                Write,
                Create,
                Describe,
                Delete,
                Alter,
                DescribeConfigs,
                AlterConfigs,
            ],
            Self::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[
                Create,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
                Alter,
                Describe,
            ],
            Self::TransactionalId => &[Describe, Write],
        }
    }
}

/// A thing that an operation is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource<'a> {
    /// What kind of thing.
    pub kind: ResourceKind,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// The topic `name`.
    #[must_use]
    pub const fn topic(name: &'a str) -> Self {
        Self {
            kind: ResourceKind::Topic,
            name,
        }
    }

    /// The group `name`.
    #[must_use]
    pub const fn group(name: &'a str) -> Self {
        Self {
            kind: ResourceKind::Group,
            name,
        }
    }

    /// The transactional id `name`.
    #[must_use]
    pub const fn transactional_id(name: &'a str) -> Self {
        Self {
            kind: ResourceKind::TransactionalId,
            name,
        }
    }
}

impl Resource<'static> {
    /// The cluster.
    pub const CLUSTER: Self = Self {
        kind: ResourceKind::Cluster,
        name: CLUSTER_NAME,
    };
}
