//! A checkpoint of the state of a shard.
//!
//! What was read comes back when it is written and read again, no flipped bit passes its checksums, and the next manifest
//! can be applied to it or is refused.

use bytes::Bytes;
use streamhouse_log::format::checkpoint;
use streamhouse_log::state::recorded::Recorded;
use streamhouse_metadata::store::ShardId;

use super::manifest;
use crate::draw::Draw;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "checkpoint",
    reads: "a checkpoint of a shard",
    executions: 150_000,
    length_max: 8 << 10,
    memory: Memory {
        per_byte: 1024,
        free: 256 << 10,
    },
    words: &[],
    seeds,
    repair: Some(repair),
    check,
};

const SHARD: ShardId = ShardId(3);
const PREFIX: usize = 10;

fn seeds() -> Vec<Vec<u8>> {
    let empty = Recorded::default();
    let states = manifest::manifests().into_iter().map(|manifest| {
        let mut recorded = Recorded::default();
        recorded
            .apply(&manifest)
            .expect("a sound manifest is the first of a shard");
        recorded
    });
    let states = states.chain([empty]);
    states
        .map(|state| checkpoint::encode(SHARD, &state).to_vec())
        .collect()
}

/// Makes the sums of page and head true; the page's stands at the end of the head.
fn repair(bytes: &mut [u8], draw: &mut Draw) {
    let claimed = bytes
        .get(6..PREFIX)
        .and_then(|bytes| bytes.first_chunk().copied());
    let head = usize::try_from(claimed.map_or(0, u32::from_le_bytes)).unwrap_or(usize::MAX);
    let Some(end) = PREFIX
        .checked_add(head)
        .filter(|end| end + 4 <= bytes.len() && *end > 14)
    else {
        return;
    };
    if !draw.one_in(8) {
        let sum = crc32c::crc32c(&bytes[end + 4..]);
        bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
}

fn check(input: &[u8]) -> Verdict {
    let Ok(mut recorded) = checkpoint::decode(SHARD, Bytes::copy_from_slice(input)) else {
        return Verdict::Refused;
    };
    let written = checkpoint::encode(SHARD, &recorded);
    assert_eq!(
        checkpoint::decode(SHARD, written.clone()).as_ref(),
        Ok(&recorded)
    );
    let other = ShardId(SHARD.0 + 1);
    assert!(
        checkpoint::decode(other, written.clone()).is_err(),
        "it is another shard's"
    );
    let mut flipped = written.to_vec();
    let drawn = usize::try_from(crc32c::crc32c(input)).unwrap_or(0);
    let at = drawn % flipped.len();
    // The format itself says which reader is needed; older and newer ones are other formats, not damage.
    flipped[at] ^= 1 << (drawn % 8);
    let read = checkpoint::decode(SHARD, flipped.into());
    assert!(read.is_err(), "a flipped bit at byte {at} passes");
    for mut manifest in manifest::manifests() {
        manifest.lsn = recorded.next_lsn;
        let _ = recorded.apply(&manifest);
    }
    let all: Vec<_> = recorded.locations.objects().collect();
    assert!(all.iter().all(|object| recorded.locations.needs(*object)));
    Verdict::Accepted
}
