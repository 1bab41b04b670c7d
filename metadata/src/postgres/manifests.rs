//! The manifests shelf in PostgreSQL: a commit is one statement, whatever the number of shards.
//!
//! The statement locks the rows of its shards by number, compares the fence of each with what it read *under the lock*
//! (what a statement saw when it began may be older), and everything else selects from the shards that passed. A shard
//! that does not pass changes nothing and holds nobody up. An object whose id is taken breaks a key, which undoes all.
//!
//! A row that changed while it was waited for is judged again by the server with the rows that were joined to it, but with
//! every subquery run anew, on rows that this statement has changed itself. So updates take what they need from joined
//! rows alone, and a subquery in them looks at nothing else.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use streamhouse_runtime::planted;
use tokio_postgres::Row;

use super::PostgresStore;
use super::columns::{
    column, epoch, id_bytes, incarnation, integer, limit, lsn, object_bytes, shard, shard_number,
};
use super::fault::{Failure, Fallible};
use super::objects::{insert_object, release};
use super::session::{Params, Session};
use super::shards::{all_shards, lock_shard, lock_shards};
use super::work::settled;
use crate::store::laws::{by_shard, check_checkpoint};
use crate::store::{
    CheckpointError, Commit, CommitError, CommitName, CommitOutcome, Lsn, ManifestCommit,
    ManifestRow, ManifestShelf, Resolved, SetCheckpoint, ShardId, StoreError,
};

/// $1-$7: per shard its number, epoch, incarnation, first and next lsn, and the end of the WAL. $8-$10: per manifest its
/// shard, lsn and body. $11-$13: the object, or nulls. $14-$15: per released object the shard and the id. $16: per
/// shard whether it lets its WAL folder go. Answers with the shards that won.
const COMMIT: &str = "
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::int4[], $2::int4[], $3::bytea[], $4::int8[], $5::int8[], $6::bytea[], $7::int8[],
            $16::bool[])
        AS a (shard, epoch, incarnation, lsn, next_lsn, wal_end_dir, wal_end_position, clears_wal_dir)
), locked AS MATERIALIZED (
    SELECT s.shard, s.epoch, s.incarnation, s.next_lsn FROM shards s
    WHERE s.shard = ANY ($1::int4[]) ORDER BY s.shard FOR NO KEY UPDATE
), won AS MATERIALIZED (
    SELECT a.* FROM locked l JOIN asked a ON a.shard = l.shard
    WHERE l.epoch = a.epoch AND l.incarnation = a.incarnation AND l.next_lsn = a.lsn
), advanced AS (
    UPDATE shards s SET next_lsn = w.next_lsn,
        wal_end_dir = coalesce(w.wal_end_dir, s.wal_end_dir),
        wal_end_position = coalesce(w.wal_end_position, s.wal_end_position),
        wal_dir_uuid = CASE WHEN w.clears_wal_dir THEN NULL ELSE s.wal_dir_uuid END
    FROM won w WHERE s.shard = w.shard
), recorded AS (
    INSERT INTO manifests (shard, lsn, epoch, incarnation, body)
    SELECT w.shard, m.lsn, w.epoch, w.incarnation, m.body
    FROM unnest($8::int4[], $9::int8[], $10::bytea[]) AS m (shard, lsn, body) JOIN won w ON w.shard = m.shard
), freed AS MATERIALIZED (
    SELECT r.shard, r.object_id
    FROM unnest($14::int4[], $15::bytea[]) AS r (shard, object_id) JOIN won w ON w.shard = r.shard
), stored AS (
    INSERT INTO objects (object_id, object_key, state, bytes, live_shards)
    SELECT $11::bytea, $12::text, 0, $13::int8, ARRAY (
        SELECT w.shard FROM won w
        WHERE NOT EXISTS (SELECT FROM freed f WHERE f.shard = w.shard AND f.object_id = $11::bytea)
        ORDER BY w.shard)
    WHERE $11::bytea IS NOT NULL AND EXISTS (SELECT FROM won)
), leavers AS MATERIALIZED (
    SELECT f.object_id, array_agg(f.shard) AS shards FROM freed f GROUP BY f.object_id
), unneeded AS MATERIALIZED (
    SELECT o.object_id, l.shards FROM leavers l JOIN objects o ON o.object_id = l.object_id
    ORDER BY o.object_id FOR NO KEY UPDATE OF o
), released AS (
    UPDATE objects o SET live_shards = ARRAY (
        SELECT n FROM unnest(o.live_shards) AS n WHERE n <> ALL (u.shards) ORDER BY n)
    FROM unneeded u WHERE o.object_id = u.object_id AND o.state = 0
)
SELECT w.shard FROM won w";

