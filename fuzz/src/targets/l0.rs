//! An object with one flush of a broker, read through its footer and through the block cache.
//!
//! The footer is refused or fits the object; what the cache gives is what lies there and has its checksum; no flipped bit of
//! an object is served.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::l0::{CRC_BLOCK_BYTES, HEADER_BYTES, L0Index, L0Writer, Section};
use streamhouse_storage::objects::{ObjectClass, ObjectId, ObjectKey, ObjectKind, Objects};

use super::{block_on, manifest, section};
use crate::draw::Draw;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "l0",
    reads: "an object of a flush: footer, sections, blocks",
    executions: 60_000,
    length_max: 96 << 10,
    memory: Memory {
        per_byte: 16,
        free: 2 << 20,
    },
    words: &[],
    seeds,
    repair: Some(repair),
    check,
};

const TRAILER: usize = 16;
/// Where a footer says where the data ends.
const DATA_END_AT: usize = 64;

fn key() -> ObjectKey {
    ObjectId {
        incarnation: 0xc0ffee,
        seq: 42,
        attempt: 1,
    }
    .key(ObjectKind::L0)
}

fn world() -> (Objects, Ambient) {
    let ambient = Ambient {
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        chance: Arc::new(SeededChance::new(1)),
        tasks: Tasks::new(),
    };
    (Objects::in_memory(ambient.clone()), ambient)
}

fn seeds() -> Vec<Vec<u8>> {
    let body = Bytes::from(manifest::seeds().swap_remove(0));
    let sections = |shards: &[u32]| -> Vec<Section> {
        let body = |shard: &u32| Section {
            shard: *shard,
            body: section::of(body.clone()).encode(),
        };
        shards.iter().map(body).collect()
    };
    vec![
        object(0, Vec::new()),
        object(900, sections(&[3])),
        object(100, sections(&[0, 7, 63])),
        object(70_000, sections(&[1, 2])),
    ]
}

fn object(data: usize, sections: Vec<Section>) -> Vec<u8> {
    let (objects, _) = world();
    let data: Bytes = (0..data).map(|at| at.to_le_bytes()[0]).collect();
    let bytes = block_on(async {
        let writer = objects.writer(&key(), ObjectClass::Flush);
        let mut writer = L0Writer::begin(writer, 7, 1_700_000_000_000).await.ok()?;
        writer.append(data).await.ok()?;
        let written = writer.finish(sections).await.ok()?;
        objects
            .get_range(&key(), 0..written.bytes, ObjectClass::Flush)
            .await
            .ok()
    });
    bytes
        .expect("a store in memory takes what is written")
        .to_vec()
}

/// Makes the sums of the blocks, the end of the data and the sum of the footer true.
fn repair(bytes: &mut [u8], draw: &mut Draw) {
    let Some(end) = bytes.len().checked_sub(TRAILER) else {
        return;
    };
    let footer = bytes[end..]
        .first_chunk()
        .copied()
        .map_or(0, u32::from_be_bytes);
    let start = usize::try_from(footer)
        .ok()
        .and_then(|footer| end.checked_sub(footer));
    let Some(start) = start.filter(|start| end - start >= 80) else {
        return;
    };
    if !draw.one_in(4) {
        let data_end = u64::try_from(start).unwrap_or(0).to_be_bytes();
        bytes[start + DATA_END_AT..start + DATA_END_AT + 8].copy_from_slice(&data_end);
    }
    let block = usize::try_from(CRC_BLOCK_BYTES).unwrap_or(1);
    let sums: Vec<u8> = bytes[..start]
        .chunks(block)
        .flat_map(|block| crc32c::crc32c(block).to_be_bytes())
        .collect();
    if !draw.one_in(4) && sums.len() + 80 <= end - start {
        bytes[end - sums.len()..end].copy_from_slice(&sums);
    }
    let sum = crc32c::crc32c(&bytes[start..end + 4]);
    bytes[end + 4..end + 8].copy_from_slice(&sum.to_be_bytes());
}

fn load(input: &[u8]) -> Option<(L0Index, Objects, Ambient)> {
    let (objects, ambient) = world();
    let length = u64::try_from(input.len()).ok()?;
    let body = vec![Bytes::copy_from_slice(input)];
    let index = block_on(async {
        objects
            .put(&key(), ObjectClass::Flush, body)
            .await
            .expect("a store in memory takes everything");
        L0Index::load(&objects, &key(), length, ObjectClass::CatchUpRead).await
    });
    Some((index.ok()?, objects, ambient))
}

fn check(input: &[u8]) -> Verdict {
    let Some((index, objects, ambient)) = load(input) else {
        return Verdict::Refused;
    };
    assert_eq!(
        (index.header().incarnation, index.header().seq),
        (0xc0ffee, 42)
    );
    let end = usize::try_from(index.data_end()).expect("the object is in memory");
    let data = input.get(..end).expect("data ends inside the object");
    assert!(index.data_end() >= HEADER_BYTES);
    let shards: Vec<u32> = index
        .sections()
        .iter()
        .map(|section| section.shard)
        .collect();
    assert!(shards.is_sorted_by(|one, other| one < other), "{shards:?}");
    let bodies: usize = index
        .sections()
        .iter()
        .map(|section| section.body.len())
        .sum();
    assert!(
        bodies + end <= input.len(),
        "sections hold more than the footer"
    );
    let is_whole = index.verify(0, data).is_ok();
    let settings = BlockCacheSettings {
        capacity_bytes: 1 << 20,
        block_bytes: CRC_BLOCK_BYTES,
        get_bytes_max: CRC_BLOCK_BYTES,
        read_aheads_max: 1,
    };
    let cache = BlockCache::new(objects, ambient, settings);
    let range = HEADER_BYTES..index.data_end();
    let read = block_on(cache.read(&key(), range.clone(), ObjectClass::CatchUpRead));
    match read {
        Ok(slices) => {
            let header = usize::try_from(HEADER_BYTES).unwrap_or(0);
            assert_eq!(slices.concat(), data[header..]);
            assert!(
                is_whole || range.is_empty(),
                "a block without its checksum was served"
            );
        }
        Err(error) => assert!(!is_whole, "{error}"),
    }
    if is_whole {
        no_flipped_bit_is_served(input, end);
    }
    Verdict::Accepted
}

/// One bit, at a place that the object itself chooses.
fn no_flipped_bit_is_served(input: &[u8], end: usize) {
    let drawn = usize::try_from(crc32c::crc32c(input)).unwrap_or(0);
    // As often in the footer as in the data.
    let at = if drawn.is_multiple_of(2) {
        drawn % end
    } else {
        end + drawn % (input.len() - end)
    };
    let mut flipped = input.to_vec();
    flipped[at] ^= 1 << (drawn / 2 % 8);
    if let Some((index, _, _)) = load(&flipped) {
        assert!(
            at < end,
            "the footer is accepted with a flipped bit at byte {at}"
        );
        let served = index.verify(0, &flipped[..end]);
        assert!(served.is_err(), "byte {at} is served with a flipped bit");
    }
}
