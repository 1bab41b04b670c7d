//! The cluster shelf in SQLite.

use std::ops::Range;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};
use streamhouse_runtime::Ambient;

use super::SqliteStore;
use super::columns::{bits, durability, durability_number, id, integer, limit, number, number_u32};
use super::fault::{Failure, Fallible};
use crate::store::laws::{not_initialised, producer_id_block};
use crate::store::{
    Cluster, ClusterShelf, FEATURE_LEVEL, InitialiseError, NewCluster, REVISION_AGE_MAX_MS,
    REVISIONS_KEPT_MIN, Revision, RevisionCheck, SHARDS_MAX, StoreError,
};

pub(super) fn cluster(transaction: &Transaction<'_>) -> Fallible<Option<Cluster>> {
    let mut statement = transaction.prepare_cached("SELECT * FROM cluster")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Cluster {
        cluster_id: id(row, "cluster_id")?,
        shards: number_u32(row, "shards")?,
        durability: durability(row)?,
        feature_level: number_u32(row, "feature_level")?,
        created_ms: row.get("created_ms")?,
    }))
}

/// How many shards there are; 0 before the cluster was initialised.
pub(super) fn shard_count(transaction: &Transaction<'_>) -> Fallible<u32> {
    Ok(cluster(transaction)?.map_or(0, |cluster| cluster.shards))
}

pub(super) fn revision(transaction: &Transaction<'_>) -> Fallible<Revision> {
    let newest = "SELECT revision, tag FROM cluster_revision ORDER BY revision DESC LIMIT 1";
    let mut statement = transaction.prepare_cached(newest)?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        Some(row) => Ok(Revision {
            number: number(row, "revision")?,
            tag: bits(row, "tag")?,
        }),
        None => Ok(Revision::default()),
    }
}

/// Adds the revision of a write that was just made, and prunes old ones.
pub(super) fn revise(transaction: &Transaction<'_>, ambient: &Ambient) -> Fallible<Revision> {
    let now = ambient.clock.wall_ms();
    let before = integer(revision(transaction)?.number)?;
    let revision = Revision {
        number: before.unsigned_abs() + 1,
        tag: ambient.chance.next_u64(),
    };
    transaction
        .prepare_cached("INSERT INTO cluster_revision (revision, tag, at_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![
            integer(revision.number)?,
            revision.tag.cast_signed(),
            now
        ])?;
    // The plus keeps the search on the index by age, where it usually finds nothing at once.
    transaction
        .prepare_cached("DELETE FROM cluster_revision WHERE at_ms < ?1 AND +revision <= ?2")?
        .execute(params![
            now.saturating_sub(REVISION_AGE_MAX_MS),
            integer(revision.number.saturating_sub(REVISIONS_KEPT_MIN))?
        ])?;
    Ok(revision)
}

fn create(
    transaction: &Transaction<'_>,
    new: &NewCluster,
    now: i64,
) -> Result<Cluster, Failure<InitialiseError>> {
    if let Some(cluster) = cluster(transaction)? {
        return Ok(cluster);
    }
    if new.shards == 0 || new.shards > SHARDS_MAX {
        return Err(Failure::Refused(InitialiseError::ShardCount {
            shards: new.shards,
        }));
    }
    let made = Cluster {
        cluster_id: new.cluster_id,
        shards: new.shards,
        durability: new.durability,
        feature_level: FEATURE_LEVEL,
        created_ms: now,
    };
    let durability = durability_number(made.durability);
    transaction.execute(
        "INSERT INTO cluster (one, cluster_id, shards, durability, feature_level, created_ms, next_producer_id)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, 0)",
        params![made.cluster_id.to_be_bytes(), made.shards, durability, made.feature_level, now],
    )?;
    let mut shard = transaction.prepare(
        "INSERT INTO shards (shard, durability, epoch, timeline, next_lsn, first_lsn, wal_since_epoch)
         VALUES (?1, ?2, 0, 0, 0, 0, 0)",
    )?;
    let mut coordination = transaction
        .prepare("INSERT INTO shard_coordination (shard, epoch, seq) VALUES (?1, 0, 0)")?;
    for number in 0..made.shards {
        shard.execute(params![number, durability])?;
        coordination.execute(params![number])?;
    }
    Ok(made)
}

fn revisions_since(
    transaction: &Transaction<'_>,
    after: u64,
    max: usize,
) -> Fallible<Vec<Revision>> {
    let Ok(after) = i64::try_from(after) else {
        return Ok(Vec::new());
    };
    let behind =
        "SELECT revision, tag FROM cluster_revision WHERE revision > ?1 ORDER BY revision LIMIT ?2";
    let mut statement = transaction.prepare_cached(behind)?;
    let mut rows = statement.query(params![after, limit(max)])?;
    let mut revisions = Vec::new();
    while let Some(row) = rows.next()? {
        revisions.push(Revision {
            number: number(row, "revision")?,
            tag: bits(row, "tag")?,
        });
    }
    Ok(revisions)
}

fn check_revision(transaction: &Transaction<'_>, seen: Revision) -> Fallible<RevisionCheck> {
    if seen.number == 0 {
        return Ok(RevisionCheck::Kept);
    }
    let Ok(sought) = i64::try_from(seen.number) else {
        return Ok(RevisionCheck::Missing);
    };
    let tag: Option<i64> = transaction
        .query_row(
            "SELECT tag FROM cluster_revision WHERE revision = ?1",
            [sought],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(tag) = tag {
        return Ok(if tag == seen.tag.cast_signed() {
            RevisionCheck::Kept
        } else {
            RevisionCheck::Missing
        });
    }
    let oldest: Option<i64> =
        transaction.query_row("SELECT min(revision) FROM cluster_revision", [], |row| {
            row.get(0)
        })?;
    Ok(if oldest.is_some_and(|oldest| sought < oldest) {
        RevisionCheck::Pruned
    } else {
        RevisionCheck::Missing
    })
}

fn allocate(
    transaction: &Transaction<'_>,
    count: u32,
    operation: &'static str,
) -> Fallible<Range<i64>> {
    let next: Option<i64> = transaction
        .query_row("SELECT next_producer_id FROM cluster", [], |row| row.get(0))
        .optional()?;
    let block = producer_id_block(next.ok_or_else(|| not_initialised(operation))?, count)?;
    transaction.execute("UPDATE cluster SET next_producer_id = ?1", [block.end])?;
    Ok(block)
}

#[async_trait]
impl ClusterShelf for SqliteStore {
    async fn initialise(&self, new: NewCluster) -> Result<Cluster, InitialiseError> {
        let now = self.ambient.clock.wall_ms();
        self.worker
            .write("initialise the cluster", move |transaction| {
                create(transaction, &new, now)
            })
            .await
    }

    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        self.worker.read("read the cluster", cluster).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.worker.read("read the revision", revision).await
    }

    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.worker
            .read("read revisions", move |transaction| {
                revisions_since(transaction, after, limit)
            })
            .await
    }

    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        self.worker
            .read("check a revision", move |transaction| {
                check_revision(transaction, seen)
            })
            .await
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        const OPERATION: &str = "allocate producer ids";
        let ambient = self.ambient.clone();
        let written = self
            .worker
            .write(OPERATION, move |transaction| {
                let block = allocate(transaction, count, OPERATION)?;
                revise(transaction, &ambient)?;
                Ok(block)
            })
            .await;
        self.wake(written)
    }
}
