//! The shards shelf in SQLite.

use async_trait::async_trait;
use rusqlite::{Row, Transaction, params};
use streamhouse_protocol::ids::LeaderEpoch;

use super::SqliteStore;
use super::brokers::{Lease, declare_dead, lease};
use super::columns::{
    DELETED, bits, durability, epoch, incarnation, limit, lsn, number, number_u32, object_id,
    optional_id, shard,
};
use super::fault::{Failure, Fallible, Fault};
use crate::store::laws::{dies_by_grant, next_epoch, refuses_grant};
use crate::store::{
    CheckpointRow, DELETED_SWEEP_MAX, GrantOutcome, GrantRequest, GrantRow, Incarnation, ShardId,
    ShardRow, ShardShelf, StoreError, WalEnd,
};

fn shard_row(row: &Row<'_>) -> Fallible<ShardRow> {
    let wal_end = match optional_id(row, "wal_end_dir")? {
        Some(dir) => Some(WalEnd {
            dir,
            position: number(row, "wal_end_position")?,
        }),
        None => None,
    };
    let checkpoint = match row.get::<_, Option<[u8; 28]>>("checkpoint_object")? {
        Some(object) => Some(CheckpointRow {
            object: object_id(&object),
            lsn: lsn(row, "checkpoint_lsn")?,
            bytes: number(row, "checkpoint_bytes")?,
            state_hash: bits(row, "checkpoint_hash")?,
        }),
        None => None,
    };
    Ok(ShardRow {
        shard: shard(row, "shard")?,
        durability: durability(row)?,
        epoch: epoch(row, "epoch")?,
        incarnation: optional_id(row, "incarnation")?.map(Incarnation),
        timeline: number_u32(row, "timeline")?,
        next_lsn: lsn(row, "next_lsn")?,
        first_lsn: lsn(row, "first_lsn")?,
        wal_dir: optional_id(row, "wal_dir_uuid")?,
        wal_since_epoch: epoch(row, "wal_since_epoch")?,
        wal_end,
        checkpoint,
    })
}

pub(super) fn read_shard(
    transaction: &Transaction<'_>,
    shard: ShardId,
) -> Fallible<Option<ShardRow>> {
    let mut statement = transaction.prepare_cached("SELECT * FROM shards WHERE shard = ?1")?;
    let mut rows = statement.query([shard.0])?;
    rows.next()?.map(shard_row).transpose()
}

fn all_shards(transaction: &Transaction<'_>) -> Fallible<Vec<ShardRow>> {
    let mut statement = transaction.prepare_cached("SELECT * FROM shards ORDER BY shard")?;
    let mut rows = statement.query([])?;
    let mut shards = Vec::new();
    while let Some(row) = rows.next()? {
        shards.push(shard_row(row)?);
    }
    Ok(shards)
}

fn grant(
    transaction: &Transaction<'_>,
    request: &GrantRequest,
    now: i64,
) -> Result<Vec<GrantOutcome>, Failure<StoreError>> {
    for life in [request.by, request.incarnation] {
        if let Some(Lease {
            died_ms: Some(_), ..
        }) = lease(transaction, life)?
        {
            let refusal = GrantOutcome::Dead { incarnation: life };
            return Ok(vec![refusal; request.shards.len()]);
        }
    }
    let mut outcomes = Vec::with_capacity(request.shards.len());
    for asked in &request.shards {
        let Some(row) = read_shard(transaction, asked.shard)? else {
            outcomes.push(GrantOutcome::UnknownShard);
            continue;
        };
        let holder = row.incarnation.map(|life| lease(transaction, life));
        let lease = holder.transpose()?.flatten();
        let held = lease.and_then(|lease| lease.held_until(now));
        outcomes.push(match refuses_grant(&row, request, asked, held) {
            Some(refusal) => refusal,
            None => grant_one(transaction, request, row, now)?,
        });
    }
    sweep_deleted(transaction)?;
    Ok(outcomes)
}

