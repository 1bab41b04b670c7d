//! The groups shelf in SQLite: the fence is the `WHERE` of one update of the shard's coordination row.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use streamhouse_protocol::ids::{PartitionIndex, TopicId};
use streamhouse_protocol::names::GroupId;

use super::SqliteStore;
use super::columns::{epoch, id, integer, number, optional_id};
use super::fault::{Failure, Fallible};
use crate::store::{
    Coordination, CoordinationOutcome, CoordinationWrite, GroupChange, GroupRow, GroupShelf,
    Incarnation, OffsetKey, OffsetRow, ShardGroups, ShardId, StoreError,
};

fn seq(transaction: &Transaction<'_>, shard: ShardId) -> Fallible<Option<u64>> {
    let mut statement =
        transaction.prepare_cached("SELECT seq FROM shard_coordination WHERE shard = ?1")?;
    let mut rows = statement.query([shard.0])?;
    rows.next()?.map(|row| number(row, "seq")).transpose()
}

fn coordination(transaction: &Transaction<'_>, shard: ShardId) -> Fallible<Option<Coordination>> {
    let mut statement =
        transaction.prepare_cached("SELECT * FROM shard_coordination WHERE shard = ?1")?;
    let mut rows = statement.query([shard.0])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Coordination {
        epoch: epoch(row, "epoch")?,
        incarnation: optional_id(row, "incarnation")?.map(Incarnation),
        seq: number(row, "seq")?,
    }))
}

fn load(transaction: &Transaction<'_>, shard: ShardId) -> Fallible<ShardGroups> {
    let mut loaded = ShardGroups {
        seq: seq(transaction, shard)?.unwrap_or_default(),
        ..ShardGroups::default()
    };
    let mut groups = transaction.prepare_cached(
        "SELECT group_id, blob FROM \"groups\" WHERE shard = ?1 ORDER BY group_id",
    )?;
    let mut rows = groups.query([shard.0])?;
    while let Some(row) = rows.next()? {
        let group = GroupId(row.get::<_, String>("group_id")?.into());
        loaded.groups.push(GroupRow {
            group,
            blob: Bytes::from(row.get::<_, Vec<u8>>("blob")?),
        });
    }
    let mut offsets = transaction.prepare_cached(
        "SELECT * FROM group_offsets WHERE shard = ?1 ORDER BY group_id, topic_id, partition",
    )?;
    let mut rows = offsets.query([shard.0])?;
    while let Some(row) = rows.next()? {
        loaded.offsets.push(offset_row(row)?);
    }
    Ok(loaded)
}

fn offset_row(row: &Row<'_>) -> Fallible<OffsetRow> {
    Ok(OffsetRow {
        group: GroupId(row.get::<_, String>("group_id")?.into()),
        topic: TopicId(id(row, "topic_id")?),
        partition: PartitionIndex(row.get("partition")?),
        offset: row.get("committed_offset")?,
        leader_epoch: epoch(row, "leader_epoch")?,
        metadata: row.get("metadata")?,
        commit_ms: row.get("commit_ms")?,
        expire_ms: row.get("expire_ms")?,
    })
}

fn write(
    transaction: &Transaction<'_>,
    write: &CoordinationWrite,
) -> Fallible<CoordinationOutcome> {
    let fence: Option<i64> = transaction
        .prepare_cached(
            "UPDATE shard_coordination SET seq = seq + 1
             WHERE shard = ?1 AND epoch = ?2 AND incarnation = ?3 AND seq = ?4 RETURNING seq",
        )?
        .query_row(
            params![
                write.shard.0,
                write.epoch.0,
                write.incarnation.0.to_be_bytes(),
                integer(write.seq)?
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(seq) = fence else {
        return Ok(CoordinationOutcome::Refused);
    };
    for each in &write.changes {
        change(transaction, write.shard, each)?;
    }
    Ok(CoordinationOutcome::Committed {
        seq: seq.unsigned_abs(),
    })
}

fn change(transaction: &Transaction<'_>, shard: ShardId, change: &GroupChange) -> Fallible<()> {
    match change {
        GroupChange::PutGroup(row) => transaction
            .prepare_cached("INSERT OR REPLACE INTO \"groups\" (shard, group_id, blob) VALUES (?1, ?2, ?3)")?
            .execute(params![shard.0, row.group.as_str(), row.blob.as_ref()])?,
        GroupChange::DeleteGroup(group) => transaction
            .prepare_cached("DELETE FROM \"groups\" WHERE shard = ?1 AND group_id = ?2")?
            .execute(params![shard.0, group.as_str()])?,
        GroupChange::PutOffset(row) => return put_offset(transaction, shard, row),
        GroupChange::DeleteOffset(OffsetKey { group, topic, partition }) => transaction
            .prepare_cached(
                "DELETE FROM group_offsets WHERE shard = ?1 AND group_id = ?2 AND topic_id = ?3 AND partition = ?4",
            )?
            .execute(params![shard.0, group.as_str(), topic.0.to_be_bytes(), partition.0])?,
    };
    Ok(())
}

fn put_offset(transaction: &Transaction<'_>, shard: ShardId, row: &OffsetRow) -> Fallible<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO group_offsets (shard, group_id, topic_id, partition, committed_offset,
                 leader_epoch, metadata, commit_ms, expire_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            shard.0,
            row.group.as_str(),
            row.topic.0.to_be_bytes(),
            row.partition.0,
            row.offset,
            row.leader_epoch.0,
            row.metadata,
            row.commit_ms,
            row.expire_ms,
        ])?;
    Ok(())
}

#[async_trait]
impl GroupShelf for SqliteStore {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        self.worker
            .read("load groups", move |transaction| load(transaction, shard))
            .await
    }

    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        self.worker
            .read("read a coordination row", move |transaction| {
                seq(transaction, shard)
            })
            .await
    }

    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        let shards = shards.to_vec();
        self.worker
            .read("read coordination rows", move |transaction| {
                let rows = shards.iter().map(|shard| coordination(transaction, *shard));
                rows.collect()
            })
            .await
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        self.worker
            .write("write groups", move |transaction| {
                let outcomes: Fallible<_> =
                    writes.iter().map(|each| write(transaction, each)).collect();
                outcomes.map_err(Failure::from)
            })
            .await
    }
}
