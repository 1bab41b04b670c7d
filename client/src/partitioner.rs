//! Which partition a record with a key goes to: the same one that Kafka's Java client chooses, so that records of one key
//! stay together whoever writes them (`BuiltInPartitioner`, `Utils.murmur2`).

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The partition of a key in a topic of `partitions` partitions, at least one.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    let positive = murmur2(key) & 0x7fff_ffff;
    usize::try_from(positive).expect("31 bits fit in a usize") % partitions.max(1)
}

/// Kafka's murmur2: little-endian words, and a seed of its own.
fn murmur2(data: &[u8]) -> u32 {
    // Keys are shorter than 2 GiB; a longer one would only be spread differently.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let mut mixed = word.wrapping_mul(MIX);
        mixed ^= mixed >> SHIFT;
        mixed = mixed.wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ mixed;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;
