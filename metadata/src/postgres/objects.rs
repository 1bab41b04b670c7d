//! The objects shelf in PostgreSQL. Rows of several objects are locked by id, so that two brokers that give up the same
//! objects never wait for each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::FutureExt;
use tokio_postgres::Row;

use super::PostgresStore;
use super::columns::{
    DELETED, LIVE, TOMBSTONE, column, id_bytes, limit, number, object_bytes, object_id,
    shard_number, shards,
};
use super::fault::{Failure, Fallible, Fault};
use super::session::{Params, Session};
use crate::store::{
    ForgetOutcome, ObjectId, ObjectRow, ObjectShelf, ObjectState, ShardId, StoreError,
    TombstoneOutcome,
};

/// How often a tombstone is tried again that a commit came before.
const TRIES_MAX: usize = 8;

macro_rules! object_columns {
    () => {
        "object_id, object_key, state, bytes, live_shards, tombstoned_ms"
    };
}

fn object_row(row: &Row) -> Fallible<ObjectRow> {
    let id = object_id(row, "object_id")?;
    let state = match column::<i32>(row, "state")? {
        LIVE => ObjectState::Live {
            shards: shards(row, "live_shards")?,
        },
        TOMBSTONE => ObjectState::Tombstone {
            at_ms: column(row, "tombstoned_ms")?,
        },
        DELETED => ObjectState::Deleted,
        other => return Err(Fault::Damaged(format!("object {id} has state {other}"))),
    };
    Ok(ObjectRow {
        id,
        key: column(row, "object_key")?,
        bytes: number(row, "bytes")?,
        state,
    })
}

async fn object_rows(
    session: &mut Session,
    sql: &'static str,
    filter: Params<'_>,
) -> Fallible<Vec<ObjectRow>> {
    let rows = session.query(sql, filter).await?;
    rows.iter().map(object_row).collect()
}

/// Inserts the row of an object that one shard needs; false if there is one of any kind.
pub(super) async fn insert_object(
    session: &mut Session,
    object: &[u8],
    key: &str,
    bytes: i64,
    shard: ShardId,
) -> Fallible<bool> {
    let inserted = session
        .execute(
            "INSERT INTO objects (object_id, object_key, state, bytes, live_shards)
             VALUES ($1, $2, $3, $4, $5::int4[]) ON CONFLICT (object_id) DO NOTHING",
            &[&object, &key, &LIVE, &bytes, &vec![shard_number(shard)]],
        )
        .await?;
    Ok(inserted == 1)
}

/// Takes a shard out of those that need an object.
pub(super) async fn release(session: &mut Session, shard: ShardId, id: ObjectId) -> Fallible<()> {
    session
        .execute(
            "UPDATE objects SET live_shards = array_remove(live_shards, $2::int4) WHERE object_id = $1 AND state = $3",
            &[&object_bytes(id), &shard_number(shard), &LIVE],
        )
        .await?;
    Ok(())
}

