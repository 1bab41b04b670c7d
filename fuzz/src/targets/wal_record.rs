//! What the log writes into the write-ahead log: the head of a record, and the note in the header of a file.
//!
//! What was read is written back byte by byte.

use bytes::Bytes;
use streamhouse_log::format::wal_record::{HEAD_BYTES, WalHead, WalKind};
use streamhouse_log::recovery::older_database::Seen;
use streamhouse_metadata::store::{Incarnation, ShardId};
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, Timestamp, TopicId, TopicPartition};

use super::batches;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "wal_record",
    reads: "a record of the write-ahead log, and the note of a file",
    executions: 400_000,
    length_max: 4096,
    memory: Memory {
        per_byte: 8,
        free: 16 << 10,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let kinds = [
        WalKind::Batch,
        WalKind::Trim,
        WalKind::DropPartition,
        WalKind::EvictProducer,
    ];
    let heads = kinds.into_iter().map(|kind| {
        let head = WalHead {
            kind,
            shard: ShardId(5),
            epoch: LeaderEpoch(3),
            incarnation: Incarnation(0xc0ffee),
            at: TopicPartition::new(TopicId(17), PartitionIndex(2)),
            offset: 1234,
            stamp: Timestamp(1_700_000_000_000),
            append_time: Timestamp(-1),
        };
        let batch = batches::built(Compression::None, 2);
        head.encode_before(if kind == WalKind::Batch { &batch } else { &[] })
            .to_vec()
    });
    let note = Seen::default().encode().to_vec();
    heads.chain([note]).collect()
}

fn check(input: &[u8]) -> Verdict {
    let bytes = Bytes::copy_from_slice(input);
    let note = Seen::decode(bytes.clone());
    if let Ok(Some(seen)) = &note {
        let again = Seen::decode(seen.encode());
        assert_eq!(again.as_ref(), Ok(&Some(*seen)));
    }
    match WalHead::decode(bytes) {
        Ok((head, rest)) => {
            let again = head.encode_before(&rest);
            assert_eq!(again.len(), HEAD_BYTES + rest.len());
            // The first byte is the format, of which there may be older ones.
            assert_eq!(again[1..], input[1..]);
            Verdict::Accepted
        }
        Err(_) if matches!(note, Ok(Some(_))) => Verdict::Accepted,
        Err(_) => Verdict::Refused,
    }
}
