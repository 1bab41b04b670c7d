//! The manifests shelf in SQLite: the fence is the `WHERE` of one update per shard.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Transaction, params};

use super::SqliteStore;
use super::columns::{LIVE, epoch, incarnation, integer, limit, lsn, object_bytes, shard_bytes};
use super::fault::{Failure, Fallible};
use super::objects::release;
use super::shards::read_shard;
use crate::store::laws::{by_shard, check_checkpoint};
use crate::store::{
    CheckpointError, Commit, CommitError, CommitName, CommitOutcome, Lsn, ManifestCommit,
    ManifestRow, ManifestShelf, ObjectId, Resolved, SetCheckpoint, ShardId, StoreError,
};

/// Compares and sets the fence of one shard for all its manifests of a commit.
fn advance(transaction: &Transaction<'_>, manifests: &[&ManifestCommit]) -> Fallible<bool> {
    let (Some(first), Some(last)) = (manifests.first(), manifests.last()) else {
        return Ok(false);
    };
    let wal_end = manifests.iter().rev().find_map(|manifest| manifest.wal_end);
    let position = wal_end.map(|end| integer(end.position)).transpose()?;
    let advanced = transaction
        .prepare_cached(
            "UPDATE shards SET next_lsn = ?5, wal_end_dir = coalesce(?6, wal_end_dir),
                 wal_end_position = coalesce(?7, wal_end_position),
                 wal_dir_uuid = CASE WHEN ?8 THEN NULL ELSE wal_dir_uuid END
             WHERE shard = ?1 AND epoch = ?2 AND incarnation = ?3 AND next_lsn = ?4",
        )?
        .execute(params![
            first.shard.0,
            first.epoch.0,
            first.incarnation.0.to_be_bytes(),
            integer(first.lsn.0)?,
            integer(last.lsn.0)?.saturating_add(1),
            wal_end.map(|end| end.dir.to_be_bytes()),
            position,
            last.clears_wal_dir,
        ])?;
    Ok(advanced == 1)
}

/// Inserts the row of an object; false if there is one of any kind.
fn insert_object(
    transaction: &Transaction<'_>,
    id: ObjectId,
    key: &str,
    bytes: u64,
    shards: &[ShardId],
) -> Fallible<bool> {
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO objects (object_id, object_key, state, bytes, live_shards)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            object_bytes(id),
            key,
            LIVE,
            integer(bytes)?,
            shard_bytes(shards)
        ])?;
    Ok(inserted == 1)
}

fn commit(
    transaction: &Transaction<'_>,
    commit: &Commit,
) -> Result<Vec<CommitOutcome>, Failure<CommitError>> {
    let mut winners = BTreeSet::new();
    for (shard, manifests) in by_shard(commit)? {
        if advance(transaction, &manifests)? {
            winners.insert(shard);
        }
    }
    if let Some(object) = commit.object.as_ref().filter(|_| !winners.is_empty()) {
        let live: Vec<ShardId> = winners.iter().copied().collect();
        if !insert_object(transaction, object.id, &object.key, object.bytes, &live)? {
            return Err(Failure::Refused(CommitError::ObjectExists {
                id: object.id,
            }));
        }
    }
    let mut outcomes = Vec::with_capacity(commit.manifests.len());
    for manifest in &commit.manifests {
        if !winners.contains(&manifest.shard) {
            outcomes.push(CommitOutcome::Refused);
            continue;
        }
        record(transaction, manifest)?;
        outcomes.push(CommitOutcome::Committed);
    }
    Ok(outcomes)
}

fn record(transaction: &Transaction<'_>, manifest: &ManifestCommit) -> Fallible<()> {
    transaction
        .prepare_cached("INSERT INTO manifests (shard, lsn, epoch, incarnation, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            manifest.shard.0,
            integer(manifest.lsn.0)?,
            manifest.epoch.0,
            manifest.incarnation.0.to_be_bytes(),
            manifest.body.as_ref(),
        ])?;
    for id in &manifest.released {
        release(transaction, manifest.shard, *id)?;
    }
    Ok(())
}

