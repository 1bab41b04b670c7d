//! How facts are written into columns and read back, with a check on every value that comes from the disk.

use rusqlite::Row;
use streamhouse_protocol::ids::LeaderEpoch;

use super::fault::{Fallible, Fault};
use crate::store::laws::bug;
use crate::store::{Durability, Incarnation, Lsn, ObjectId, ShardId};

pub(super) const LIVE: i64 = 0;
pub(super) const TOMBSTONE: i64 = 1;
pub(super) const DELETED: i64 = 2;

/// A count or position for an INTEGER column, which ends at 2^63 - 1.
pub(super) fn integer(number: u64) -> Fallible<i64> {
    i64::try_from(number)
        .map_err(|_| Fault::Broken(bug("write a number", format!("{number} is above 2^63 - 1"))))
}

/// A limit of a query; above 2^63 - 1 there is nothing to be limited.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &Row<'_>, column: &str) -> Fallible<u64> {
    let stored: i64 = row.get(column)?;
    u64::try_from(stored).map_err(|_| Fault::Damaged(format!("column {column} holds {stored}")))
}

pub(super) fn number_u32(row: &Row<'_>, column: &str) -> Fallible<u32> {
    let stored: i64 = row.get(column)?;
    u32::try_from(stored).map_err(|_| Fault::Damaged(format!("column {column} holds {stored}")))
}

pub(super) fn lsn(row: &Row<'_>, column: &str) -> Fallible<Lsn> {
    Ok(Lsn(number(row, column)?))
}

pub(super) fn shard(row: &Row<'_>, column: &str) -> Fallible<ShardId> {
    Ok(ShardId(number_u32(row, column)?))
}

pub(super) fn epoch(row: &Row<'_>, column: &str) -> Fallible<LeaderEpoch> {
    Ok(LeaderEpoch(row.get(column)?))
}

/// 64 bits that are no quantity: hashes and tags.
pub(super) fn bits(row: &Row<'_>, column: &str) -> Fallible<u64> {
    let stored: i64 = row.get(column)?;
    Ok(stored.cast_unsigned())
}

pub(super) fn id(row: &Row<'_>, column: &str) -> Fallible<u128> {
    let stored: [u8; 16] = row.get(column)?;
    Ok(u128::from_be_bytes(stored))
}

pub(super) fn optional_id(row: &Row<'_>, column: &str) -> Fallible<Option<u128>> {
    let stored: Option<[u8; 16]> = row.get(column)?;
    Ok(stored.map(u128::from_be_bytes))
}

pub(super) fn incarnation(row: &Row<'_>, column: &str) -> Fallible<Incarnation> {
    Ok(Incarnation(id(row, column)?))
}

pub(super) fn durability_number(durability: Durability) -> i64 {
    match durability {
        Durability::Local => 0,
        Durability::Shared => 1,
    }
}

pub(super) fn durability(row: &Row<'_>) -> Fallible<Durability> {
    match row.get::<_, i64>("durability")? {
        0 => Ok(Durability::Local),
        1 => Ok(Durability::Shared),
        other => Err(Fault::Damaged(format!("column durability holds {other}"))),
    }
}

pub(super) fn object_bytes(id: ObjectId) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..16].copy_from_slice(&id.incarnation.to_be_bytes());
    bytes[16..24].copy_from_slice(&id.seq.to_be_bytes());
    bytes[24..].copy_from_slice(&id.attempt.to_be_bytes());
    bytes
}

pub(super) fn object_id(bytes: &[u8; 28]) -> ObjectId {
    let (mut incarnation, mut seq, mut attempt) = ([0; 16], [0; 8], [0; 4]);
    incarnation.copy_from_slice(&bytes[..16]);
    seq.copy_from_slice(&bytes[16..24]);
    attempt.copy_from_slice(&bytes[24..]);
    ObjectId {
        incarnation: u128::from_be_bytes(incarnation),
        seq: u64::from_be_bytes(seq),
        attempt: u32::from_be_bytes(attempt),
    }
}

/// Shards as the bytes of `objects.live_shards`; they must be ascending.
pub(super) fn shard_bytes(shards: &[ShardId]) -> Vec<u8> {
    shards
        .iter()
        .flat_map(|shard| shard.0.to_be_bytes())
        .collect()
}

pub(super) fn shards(bytes: &[u8]) -> Fallible<Vec<ShardId>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Fault::Damaged(format!(
            "column live_shards holds {} bytes",
            bytes.len()
        )));
    }
    Ok(numbers
        .iter()
        .map(|number| ShardId(u32::from_be_bytes(*number)))
        .collect())
}

#[cfg(test)]
mod tests;