/// The key that a taken object id breaks. It is in the schema: never change.
const OBJECT_KEY: &str = "objects_pkey";

/// What a commit says of each shard, a column per vector.
#[derive(Debug, Default)]
struct Shards {
    shards: Vec<i32>,
    epochs: Vec<i32>,
    incarnations: Vec<Vec<u8>>,
    lsns: Vec<i64>,
    next_lsns: Vec<i64>,
    wal_end_dirs: Vec<Option<Vec<u8>>>,
    wal_end_positions: Vec<Option<i64>>,
    clears_wal_dir: Vec<bool>,
}

impl Shards {
    fn of(shards: &BTreeMap<ShardId, Vec<&ManifestCommit>>) -> Fallible<Self> {
        let mut columns = Self::default();
        for (shard, manifests) in shards {
            let (Some(first), Some(last)) = (manifests.first(), manifests.last()) else {
                continue;
            };
            let wal_end = manifests.iter().rev().find_map(|manifest| manifest.wal_end);
            let position = wal_end.map(|end| integer(end.position)).transpose()?;
            columns.shards.push(shard_number(*shard));
            columns.epochs.push(first.epoch.0);
            columns.incarnations.push(id_bytes(first.incarnation.0));
            columns.lsns.push(integer(first.lsn.0)?);
            columns
                .next_lsns
                .push(integer(last.lsn.0)?.saturating_add(1));
            columns
                .wal_end_dirs
                .push(wal_end.map(|end| id_bytes(end.dir)));
            columns.wal_end_positions.push(position);
            columns.clears_wal_dir.push(last.clears_wal_dir);
        }
        Ok(columns)
    }
}

/// What the manifests release: the shard and the object, a column each.
fn released(manifests: &[ManifestCommit]) -> (Vec<i32>, Vec<Vec<u8>>) {
    manifests
        .iter()
        .flat_map(|manifest| {
            let shard = shard_number(manifest.shard);
            manifest
                .released
                .iter()
                .map(move |id| (shard, object_bytes(*id)))
        })
        .unzip()
}

/// The answers to the manifests, from the shards that won.
fn outcomes(manifests: &[ManifestCommit], won: &[Row]) -> Fallible<Vec<CommitOutcome>> {
    let winners: BTreeSet<ShardId> = won
        .iter()
        .map(|row| shard(row, "shard"))
        .collect::<Fallible<_>>()?;
    Ok(manifests
        .iter()
        .map(|manifest| {
            if winners.contains(&manifest.shard) {
                CommitOutcome::Committed
            } else {
                CommitOutcome::Refused
            }
        })
        .collect())
}

async fn commit(
    session: &mut Session,
    commit: Commit,
) -> Result<Vec<CommitOutcome>, Failure<CommitError>> {
    let manifests = &commit.manifests;
    if manifests.is_empty() {
        return Ok(Vec::new());
    }
    let asked = Shards::of(&by_shard(&commit)?)?;
    let shards: Vec<i32> = manifests
        .iter()
        .map(|manifest| shard_number(manifest.shard))
        .collect();
    let lsns: Vec<i64> = manifests
        .iter()
        .map(|manifest| integer(manifest.lsn.0))
        .collect::<Fallible<_>>()?;
    let bodies: Vec<&[u8]> = manifests
        .iter()
        .map(|manifest| manifest.body.as_ref())
        .collect();
    let (leaving, left) = released(manifests);
    let object = commit.object.as_ref();
    let object_id = object.map(|object| object_bytes(object.id));
    let object_key = object.map(|object| object.key.as_str());
    let object_size = object.map(|object| integer(object.bytes)).transpose()?;
    let params: Params<'_> = &[
        &asked.shards,
        &asked.epochs,
        &asked.incarnations,
        &asked.lsns,
        &asked.next_lsns,
        &asked.wal_end_dirs,
        &asked.wal_end_positions,
        &shards,
        &lsns,
        &bodies,
        &object_id,
        &object_key,
        &object_size,
        &leaving,
        &left,
        &asked.clears_wal_dir,
    ];
    let won = session
        .commit_by(COMMIT, params)
        .await
        .map_err(|fault| match object {
            Some(object) if fault.broken_constraint() == Some(OBJECT_KEY) => {
                Failure::Refused(CommitError::ObjectExists { id: object.id })
            }
            Some(_) | None => Failure::Fault(fault),
        })?;
    Ok(outcomes(manifests, &won)?)
}

