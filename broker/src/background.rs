//! Everything that a broker does without being asked: the one list of it.
//!
//! | task | when | what |
//! |---|---|---|
//! | `flush` (in the log) | bytes, interval, WAL half full | records what the WAL holds alone |
//! | `set-aside` (in the log) | a shard stopped | moves what only the WAL holds of it to a file of its own |
//! | `orphans` (in the log) | a while after the start and after a takeover | gives up what dead lives stored and never committed |
//! | `abandoned` (in the log) | the database did not answer | gives up what this life stored and could not commit |
//! | `retention` | `log.retention.check.interval.ms` | trims old runs |
//! | `connection-limits` | configs of brokers change | limits connections |
//! | `producer-expiry` | `producer.id.expiration.check.interval.ms` | forgets idle producers |
//! | `topic-drops` | a topic was deleted; after each retention pass | drops its partitions, settles its tombstone |
//! | `garbage` | after each retention pass | deletes objects that nobody needs |
//! | `heartbeat` (in the membership) | `broker.heartbeat.interval.ms`, one of several brokers | renews the lease |
//! | `membership` | after each heartbeat; the database says that something changed | takes, loads, hands over and cedes shards |
//!
//! All end at shutdown. A pass that fails is logged and tried again at its next turn; nothing is lost by a missed pass.

use std::collections::BTreeMap;
use std::time::Duration;

use streamhouse_log::retention::Retention;
use streamhouse_metadata::ShardId;
use streamhouse_protocol::ids::TopicId;
use streamhouse_runtime::Ambient;

use crate::partitions::Partitions;
use crate::running_settings::RunningSettings;

/// What the background needs.
#[derive(Clone, Debug)]
pub struct Background {
    partitions: Partitions,
    ambient: Ambient,
    settings: RunningSettings,
    retention_interval: Duration,
    producer_expiry_interval: Duration,
}

impl Background {
    /// Works on `partitions` as `settings` say.
    #[must_use]
    pub fn new(partitions: Partitions, ambient: Ambient, settings: RunningSettings) -> Self {
        let log = &settings.started_with().log;
        Self {
            partitions,
            ambient,
            retention_interval: log.retention_check_interval,
            producer_expiry_interval: log.producer_id_expiration_check_interval,
            settings,
        }
    }

    /// Starts every task of the list.
    pub fn start(self) {
        let tasks = self.ambient.tasks.clone();
        tasks.spawn("producer-expiry", self.clone().expire_producers());
        tasks.spawn("topic-drops", self.clone().drop_topics());
        tasks.spawn("retention", self.retain());
    }

    async fn retain(self) {
        while self.pause(self.retention_interval).await {
            let trimmed = self.partitions.log.apply_retention(&self.rules());
            if trimmed > 0 {
                tracing::info!(partitions = trimmed, "retention moved log starts");
            }
            self.settle().await;
            if !self.sweeps() {
                continue;
            }
            match self.partitions.log.sweep().await {
                Ok(swept) if swept.deleted > 0 => {
                    tracing::info!(objects = swept.deleted, "deleted objects that nobody needs");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the sweep for unused objects failed"),
            }
        }
    }

    /// Of several brokers one looks for unused objects: the leader of the first shard.
    fn sweeps(&self) -> bool {
        self.partitions.log.grant(ShardId(0)).is_ok()
    }

    async fn expire_producers(self) {
        while self.pause(self.producer_expiry_interval).await {
            let idle = self.settings.current().log.producer_id_expiration;
            let idle_ms = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
            let evicted = self.partitions.log.evict_producers(idle_ms);
            if evicted > 0 {
                tracing::debug!(producers = evicted, "forgot idle producers");
            }
        }
    }

    /// Drops the partitions of deleted topics as soon as the catalogue shows the deletion.
    async fn drop_topics(self) {
        let mut changes = self.partitions.topics.watch();
        loop {
            self.settle().await;
            tokio::select! {
                // Both arms may be dropped: a change that was not seen is seen by the next call.
                changed = changes.changed() => if changed.is_err() { return },
                () = self.ambient.tasks.shutdown_requested() => return,
            }
        }
    }

    async fn settle(&self) {
        if self.partitions.topics.current().tombstones().len() == 0 {
            return;
        }
        if let Err(error) = self.partitions.log.settle_tombstones().await {
            tracing::warn!(%error, "deleted topics were not settled; tried again with the next pass");
        }
        self.partitions.topics.refresh().await;
    }

    fn rules(&self) -> BTreeMap<TopicId, Retention> {
        let catalogue = self.partitions.topics.current();
        let kept = catalogue.topics().filter_map(|topic| {
            let rule = self.partitions.rule(&catalogue, topic);
            let ms = rule
                .retention
                .map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            rule.expires.then_some((
                topic.id,
                Retention {
                    ms,
                    bytes: rule.retention_bytes,
                },
            ))
        });
        kept.collect()
    }

    /// Sleeps; false says that the broker shuts down.
    async fn pause(&self, interval: Duration) -> bool {
        tokio::select! {
            () = self.ambient.clock.sleep(interval) => true,
            () = self.ambient.tasks.shutdown_requested() => false,
        }
    }
}