fn grant_one(
    transaction: &Transaction<'_>,
    request: &GrantRequest,
    row: ShardRow,
    now: i64,
) -> Fallible<GrantOutcome> {
    let epoch: LeaderEpoch = next_epoch(&row)?;
    let same_tenure = row.wal_dir.is_some() && request.wal_dir.is_some();
    let since = if same_tenure {
        row.wal_since_epoch
    } else {
        epoch
    };
    let incarnation = request.incarnation.0.to_be_bytes();
    let wal_dir = request.wal_dir.map(u128::to_be_bytes);
    transaction
        .prepare_cached(
            "UPDATE shards SET epoch = ?2, incarnation = ?3, timeline = 0, wal_dir_uuid = ?4, wal_since_epoch = ?5
             WHERE shard = ?1",
        )?
        .execute(params![row.shard.0, epoch.0, incarnation, wal_dir, since.0])?;
    transaction
        .prepare_cached(
            "UPDATE shard_coordination SET epoch = ?2, incarnation = ?3 WHERE shard = ?1",
        )?
        .execute(params![row.shard.0, epoch.0, incarnation])?;
    transaction
        .prepare_cached(
            "INSERT INTO grants (shard, epoch, incarnation, at_lsn, at_seq, timeline)
             SELECT s.shard, s.epoch, s.incarnation, s.next_lsn, c.seq, s.timeline
             FROM shards s JOIN shard_coordination c ON c.shard = s.shard WHERE s.shard = ?1",
        )?
        .execute([row.shard.0])?;
    if let Some(life) = dies_by_grant(&row, request) {
        declare_dead(transaction, life, now)?;
    }
    match read_shard(transaction, row.shard)? {
        Some(row) => Ok(GrantOutcome::Granted(row)),
        None => Err(Fault::Damaged(format!(
            "shard {} has no row any more",
            row.shard
        ))),
    }
}

/// Rows of objects whose bytes are gone stay only while a late commit of their writer could pass a fence.
fn sweep_deleted(transaction: &Transaction<'_>) -> Fallible<()> {
    transaction
        .prepare_cached(
            "DELETE FROM objects WHERE object_id IN (
                 SELECT object_id FROM objects WHERE state = ?1 AND substr(object_id, 1, 16) NOT IN
                     (SELECT incarnation FROM shards WHERE incarnation IS NOT NULL)
                 ORDER BY object_id LIMIT ?2)",
        )?
        .execute(params![DELETED, limit(DELETED_SWEEP_MAX)])?;
    Ok(())
}

fn grants(transaction: &Transaction<'_>, of: ShardId) -> Fallible<Vec<GrantRow>> {
    let mut statement =
        transaction.prepare_cached("SELECT * FROM grants WHERE shard = ?1 ORDER BY epoch")?;
    let mut rows = statement.query([of.0])?;
    let mut grants = Vec::new();
    while let Some(row) = rows.next()? {
        grants.push(GrantRow {
            shard: shard(row, "shard")?,
            epoch: epoch(row, "epoch")?,
            incarnation: incarnation(row, "incarnation")?,
            at_lsn: lsn(row, "at_lsn")?,
            at_seq: number(row, "at_seq")?,
            timeline: number_u32(row, "timeline")?,
        });
    }
    Ok(grants)
}

#[async_trait]
impl ShardShelf for SqliteStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.worker.read("read the shards", all_shards).await
    }

    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        self.worker
            .read("read a shard", move |transaction| {
                read_shard(transaction, shard)
            })
            .await
    }

    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        let now = self.ambient.clock.wall_ms();
        let granted = self
            .worker
            .write("grant shards", move |transaction| {
                grant(transaction, &request, now)
            })
            .await;
        self.wake(granted)
    }

    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        self.worker
            .read("read grants", move |transaction| grants(transaction, shard))
            .await
    }
}