async fn manifests(
    session: &mut Session,
    shard: ShardId,
    from: Lsn,
    max: usize,
) -> Fallible<Vec<ManifestRow>> {
    let Ok(from) = i64::try_from(from.0) else {
        return Ok(Vec::new());
    };
    let rows = session
        .query(
            "SELECT lsn, epoch, incarnation, body FROM manifests WHERE shard = $1 AND lsn >= $2 ORDER BY lsn LIMIT $3",
            &[&shard_number(shard), &from, &limit(max)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ManifestRow {
                lsn: lsn(row, "lsn")?,
                epoch: epoch(row, "epoch")?,
                incarnation: incarnation(row, "incarnation")?,
                body: Bytes::from(column::<Vec<u8>>(row, "body")?),
            })
        })
        .collect()
}

/// Locks the shards, which waits for commits that are under way, and looks for the manifests in a statement that begins
/// after that. The COMMIT of this transaction waits for the same replicas as theirs.
async fn resolve(session: &mut Session, names: &[CommitName]) -> Fallible<Vec<Resolved>> {
    let shards: Vec<i32> = names.iter().map(|name| shard_number(name.shard)).collect();
    // No manifest has a number behind the end of the column.
    let lsns = names
        .iter()
        .map(|name| i64::try_from(name.lsn.0).unwrap_or(-1));
    let lsns: Vec<i64> = lsns.collect();
    let rows = if planted::bug("resolve_without_waiting") {
        let unlocked = all_shards(session).await?.into_iter();
        unlocked.map(|row| (row.shard, row)).collect()
    } else {
        lock_shards(session, &shards).await?
    };
    let found = session
        .query(
            "SELECT m.shard, m.lsn, m.epoch, m.incarnation FROM manifests m
             JOIN unnest($1::int4[], $2::int8[]) AS n (shard, lsn) ON n.shard = m.shard AND n.lsn = m.lsn",
            &[&shards, &lsns],
        )
        .await?;
    let mut committed_by = BTreeMap::new();
    for row in &found {
        let by = (epoch(row, "epoch")?, incarnation(row, "incarnation")?);
        committed_by.insert((shard(row, "shard")?, lsn(row, "lsn")?), by);
    }
    let resolved = names.iter().map(|name| Resolved {
        row: rows.get(&name.shard).copied(),
        committed_by: committed_by.get(&(name.shard, name.lsn)).copied(),
    });
    Ok(resolved.collect())
}

async fn set_checkpoint(
    session: &mut Session,
    request: SetCheckpoint,
) -> Result<(), Failure<CheckpointError>> {
    let shard = request.shard;
    let fenced = || Failure::Refused(CheckpointError::Fenced { shard });
    let row = lock_shard(session, shard).await?.ok_or_else(fenced)?;
    if row.epoch != request.epoch || row.incarnation != Some(request.incarnation) {
        return Err(fenced());
    }
    check_checkpoint(&row, &request)?;
    let checkpoint = request.checkpoint;
    let object = object_bytes(checkpoint.object);
    let bytes = integer(checkpoint.bytes)?;
    if row.checkpoint != Some(checkpoint) {
        if !insert_object(session, &object, &request.key, bytes, shard).await? {
            return Err(Failure::Refused(CheckpointError::ObjectExists {
                id: checkpoint.object,
            }));
        }
        if let Some(before) = row.checkpoint {
            release(session, shard, before.object).await?;
        }
    }
    let number = shard_number(shard);
    let prune_below = integer(request.prune_below.0)?;
    session
        .execute(
            "UPDATE shards SET checkpoint_object = $2, checkpoint_lsn = $3, checkpoint_bytes = $4, checkpoint_hash = $5,
                 first_lsn = greatest(first_lsn, $6) WHERE shard = $1",
            &[
                &number,
                &object,
                &integer(checkpoint.lsn.0)?,
                &bytes,
                &checkpoint.state_hash.cast_signed(),
                &prune_below,
            ],
        )
        .await?;
    session
        .execute(
            "DELETE FROM manifests WHERE shard = $1 AND lsn < $2",
            &[&number, &prune_below],
        )
        .await?;
    session
        .execute(
            "DELETE FROM grants WHERE shard = $1 AND at_lsn < $2 AND epoch <> $3",
            &[&number, &prune_below, &row.epoch.0],
        )
        .await?;
    Ok(())
}

#[async_trait]
impl ManifestShelf for PostgresStore {
    async fn commit(&self, request: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        self.one_statement("commit manifests", move |session| {
            commit(session, request).boxed()
        })
        .await
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        self.read("read manifests", move |session| {
            manifests(session, shard, from, limit).boxed()
        })
        .await
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        self.write("resolve commits", move |session| {
            async move { Ok(resolve(session, &names).await?) }.boxed()
        })
        .await
        .map_err(settled)
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        self.write("set a checkpoint", move |session| {
            set_checkpoint(session, request).boxed()
        })
        .await
    }
}
