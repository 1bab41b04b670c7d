//! Flushes that fail before their upload for a reason that stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::{
    ClusterShelf, Durability, GrantOutcome, GrantRequest, NewCluster, NewTopic, ShardShelf,
    TopicShelf,
};
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::TopicName;
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent};
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::Objects;

use super::*;
use crate::LogSettings;
use crate::append::validate::{AppendRules, Prepared};
use crate::append::{Acks, Staged};
use crate::leading::SharedParts;
use crate::read::PartitionAddress;
use crate::shard_for_partition;

const TOPIC: TopicId = TopicId(0x7070);
const SHARDS: u32 = 4;
const LIFE: Incarnation = Incarnation(0x11);

fn address(partition: i32) -> PartitionAddress {
    let at = TopicPartition::new(TOPIC, PartitionIndex(partition));
    PartitionAddress {
        at,
        shard: shard_for_partition(at, SHARDS),
    }
}

/// A leader of all shards. The clock stands still, so that nothing is flushed before the test does it.
async fn leader() -> Log {
    let ambient = Ambient {
        clock: Arc::new(ManualClock::new(1_000_000)),
        chance: Arc::new(SeededChance::new(5)),
        tasks: Tasks::new(),
    };
    let store = MemoryStore::new(ambient.clone());
    let cluster = NewCluster {
        cluster_id: 0xc1,
        shards: SHARDS,
        durability: Durability::Shared,
    };
    store.initialise(cluster).await.unwrap();
    let topic = NewTopic {
        id: TOPIC,
        name: TopicName::new("t").unwrap(),
        partitions: (0..8).map(|index| address(index).shard).collect(),
        configs: BTreeMap::new(),
        created_ms: 0,
    };
    store.create_topic(topic).await.unwrap();
    let objects = Objects::in_memory(ambient.clone());
    let parts = SharedParts {
        cache: BlockCache::new(
            objects.clone(),
            ambient.clone(),
            BlockCacheSettings::default(),
        ),
        objects,
        store: Arc::new(store.clone()),
        cluster: 0xc1,
        incarnation: LIFE,
        settings: LogSettings::default(),
        shared: SharedSettings::default(),
        ambient,
    };
    let log = Log::open_shared(parts).await.unwrap();
    for shard in (0..SHARDS).map(ShardId) {
        let request = GrantRequest::own(LIFE, None, [shard]);
        let GrantOutcome::Granted(row) = store.grant(request).await.unwrap()[0] else {
            panic!("not granted");
        };
        log.lead(&row).await.unwrap();
    }
    log
}

fn stage(log: &Log, at: PartitionAddress) -> Staged {
    let mut batch = RecordBatchBuilder::new(Compression::None);
    let record = RecordContent {
        value: Some(b"a"),
        ..RecordContent::default()
    };
    batch.push(&record).unwrap();
    let rules = AppendRules {
        batch_bytes_max: 1 << 20,
        segment_bytes: 1 << 30,
        is_compacted: false,
        stamps_append_time: false,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
    };
    let bytes = batch.build().unwrap().into_bytes();
    let prepared = Prepared::new(&bytes, 0, &rules, 1_000_000).unwrap();
    log.stage(at, prepared, Acks::All).unwrap()
}

/// Two partitions of different shards, in the order of these.
fn two() -> (PartitionAddress, PartitionAddress) {
    let first = address(0);
    let mut others = (1..8).map(address);
    let other = others.find(|other| other.shard != first.shard);
    let other = other.expect("eight partitions lie in more than one shard");
    if first.shard < other.shard {
        (first, other)
    } else {
        (other, first)
    }
}

/// One flush of all that is staged, as `change` leaves it.
async fn flush(log: &Log, change: impl FnOnce(&mut Vec<ShardPart>)) {
    let flush = log.shared.as_ref().unwrap();
    let now = log.ambient.clock.monotonic();
    let (mut parts, next) = log.collect_staged(flush, 0, 0, u64::MAX);
    change(&mut parts);
    flush.pace.lock().begun(next, now);
    log.clone().run_flush(0, parts, now).await;
}

/// Such a flush was tried again for ever, with nothing but a warning: no producer of any shard in it was answered.
#[tokio::test]
async fn a_shard_that_no_flush_can_write_stops_and_the_others_go_on() {
    let log = leader().await;
    let (bad, good) = two();
    let (lost, kept) = (stage(&log, bad), stage(&log, good));
    flush(&log, |parts| parts[0].partitions[0].1.in_memory.clear()).await;
    let stopped = log.stopped_shards();
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert_eq!(stopped[0].0, bad.shard);
    assert!(
        stopped[0].1.contains("restart the broker"),
        "{}",
        stopped[0].1
    );
    assert_eq!(kept.acknowledged().await.unwrap().base_offset, 0);
    assert!(lost.acknowledged().await.is_err());
    let staged = log.staged_bytes().unwrap().0;
    assert_eq!(staged, 0, "what nobody will flush takes no room");
}

#[tokio::test]
async fn a_flush_that_can_only_be_written_shard_by_shard_is() {
    let log = leader().await;
    let (first, second) = two();
    let staged = [stage(&log, first), stage(&log, second)];
    // Sections of an object ascend, so both together are refused.
    flush(&log, |parts| parts.reverse()).await;
    assert_eq!(log.stopped_shards(), Vec::new());
    for staged in staged {
        assert_eq!(staged.acknowledged().await.unwrap().base_offset, 0);
    }
}
