//! How far consumer groups are behind, under the names of kafka_exporter, so that its dashboards and alerts go on working.
//!
//! Each broker tells of the groups that it coordinates and of the partitions that it leads; it is worked out when somebody
//! asks, and costs nothing before. A lag is shown where this broker leads the partition, too; for the others it is the
//! difference of `kafka_topic_partition_current_offset` and `kafka_consumergroup_current_offset` by topic and partition.
//! The number of series is bounded; how many groups and partitions are left out is a metric of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use streamhouse_coordinator::Groups;
use streamhouse_log::Log;
use streamhouse_log::read::{Offsets, PartitionAddress};
use streamhouse_metadata::{Catalogue, TopicCatalogue};
use streamhouse_protocol::ids::{PartitionIndex, TopicPartition};

use super::metric::METRICS;

/// How many groups and offsets of groups are shown, and how many partitions.
const LINES_MAX: usize = 10_000;

/// Reads how far groups are.
#[derive(Clone, Debug)]
pub struct ConsumerLag {
    /// The group coordinator.
    pub groups: Groups,
    /// The topics.
    pub catalogue: Arc<TopicCatalogue>,
    /// The log.
    pub log: Log,
}

/// Lines of metrics by the name of the metric.
#[derive(Debug, Default)]
struct Series(BTreeMap<&'static str, String>);

impl Series {
    fn add(&mut self, name: &'static str, labels: &str, value: i64) {
        let lines = self.0.entry(name).or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}{{{labels}}} {value}");
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.0 {
            let known = METRICS.iter().find(|metric| metric.name == *name);
            let meaning = known.map_or("", |metric| metric.meaning);
            let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} gauge");
            text.push_str(lines);
            text.push('\n');
        }
        text
    }
}

impl ConsumerLag {
    /// All series as Prometheus text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut series = Series::default();
        let catalogue = self.catalogue.current();
        let partitions = self.add_partitions(&catalogue, &mut series);
        let groups = self.add_groups(&catalogue, &mut series);
        for (of, left_out) in [("groups", groups), ("partitions", partitions)] {
            let labels = format!("of=\"{of}\"");
            let left_out = i64::try_from(left_out).unwrap_or(i64::MAX);
            series.add("streamhouse_broker_lag_left_out", &labels, left_out);
        }
        series.text()
    }

    /// The corners of a partition, if this broker leads it.
    fn offsets(&self, catalogue: &Catalogue, at: TopicPartition) -> Option<Offsets> {
        let shard = catalogue.shard(at.topic, at.partition)?;
        self.log.offsets(PartitionAddress { at, shard }).ok()
    }

    /// Partitions that are led here; says how many were left out.
    fn add_partitions(&self, catalogue: &Catalogue, series: &mut Series) -> usize {
        let mut shown = 0;
        let mut left_out = 0;
        for topic in catalogue.topics() {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            for index in 0..count {
                let at = TopicPartition::new(topic.id, PartitionIndex(index));
                if shown >= LINES_MAX {
                    left_out += 1;
                } else if let Some(offsets) = self.offsets(catalogue, at) {
                    shown += 1;
                    let labels = format!("topic=\"{}\",partition=\"{index}\"", topic.name);
                    let end = offsets.high_watermark;
                    series.add("kafka_topic_partition_current_offset", &labels, end);
                    let start = offsets.log_start;
                    series.add("kafka_topic_partition_oldest_offset", &labels, start);
                }
            }
        }
        left_out
    }

    /// Groups that are coordinated here; says how many were left out.
    fn add_groups(&self, catalogue: &Catalogue, series: &mut Series) -> usize {
        let progress = self.groups.progress(LINES_MAX);
        for group in &progress.groups {
            let name = format!("consumergroup=\"{}\"", escaped(group.group.as_str()));
            let members = i64::try_from(group.members).unwrap_or(i64::MAX);
            series.add("kafka_consumergroup_members", &name, members);
            let mut topics = BTreeMap::<&str, (i64, Option<i64>)>::new();
            for (at, committed) in &group.offsets {
                // A topic that was deleted is behind by nothing.
                let Some(topic) = catalogue.by_id(at.topic) else {
                    continue;
                };
                let topic = topic.name.as_str();
                let index = at.partition.0;
                let labels = format!("{name},topic=\"{topic}\",partition=\"{index}\"");
                series.add("kafka_consumergroup_current_offset", &labels, *committed);
                let end = self.offsets(catalogue, *at).map(|it| it.high_watermark);
                let lag = end.map(|end| end.saturating_sub(*committed).max(0));
                if let Some(lag) = lag {
                    series.add("kafka_consumergroup_lag", &labels, lag);
                }
                let sum = topics.entry(topic).or_insert((0, Some(0)));
                sum.0 = sum.0.saturating_add(*committed);
                sum.1 = sum.1.zip(lag).map(|(sum, lag)| sum.saturating_add(lag));
            }
            for (topic, (committed, lag)) in topics {
                let labels = format!("{name},topic=\"{topic}\"");
                series.add("kafka_consumergroup_current_offset_sum", &labels, committed);
                // A part of a sum would look like a whole one.
                if let Some(lag) = lag {
                    series.add("kafka_consumergroup_lag_sum", &labels, lag);
                }
            }
        }
        progress.left_out
    }
}

/// The value of a label, as Prometheus text has it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
