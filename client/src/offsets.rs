//! Offsets by time: the beginning, the end, and the first record at or after a time.

use std::collections::BTreeMap;

use streamhouse_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use streamhouse_protocol::messages::{BrokerId, ListOffsetsRequest};

use crate::client::{Client, Retry, Target};
use crate::error::{ClientError, check};
use crate::topics::name;

/// The highest version of ListOffsets that is filled here.
const LIST_MAX: i16 = 7;

/// Which offset of a partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The log start offset: the first record that is kept.
    Beginning,
    /// The high watermark: behind the last record that consumers see.
    End,
    /// The first record whose timestamp, in milliseconds since 1970, is this or later. The end, if there is none.
    Time(i64),
}

impl Client {
    /// The offset of each of `partitions`.
    ///
    /// # Errors
    /// [`ClientError`]; it changes nothing.
    pub async fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        at: OffsetAt,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut found = self
            .retrying(Retry::Always, move || async move {
                let asked = self.offsets_once(topic, partitions, at).await;
                asked.inspect_err(|_| self.forget_topic(topic))
            })
            .await?;
        let beyond: Vec<i32> = found
            .iter()
            .filter(|(_, offset)| **offset < 0)
            .map(|(index, _)| *index)
            .collect();
        if !beyond.is_empty() && at != OffsetAt::End {
            let ends = Box::pin(self.offsets(topic, &beyond, OffsetAt::End)).await?;
            found.extend(ends);
        }
        Ok(found)
    }

    async fn offsets_once(
        &self,
        topic: &str,
        partitions: &[i32],
        at: OffsetAt,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let (_, leader) = self.leader(topic, *partition).await?;
            by_leader.entry(leader).or_default().push(*partition);
        }
        let mut found = BTreeMap::new();
        for (leader, indexes) in by_leader {
            let build = |_| request(topic, &indexes, at);
            let target = Target::Broker(leader);
            let (_, response) = self
                .ask::<ListOffsetsRequest>(target, LIST_MAX, build)
                .await?;
            for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let index = answer.partition_index;
                check(answer.error_code, None, || {
                    format!("offsets of topic {topic:?} partition {index}")
                })?;
                found.insert(index, answer.offset);
            }
        }
        Ok(found)
    }
}

fn request(topic: &str, partitions: &[i32], at: OffsetAt) -> ListOffsetsRequest {
    let timestamp = match at {
        OffsetAt::Beginning => -2,
        OffsetAt::End => -1,
        OffsetAt::Time(milliseconds) => milliseconds.max(0),
    };
    let partitions = partitions.iter().map(|index| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}