/// The objects that have rows, locked by id until the transaction ends.
async fn lock_objects(
    session: &mut Session,
    ids: &BTreeSet<ObjectId>,
) -> Fallible<BTreeMap<ObjectId, ObjectRow>> {
    let ids: Vec<Vec<u8>> = ids.iter().copied().map(object_bytes).collect();
    let many = concat!(
        "SELECT ",
        object_columns!(),
        " FROM objects WHERE object_id = ANY ($1::bytea[]) ORDER BY object_id FOR UPDATE"
    );
    let rows = object_rows(session, many, &[&ids]).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

async fn tombstone(
    session: &mut Session,
    ids: &[ObjectId],
    at_ms: i64,
) -> Fallible<Vec<TombstoneOutcome>> {
    let mut open: BTreeSet<ObjectId> = ids.iter().copied().collect();
    let mut needed = BTreeSet::new();
    for _ in 0..TRIES_MAX {
        let rows = lock_objects(session, &open).await?;
        let mut given_up = Vec::new();
        for row in rows.values() {
            open.remove(&row.id);
            match &row.state {
                ObjectState::Live { shards } if shards.is_empty() => {
                    given_up.push(object_bytes(row.id));
                }
                ObjectState::Live { .. } => {
                    needed.insert(row.id);
                }
                ObjectState::Tombstone { .. } | ObjectState::Deleted => {}
            }
        }
        session
            .execute(
                "UPDATE objects SET state = $2, tombstoned_ms = $3 WHERE object_id = ANY ($1::bytea[])",
                &[&given_up, &TOMBSTONE, &at_ms],
            )
            .await?;
        insert_tombstones(session, &mut open, at_ms).await?;
        if open.is_empty() {
            let outcome = |id| {
                if needed.contains(id) {
                    TombstoneOutcome::Needed
                } else {
                    TombstoneOutcome::Tombstoned
                }
            };
            return Ok(ids.iter().map(outcome).collect());
        }
    }
    Err(Fault::Unavailable(format!(
        "{} objects came and went while they were given up",
        open.len()
    )))
}

/// Gives up ids without a row. What stays in `open` has one by now: a commit of it came first.
async fn insert_tombstones(
    session: &mut Session,
    open: &mut BTreeSet<ObjectId>,
    at_ms: i64,
) -> Fallible<()> {
    if open.is_empty() {
        return Ok(());
    }
    let ids: Vec<Vec<u8>> = open.iter().copied().map(object_bytes).collect();
    let rows = session
        .query(
            "INSERT INTO objects (object_id, state, bytes, live_shards, tombstoned_ms)
             SELECT id, $2::int4, 0, '{}'::int4[], $3::int8 FROM unnest($1::bytea[]) AS id ORDER BY id
             ON CONFLICT (object_id) DO NOTHING RETURNING object_id",
            &[&ids, &TOMBSTONE, &at_ms],
        )
        .await?;
    for row in &rows {
        open.remove(&object_id(row, "object_id")?);
    }
    Ok(())
}

/// The lives whose late commits could still pass a fence.
async fn named_writers(
    session: &mut Session,
    ids: &BTreeSet<ObjectId>,
) -> Fallible<BTreeSet<u128>> {
    let writers: BTreeSet<u128> = ids.iter().map(|id| id.incarnation).collect();
    let writers: Vec<Vec<u8>> = writers.into_iter().map(id_bytes).collect();
    let rows = session
        .query(
            "SELECT DISTINCT incarnation FROM shards WHERE incarnation = ANY ($1::bytea[])",
            &[&writers],
        )
        .await?;
    rows.iter()
        .map(|row| super::columns::id(row, "incarnation"))
        .collect()
}

async fn forget(session: &mut Session, ids: &[ObjectId]) -> Fallible<Vec<ForgetOutcome>> {
    let asked: BTreeSet<ObjectId> = ids.iter().copied().collect();
    let rows = lock_objects(session, &asked).await?;
    let named = named_writers(session, &asked).await?;
    let outcome = |id: &ObjectId| match rows.get(id).map(|row| &row.state) {
        None => ForgetOutcome::Forgotten,
        Some(ObjectState::Live { .. }) => ForgetOutcome::NotTombstone,
        Some(ObjectState::Tombstone { .. } | ObjectState::Deleted)
            if named.contains(&id.incarnation) =>
        {
            ForgetOutcome::Kept
        }
        Some(ObjectState::Tombstone { .. } | ObjectState::Deleted) => ForgetOutcome::Forgotten,
    };
    let with = |wanted: ForgetOutcome| -> Vec<Vec<u8>> {
        let found = rows.keys().filter(|id| outcome(id) == wanted);
        found.copied().map(object_bytes).collect()
    };
    let (kept, forgotten) = (with(ForgetOutcome::Kept), with(ForgetOutcome::Forgotten));
    session
        .execute(
            "UPDATE objects SET state = $2 WHERE object_id = ANY ($1::bytea[])",
            &[&kept, &DELETED],
        )
        .await?;
    session
        .execute(
            "DELETE FROM objects WHERE object_id = ANY ($1::bytea[])",
            &[&forgotten],
        )
        .await?;
    Ok(ids.iter().map(outcome).collect())
}

async fn is_tombstone(session: &mut Session, id: ObjectId) -> Fallible<bool> {
    let row = session
        .query_one(
            "SELECT state FROM objects WHERE object_id = $1",
            &[&object_bytes(id)],
        )
        .await?;
    let state: Option<i32> = row.as_ref().map(|row| column(row, "state")).transpose()?;
    Ok(state.is_some_and(|state| state != LIVE))
}

#[async_trait]
impl ObjectShelf for PostgresStore {
    async fn unreferenced(&self, max: usize) -> Result<Vec<ObjectId>, StoreError> {
        self.read("list unneeded objects", move |session| {
            async move {
                let unneeded = "SELECT object_id FROM objects WHERE state = 0 AND live_shards = '{}' \
                                ORDER BY object_id LIMIT $1";
                let rows = session.query(unneeded, &[&limit(max)]).await?;
                rows.iter().map(|row| object_id(row, "object_id")).collect()
            }
            .boxed()
        })
        .await
    }

    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError> {
        let ids = ids.to_vec();
        self.write("tombstone objects", move |session| {
            async move { Ok(tombstone(session, &ids, at_ms).await?) }.boxed()
        })
        .await
    }

    async fn tombstones_before(
        &self,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        self.read("list tombstones", move |session| {
            async move {
                let due = concat!(
                    "SELECT ",
                    object_columns!(),
                    " FROM objects WHERE state = 1 AND tombstoned_ms < $1 ORDER BY tombstoned_ms, object_id LIMIT $2"
                );
                object_rows(session, due, &[&before_ms, &limit(max)]).await
            }
            .boxed()
        })
        .await
    }

    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        self.read("read a tombstone", move |session| {
            is_tombstone(session, id).boxed()
        })
        .await
    }

    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError> {
        let ids = ids.to_vec();
        self.write("forget objects", move |session| {
            async move {
                let outcomes = forget(session, &ids).await;
                outcomes.map_err(Failure::<StoreError>::from)
            }
            .boxed()
        })
        .await
    }

    async fn objects(
        &self,
        after: Option<ObjectId>,
        max: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        self.read("list objects", move |session| {
            async move {
                // No id is as short as this, so that it sorts before all.
                let after = after.map_or_else(Vec::new, object_bytes);
                let page = concat!(
                    "SELECT ",
                    object_columns!(),
                    " FROM objects WHERE object_id > $1 ORDER BY object_id LIMIT $2"
                );
                object_rows(session, page, &[&after, &limit(max)]).await
            }
            .boxed()
        })
        .await
    }
}
