//! How far groups are, compared with the partitions that they read.

use std::collections::BTreeMap;

use streamhouse_client::Client;
use streamhouse_client::consumer::{Arrived, Consumer};
use streamhouse_client::fetch::FetchOptions;
use streamhouse_client::offsets::OffsetAt;
use streamhouse_protocol::compression::Limits;
use streamhouse_protocol::record::Records;

use crate::cli::failure::Failure;

/// A partition: its topic and its index.
pub(super) type Place = (String, i32);

/// The ends of partitions; those of topics that are gone are left out.
pub(super) async fn ends(
    client: &Client,
    places: impl Iterator<Item = &Place>,
) -> Result<BTreeMap<Place, i64>, Failure> {
    offsets(client, places, OffsetAt::End).await
}

/// Offsets of partitions; those of topics that are gone are left out.
pub(super) async fn offsets(
    client: &Client,
    places: impl Iterator<Item = &Place>,
    at: OffsetAt,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let mut found = BTreeMap::new();
    for (topic, mut partitions) in by_topic {
        let Ok(known) = client.topic(topic).await else {
            continue;
        };
        partitions.retain(|partition| known.partition(*partition).is_some());
        for (partition, offset) in client.offsets(topic, &partitions, at).await? {
            found.insert((topic.to_owned(), partition), offset);
        }
    }
    Ok(found)
}

/// The timestamps of the first records at or behind these offsets of a topic, in milliseconds since 1970. A partition whose
/// records are gone meanwhile, or that has none with a timestamp, is left out.
pub(super) async fn timestamps(
    client: &Client,
    topic: &str,
    from: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, Failure> {
    // One batch of each partition is enough.
    let options = FetchOptions {
        partition_bytes_max: 1,
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::new(client.clone(), topic, from, options);
    let mut found = BTreeMap::new();
    while !consumer.is_done() {
        for arrived in consumer.next().await? {
            let first = first_timestamp(topic, &arrived)?;
            let next = consumer.position(arrived.partition).unwrap_or(i64::MAX);
            if let Some(timestamp) = first {
                found.insert(arrived.partition, timestamp);
            }
            if first.is_some() || next >= arrived.high_watermark {
                consumer.stop(arrived.partition);
            }
        }
    }
    found.retain(|_, timestamp| *timestamp >= 0);
    Ok(found)
}

fn first_timestamp(topic: &str, arrived: &Arrived) -> Result<Option<i64>, Failure> {
    let data = arrived
        .batches
        .iter()
        .filter(|batch| !batch.attributes().is_control());
    for batch in data {
        let unreadable = |error: &dyn std::error::Error| {
            Failure::Data(format!(
                "the batch at offset {} of topic {topic} partition {} cannot be read: {error}",
                batch.base_offset(),
                arrived.partition
            ))
        };
        let records =
            Records::unpack(batch, &Limits::DEFAULT).map_err(|error| unreadable(&error))?;
        for record in &records {
            let record = record.map_err(|error| unreadable(&error))?;
            if record.offset >= arrived.from_offset {
                return Ok(Some(record.timestamp.0));
            }
        }
    }
    Ok(None)
}
