//! The broker as a client sees it: real frames over an in-memory stream, stores in memory, a clock that the tests move.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod api_versions;
mod authorization;
mod bench;
mod broker_configs;
mod brokers;
mod cluster_admin;
mod configs;
mod consumer_groups;
mod durability;
mod every_api;
mod fetch;
mod forgetting;
mod garbage;
mod group_admin;
mod groups;
mod hostile_groups;
mod list_offsets;
mod log_admin;
mod members;
mod metadata;
mod metrics;
mod produce;
mod producers;
mod records;
mod relay;
mod retries;
mod slow_disk;
mod static_members;
mod tcp;
mod topic_ids;
mod topics;
