//! How facts are written into columns and read back, with a check on every value that comes from the database.

use streamhouse_protocol::ids::{LeaderEpoch, TopicId};
use streamhouse_protocol::names::TopicName;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::fault::{Fallible, Fault};
use crate::store::laws::bug;
use crate::store::{Durability, Incarnation, Lsn, ObjectId, ShardId};

pub(super) const LIVE: i32 = 0;
pub(super) const TOMBSTONE: i32 = 1;
pub(super) const DELETED: i32 = 2;

/// The most rows that one query answers with. A shelf that is read as a whole fails beyond it instead of filling the
/// memory; a page that was asked for ends there.
pub(super) const ROWS_MAX: i64 = 2_000_000;

/// A count or position for a bigint column, which ends at 2^63 - 1.
pub(super) fn integer(number: u64) -> Fallible<i64> {
    i64::try_from(number)
        .map_err(|_| Fault::Broken(bug("write a number", format!("{number} is above 2^63 - 1"))))
}

/// The limit of a page.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(ROWS_MAX).min(ROWS_MAX)
}

/// The limit of a query that must answer with everything: one more than may be, see [`whole`].
pub(super) const WHOLE: i64 = ROWS_MAX + 1;

/// The rows of a query that asked for [`WHOLE`], unless there are more than it may answer with.
pub(super) fn whole(rows: Vec<Row>, table: &'static str) -> Fallible<Vec<Row>> {
    match i64::try_from(rows.len()) {
        Ok(found) if found <= ROWS_MAX => Ok(rows),
        Ok(_) | Err(_) => Err(Fault::Unavailable(format!(
            "table {table} has more than {ROWS_MAX} rows to be read at once"
        ))),
    }
}

/// The number of a shard as its column. No cluster has a shard behind the end of the column, so that there such a number
/// finds nothing.
pub(super) fn shard_number(shard: ShardId) -> i32 {
    i32::try_from(shard.0).unwrap_or(i32::MAX)
}

pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Fallible<T> {
    row.try_get(column)
        .map_err(|error| Fault::Damaged(format!("column {column}: {error}")))
}

pub(super) fn number(row: &Row, name: &str) -> Fallible<u64> {
    let stored: i64 = column(row, name)?;
    u64::try_from(stored).map_err(|_| Fault::Damaged(format!("column {name} holds {stored}")))
}

pub(super) fn number_u32(row: &Row, name: &str) -> Fallible<u32> {
    let stored: i32 = column(row, name)?;
    u32::try_from(stored).map_err(|_| Fault::Damaged(format!("column {name} holds {stored}")))
}

pub(super) fn timeline(row: &Row) -> Fallible<u32> {
    let stored: i64 = column(row, "timeline")?;
    u32::try_from(stored).map_err(|_| Fault::Damaged(format!("column timeline holds {stored}")))
}

pub(super) fn lsn(row: &Row, name: &str) -> Fallible<Lsn> {
    Ok(Lsn(number(row, name)?))
}

pub(super) fn shard(row: &Row, name: &str) -> Fallible<ShardId> {
    Ok(ShardId(number_u32(row, name)?))
}

pub(super) fn epoch(row: &Row, name: &str) -> Fallible<LeaderEpoch> {
    Ok(LeaderEpoch(column(row, name)?))
}

/// 64 bits that are no quantity: hashes and tags.
pub(super) fn bits(row: &Row, name: &str) -> Fallible<u64> {
    let stored: i64 = column(row, name)?;
    Ok(stored.cast_unsigned())
}

fn fixed<const N: usize>(stored: &[u8], name: &str) -> Fallible<[u8; N]> {
    stored
        .try_into()
        .map_err(|_| Fault::Damaged(format!("column {name} holds {} bytes", stored.len())))
}

pub(super) fn id(row: &Row, name: &str) -> Fallible<u128> {
    Ok(u128::from_be_bytes(fixed(column(row, name)?, name)?))
}

pub(super) fn optional_id(row: &Row, name: &str) -> Fallible<Option<u128>> {
    let stored: Option<&[u8]> = column(row, name)?;
    stored
        .map(|stored| Ok(u128::from_be_bytes(fixed(stored, name)?)))
        .transpose()
}

pub(super) fn incarnation(row: &Row, name: &str) -> Fallible<Incarnation> {
    Ok(Incarnation(id(row, name)?))
}

pub(super) fn topic_id(row: &Row) -> Fallible<TopicId> {
    Ok(TopicId(id(row, "topic_id")?))
}

pub(super) fn topic_name(row: &Row) -> Fallible<TopicName> {
    TopicName::new(column::<&str>(row, "name")?).map_err(|error| Fault::Damaged(error.to_string()))
}

/// Text that a client wrote, as bytes: the type text refuses a zero byte.
pub(super) fn free_text(row: &Row, name: &str) -> Fallible<String> {
    let stored: &[u8] = column(row, name)?;
    String::from_utf8(stored.to_vec())
        .map_err(|error| Fault::Damaged(format!("column {name} holds no text: {error}")))
}

pub(super) fn durability_number(durability: Durability) -> i32 {
    match durability {
        Durability::Local => 0,
        Durability::Shared => 1,
    }
}

pub(super) fn durability(row: &Row) -> Fallible<Durability> {
    match column::<i32>(row, "durability")? {
        0 => Ok(Durability::Local),
        1 => Ok(Durability::Shared),
        other => Err(Fault::Damaged(format!("column durability holds {other}"))),
    }
}

/// 128 bits as a column holds them.
pub(super) fn id_bytes(id: u128) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

pub(super) fn object_bytes(id: ObjectId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    bytes.extend_from_slice(&id.incarnation.to_be_bytes());
    bytes.extend_from_slice(&id.seq.to_be_bytes());
    bytes.extend_from_slice(&id.attempt.to_be_bytes());
    bytes
}

/// The id in the 28 bytes of a column.
pub(super) fn object_id_of(stored: &[u8], name: &str) -> Fallible<ObjectId> {
    let bytes: [u8; 28] = fixed(stored, name)?;
    let (mut incarnation, mut seq, mut attempt) = ([0; 16], [0; 8], [0; 4]);
    incarnation.copy_from_slice(&bytes[..16]);
    seq.copy_from_slice(&bytes[16..24]);
    attempt.copy_from_slice(&bytes[24..]);
    Ok(ObjectId {
        incarnation: u128::from_be_bytes(incarnation),
        seq: u64::from_be_bytes(seq),
        attempt: u32::from_be_bytes(attempt),
    })
}

pub(super) fn object_id(row: &Row, name: &str) -> Fallible<ObjectId> {
    object_id_of(column(row, name)?, name)
}

/// The shards of `objects.live_shards`.
pub(super) fn shards(row: &Row, name: &str) -> Fallible<Vec<ShardId>> {
    let stored: Vec<i32> = column(row, name)?;
    stored
        .into_iter()
        .map(|number| {
            u32::try_from(number)
                .map(ShardId)
                .map_err(|_| Fault::Damaged(format!("column {name} holds {number}")))
        })
        .collect()
}

#[cfg(test)]
mod tests;