fn manifests(
    transaction: &Transaction<'_>,
    shard: ShardId,
    from: Lsn,
    max: usize,
) -> Fallible<Vec<ManifestRow>> {
    let Ok(from) = i64::try_from(from.0) else {
        return Ok(Vec::new());
    };
    let tail = "SELECT lsn, epoch, incarnation, body FROM manifests WHERE shard = ?1 AND lsn >= ?2 \
                ORDER BY lsn LIMIT ?3";
    let mut statement = transaction.prepare_cached(tail)?;
    let mut rows = statement.query(params![shard.0, from, limit(max)])?;
    let mut manifests = Vec::new();
    while let Some(row) = rows.next()? {
        manifests.push(ManifestRow {
            lsn: lsn(row, "lsn")?,
            epoch: epoch(row, "epoch")?,
            incarnation: incarnation(row, "incarnation")?,
            body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
        });
    }
    Ok(manifests)
}

fn resolve(transaction: &Transaction<'_>, names: &[CommitName]) -> Fallible<Vec<Resolved>> {
    let mut resolved = Vec::with_capacity(names.len());
    for name in names {
        let manifest = manifests(transaction, name.shard, name.lsn, 1)?;
        let manifest = manifest.first().filter(|row| row.lsn == name.lsn);
        resolved.push(Resolved {
            row: read_shard(transaction, name.shard)?,
            committed_by: manifest.map(|row| (row.epoch, row.incarnation)),
        });
    }
    Ok(resolved)
}

fn set_checkpoint(
    transaction: &Transaction<'_>,
    request: &SetCheckpoint,
) -> Result<(), Failure<CheckpointError>> {
    let fenced = || {
        Failure::Refused(CheckpointError::Fenced {
            shard: request.shard,
        })
    };
    let row = read_shard(transaction, request.shard)?.ok_or_else(fenced)?;
    if row.epoch != request.epoch || row.incarnation != Some(request.incarnation) {
        return Err(fenced());
    }
    check_checkpoint(&row, request)?;
    let checkpoint = request.checkpoint;
    if row.checkpoint != Some(checkpoint) {
        if !insert_object(
            transaction,
            checkpoint.object,
            &request.key,
            checkpoint.bytes,
            &[request.shard],
        )? {
            return Err(Failure::Refused(CheckpointError::ObjectExists {
                id: checkpoint.object,
            }));
        }
        if let Some(before) = row.checkpoint {
            release(transaction, request.shard, before.object)?;
        }
    }
    let prune_below = integer(request.prune_below.0)?;
    transaction
        .prepare_cached(
            "UPDATE shards SET checkpoint_object = ?2, checkpoint_lsn = ?3, checkpoint_bytes = ?4,
                 checkpoint_hash = ?5, first_lsn = max(first_lsn, ?6) WHERE shard = ?1",
        )?
        .execute(params![
            request.shard.0,
            object_bytes(checkpoint.object),
            integer(checkpoint.lsn.0)?,
            integer(checkpoint.bytes)?,
            checkpoint.state_hash.cast_signed(),
            prune_below,
        ])?;
    transaction
        .prepare_cached("DELETE FROM manifests WHERE shard = ?1 AND lsn < ?2")?
        .execute(params![request.shard.0, prune_below])?;
    transaction
        .prepare_cached("DELETE FROM grants WHERE shard = ?1 AND at_lsn < ?2 AND epoch <> ?3")?
        .execute(params![request.shard.0, prune_below, row.epoch.0])?;
    Ok(())
}

#[async_trait]
impl ManifestShelf for SqliteStore {
    async fn commit(&self, request: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        self.worker
            .write("commit manifests", move |transaction| {
                commit(transaction, &request)
            })
            .await
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        self.worker
            .read("read manifests", move |transaction| {
                manifests(transaction, shard, from, limit)
            })
            .await
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        self.worker
            .read("resolve commits", move |transaction| {
                resolve(transaction, &names)
            })
            .await
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        self.worker
            .write("set a checkpoint", move |transaction| {
                set_checkpoint(transaction, &request)
            })
            .await
    }
}
