//! One file per Kafka API, and the one table of them.
//!
//! Adding an API is a file and a line. What is not in [`APIS`] does not exist: it is neither advertised nor answered.

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

mod altered_resources;
mod config_resource;
mod leader_hints;
mod words;

use crate::api::Api;

/// Every API that is served. Dispatch, the ApiVersions answer, metric labels, the reference page and the tests come
/// from here.
pub static APIS: &[Api] = &[
    Api::of::<produce::Produce>(),
    Api::under_lease::<fetch::Fetch>(),
    Api::under_lease::<list_offsets::ListOffsets>(),
    Api::under_lease::<metadata::Metadata>(),
    Api::under_lease::<offset_commit::OffsetCommit>(),
    Api::under_lease::<offset_fetch::OffsetFetch>(),
    Api::under_lease::<find_coordinator::FindCoordinator>(),
    Api::under_lease::<join_group::JoinGroup>(),
    Api::under_lease::<heartbeat::Heartbeat>(),
    Api::under_lease::<leave_group::LeaveGroup>(),
    Api::under_lease::<sync_group::SyncGroup>(),
    Api::under_lease::<describe_groups::DescribeGroups>(),
    Api::under_lease::<list_groups::ListGroups>(),
    Api::of::<api_versions::ApiVersions>(),
    Api::of::<create_topics::CreateTopics>(),
    Api::of::<delete_topics::DeleteTopics>(),
    Api::under_lease::<delete_records::DeleteRecords>(),
    Api::of::<init_producer_id::InitProducerId>(),
    Api::under_lease::<offset_for_leader_epoch::OffsetForLeaderEpoch>(),
    Api::of::<describe_acls::DescribeAcls>(),
    Api::of::<create_acls::CreateAcls>(),
    Api::of::<delete_acls::DeleteAcls>(),
    Api::of::<describe_configs::DescribeConfigs>(),
    Api::of::<alter_configs::AlterConfigs>(),
    Api::of::<describe_log_dirs::DescribeLogDirs>(),
    Api::of::<create_partitions::CreatePartitions>(),
    Api::under_lease::<delete_groups::DeleteGroups>(),
    Api::under_lease::<elect_leaders::ElectLeaders>(),
    Api::of::<incremental_alter_configs::IncrementalAlterConfigs>(),
    Api::under_lease::<alter_partition_reassignments::AlterPartitionReassignments>(),
    Api::of::<list_partition_reassignments::ListPartitionReassignments>(),
    Api::under_lease::<offset_delete::OffsetDelete>(),
    Api::under_lease::<describe_cluster::DescribeCluster>(),
    Api::under_lease::<consumer_group_heartbeat::ConsumerGroupHeartbeat>(),
    Api::under_lease::<consumer_group_describe::ConsumerGroupDescribe>(),
    Api::of::<list_config_resources::ListConfigResources>(),
    Api::under_lease::<describe_topic_partitions::DescribeTopicPartitions>(),
];
