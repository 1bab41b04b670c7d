//! A manifest, from the database or from an object, and what it makes of the state of a shard.
//!
//! What was read comes back when it is written and read again; the state that it leads to survives a checkpoint.

use bytes::Bytes;
use streamhouse_log::format::checkpoint;
use streamhouse_log::format::entry::{BatchBounds, Entry, Point, Run, RunProducer};
use streamhouse_log::format::manifest::{DataStart, FlushId, Manifest};
use streamhouse_log::state::recorded::Recorded;
use streamhouse_metadata::store::{Incarnation, Lsn, ShardId, WalEnd};
use streamhouse_protocol::ids::{
    LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "manifest",
    reads: "a manifest: what a flush changed in a shard",
    executions: 200_000,
    length_max: 8 << 10,
    // An entry of three bytes is some hundred in memory, several times over.
    memory: Memory {
        per_byte: 1024,
        free: 256 << 10,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

fn at(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(topic), PartitionIndex(partition))
}

fn run(at: TopicPartition, base_offset: i64, records: u64) -> Entry {
    let producer = RunProducer {
        id: ProducerId(4000),
        epoch: ProducerEpoch(0),
        transactional: true,
        first_sequence: 0,
        first_offset: base_offset,
        last_stamp: Timestamp(1_700_000_000_000),
        last_batches: vec![
            BatchBounds {
                first_sequence: 0,
                last_sequence: 4,
                base_offset,
                timestamp: Timestamp(-1),
            };
            2
        ],
    };
    Entry::Run(Run {
        at,
        base_offset,
        records,
        batches: 2,
        bytes: 700,
        append_epoch: LeaderEpoch(1),
        max_timestamp: Timestamp(1_700_000_000_000),
        crc: 0xdead_beef,
        producers: vec![producer],
        points: vec![Point {
            offset_delta: 1,
            byte_delta: 350,
            max_timestamp_before: Timestamp(5),
        }],
    })
}

/// Manifests of a shard, each as the first one that a state sees.
pub(super) fn manifests() -> Vec<Manifest> {
    let manifest = |entries: Vec<Entry>| Manifest {
        shard: ShardId(3),
        lsn: Lsn(0),
        epoch: LeaderEpoch(1),
        incarnation: Incarnation(0xc0ffee),
        flush_seq: 1,
        prev: FlushId::default(),
        stamp: Timestamp(1_700_000_000_000),
        wal_end: Some(WalEnd {
            dir: 9,
            position: 8192,
        }),
        data: Some(DataStart {
            object_seq: 42,
            attempt: 1,
            first_byte: 64,
        }),
        entries,
    };
    let trim = Entry::Trim {
        at: at(1, 0),
        log_start: 4,
    };
    let evict = Entry::EvictProducer {
        at: at(1, 0),
        producer: ProducerId(4000),
    };
    vec![
        manifest(vec![
            run(at(1, 0), 0, 5),
            run(at(1, 0), 5, 100),
            run(at(2, 1), 0, 1),
        ]),
        manifest(vec![
            run(at(1, 0), 0, 5),
            trim,
            evict,
            Entry::DropPartition { at: at(2, 0) },
        ]),
        Manifest {
            wal_end: None,
            data: None,
            ..manifest(Vec::new())
        },
    ]
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    manifests()
        .iter()
        .map(|manifest| manifest.encode().to_vec())
        .collect()
}

fn check(input: &[u8]) -> Verdict {
    let Ok(manifest) = Manifest::decode(Bytes::copy_from_slice(input)) else {
        return Verdict::Refused;
    };
    assert_eq!(Manifest::decode(manifest.encode()).as_ref(), Ok(&manifest));
    let mut recorded = Recorded {
        next_lsn: manifest.lsn,
        ..Recorded::default()
    };
    let _ = recorded
        .locations
        .released_by(&manifest.entries, manifest.object());
    if recorded.apply(&manifest).is_ok() {
        let stored = checkpoint::encode(manifest.shard, &recorded);
        assert_eq!(
            checkpoint::decode(manifest.shard, stored).as_ref(),
            Ok(&recorded)
        );
        let _ = recorded
            .locations
            .released_by(&manifest.entries, manifest.object());
    }
    Verdict::Accepted
}
