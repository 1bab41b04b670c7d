//! Where the bytes of partitions lie, as DescribeLogDirs tells it.

use streamhouse_protocol::messages::DescribeLogDirsRequest;
use streamhouse_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};
use crate::topics::name;

/// The highest version of DescribeLogDirs that is filled here.
const LOG_DIRS_MAX: i16 = 4;

/// What one folder or store of one broker holds of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionBytes {
    /// The index of the partition.
    pub partition: i32,
    /// The broker.
    pub broker: i32,
    /// What the broker calls the place.
    pub place: String,
    /// How many bytes lie there.
    pub bytes: i64,
}

impl Client {
    /// What every broker holds of a topic, by partition.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn bytes_of_topic(&self, topic: &str) -> Result<Vec<PartitionBytes>, ClientError> {
        let known = self.topic(topic).await?;
        let indexes: Vec<i32> = known
            .partitions
            .iter()
            .map(|partition| partition.index)
            .collect();
        let indexes = &indexes;
        let mut found = Vec::new();
        for broker in self.cluster().brokers.keys().copied() {
            let response = self
                .retrying(Retry::Always, move || async move {
                    let build = |_| {
                        let topic = DescribableLogDirTopic::default()
                            .with_topic(name(topic))
                            .with_partitions(indexes.clone());
                        DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
                    };
                    let target = Target::Broker(broker);
                    let (_, response) = self
                        .ask::<DescribeLogDirsRequest>(target, LOG_DIRS_MAX, build)
                        .await?;
                    check(response.error_code, None, || {
                        format!("log dirs of broker {broker}")
                    })?;
                    Ok(response)
                })
                .await?;
            for place in response
                .results
                .iter()
                .filter(|place| place.error_code == 0)
            {
                let topics = place
                    .topics
                    .iter()
                    .filter(|found| found.name.0.as_str() == topic);
                found.extend(topics.flat_map(|topic| &topic.partitions).map(|partition| {
                    PartitionBytes {
                        partition: partition.partition_index,
                        broker,
                        place: place.log_dir.to_string(),
                        bytes: partition.partition_size,
                    }
                }));
            }
        }
        found.sort_by_key(|bytes| (bytes.partition, bytes.broker));
        Ok(found)
    }
}
