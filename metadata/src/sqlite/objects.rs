//! The objects shelf in SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::SqliteStore;
use super::columns::{
    DELETED, LIVE, TOMBSTONE, limit, number, object_bytes, object_id, shard_bytes, shards,
};
use super::fault::{Failure, Fallible, Fault};
use crate::store::{
    ForgetOutcome, ObjectId, ObjectRow, ObjectShelf, ObjectState, ShardId, StoreError,
    TombstoneOutcome,
};

fn object_row(row: &Row<'_>) -> Fallible<ObjectRow> {
    let id = object_id(&row.get("object_id")?);
    let state = match row.get::<_, i64>("state")? {
        LIVE => ObjectState::Live {
            shards: shards(&row.get::<_, Vec<u8>>("live_shards")?)?,
        },
        TOMBSTONE => ObjectState::Tombstone {
            at_ms: row.get("tombstoned_ms")?,
        },
        DELETED => ObjectState::Deleted,
        other => return Err(Fault::Damaged(format!("object {id} has state {other}"))),
    };
    Ok(ObjectRow {
        id,
        key: row.get("object_key")?,
        bytes: number(row, "bytes")?,
        state,
    })
}

fn object_rows(
    transaction: &Transaction<'_>,
    sql: &str,
    filter: impl rusqlite::Params,
) -> Fallible<Vec<ObjectRow>> {
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query(filter)?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        objects.push(object_row(row)?);
    }
    Ok(objects)
}

fn read_object(transaction: &Transaction<'_>, id: ObjectId) -> Fallible<Option<ObjectRow>> {
    let one = "SELECT * FROM objects WHERE object_id = ?1";
    Ok(object_rows(transaction, one, [object_bytes(id)])?.pop())
}

/// Takes a shard out of those that need an object.
pub(super) fn release(transaction: &Transaction<'_>, shard: ShardId, id: ObjectId) -> Fallible<()> {
    let Some(ObjectRow {
        state: ObjectState::Live { shards: mut live },
        ..
    }) = read_object(transaction, id)?
    else {
        return Ok(());
    };
    live.retain(|needing| *needing != shard);
    transaction
        .prepare_cached("UPDATE objects SET live_shards = ?2 WHERE object_id = ?1")?
        .execute(params![object_bytes(id), shard_bytes(&live)])?;
    Ok(())
}

fn tombstone(
    transaction: &Transaction<'_>,
    id: ObjectId,
    at_ms: i64,
) -> Fallible<TombstoneOutcome> {
    match read_object(transaction, id)?.map(|row| row.state) {
        None => {
            transaction
                .prepare_cached(
                    "INSERT INTO objects (object_id, state, bytes, live_shards, tombstoned_ms)
                     VALUES (?1, ?2, 0, x'', ?3)",
                )?
                .execute(params![object_bytes(id), TOMBSTONE, at_ms])?;
        }
        Some(ObjectState::Live { shards }) if !shards.is_empty() => {
            return Ok(TombstoneOutcome::Needed);
        }
        Some(ObjectState::Live { .. }) => {
            transaction
                .prepare_cached(
                    "UPDATE objects SET state = ?2, tombstoned_ms = ?3 WHERE object_id = ?1",
                )?
                .execute(params![object_bytes(id), TOMBSTONE, at_ms])?;
        }
        Some(ObjectState::Tombstone { .. } | ObjectState::Deleted) => {}
    }
    Ok(TombstoneOutcome::Tombstoned)
}

/// Whether a late commit of the object's writer could still pass a fence.
fn names_writer(transaction: &Transaction<'_>, id: ObjectId) -> Fallible<bool> {
    let named: Option<i64> = transaction
        .prepare_cached("SELECT 1 FROM shards WHERE incarnation = ?1 LIMIT 1")?
        .query_row([id.incarnation.to_be_bytes()], |row| row.get(0))
        .optional()?;
    Ok(named.is_some())
}

fn forget(transaction: &Transaction<'_>, id: ObjectId) -> Fallible<ForgetOutcome> {
    match read_object(transaction, id)?.map(|row| row.state) {
        None => Ok(ForgetOutcome::Forgotten),
        Some(ObjectState::Live { .. }) => Ok(ForgetOutcome::NotTombstone),
        Some(ObjectState::Tombstone { .. } | ObjectState::Deleted)
            if names_writer(transaction, id)? =>
        {
            transaction
                .prepare_cached("UPDATE objects SET state = ?2 WHERE object_id = ?1")?
                .execute(params![object_bytes(id), DELETED])?;
            Ok(ForgetOutcome::Kept)
        }
        Some(ObjectState::Tombstone { .. } | ObjectState::Deleted) => {
            transaction
                .prepare_cached("DELETE FROM objects WHERE object_id = ?1")?
                .execute([object_bytes(id)])?;
            Ok(ForgetOutcome::Forgotten)
        }
    }
}

#[async_trait]
impl ObjectShelf for SqliteStore {
    async fn unreferenced(&self, max: usize) -> Result<Vec<ObjectId>, StoreError> {
        let unneeded = "SELECT * FROM objects WHERE state = 0 AND live_shards = x'' ORDER BY object_id LIMIT ?1";
        self.worker
            .read("list unneeded objects", move |transaction| {
                let rows = object_rows(transaction, unneeded, [limit(max)])?;
                Ok(rows.into_iter().map(|row| row.id).collect())
            })
            .await
    }

    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError> {
        let ids = ids.to_vec();
        self.worker
            .write("tombstone objects", move |transaction| {
                let outcomes: Fallible<_> = ids
                    .iter()
                    .map(|id| tombstone(transaction, *id, at_ms))
                    .collect();
                outcomes.map_err(Failure::from)
            })
            .await
    }

    async fn tombstones_before(
        &self,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        let due = "SELECT * FROM objects WHERE state = 1 AND tombstoned_ms < ?1 \
                   ORDER BY tombstoned_ms, object_id LIMIT ?2";
        self.worker
            .read("list tombstones", move |transaction| {
                object_rows(transaction, due, [before_ms, limit(max)])
            })
            .await
    }

    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        self.worker
            .read("read a tombstone", move |transaction| {
                Ok(
                    read_object(transaction, id)?.is_some_and(|row| match row.state {
                        ObjectState::Live { .. } => false,
                        ObjectState::Tombstone { .. } | ObjectState::Deleted => true,
                    }),
                )
            })
            .await
    }

    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError> {
        let ids = ids.to_vec();
        self.worker
            .write("forget objects", move |transaction| {
                let outcomes: Fallible<_> = ids.iter().map(|id| forget(transaction, *id)).collect();
                outcomes.map_err(Failure::from)
            })
            .await
    }

    async fn objects(
        &self,
        after: Option<ObjectId>,
        max: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        // No id is as short as this, so that it sorts before all.
        let after = after.map_or_else(Vec::new, |id| object_bytes(id).to_vec());
        let page = "SELECT * FROM objects WHERE object_id > ?1 ORDER BY object_id LIMIT ?2";
        self.worker
            .read("list objects", move |transaction| {
                object_rows(transaction, page, params![after, limit(max)])
            })
            .await
    }
}
