//! The cluster shelf in PostgreSQL. Whoever writes topics, configurations, brokers or producer ids locks the one row of
//! the cluster first, so that revisions are numbered without gaps.

use std::ops::Range;

use async_trait::async_trait;
use futures::FutureExt;
use streamhouse_runtime::Ambient;

use super::PostgresStore;
use super::columns::{
    bits, column, durability, durability_number, id, id_bytes, integer, limit, number, number_u32,
};
use super::fault::{Failure, Fallible};
use super::session::Session;
use crate::store::laws::{not_initialised, producer_id_block};
use crate::store::{
    Cluster, ClusterShelf, FEATURE_LEVEL, InitialiseError, NewCluster, REVISION_AGE_MAX_MS,
    REVISIONS_KEPT_MIN, Revision, RevisionCheck, SHARDS_MAX, StoreError,
};

/// What was read while the row of the cluster was locked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locked {
    /// How many shards there are.
    pub(super) shards: u32,
    next_producer_id: i64,
}

async fn cluster(session: &mut Session) -> Fallible<Option<Cluster>> {
    let one = "SELECT cluster_id, shards, durability, feature_level, created_ms FROM cluster";
    let Some(row) = session.query_one(one, &[]).await? else {
        return Ok(None);
    };
    Ok(Some(Cluster {
        cluster_id: id(&row, "cluster_id")?,
        shards: number_u32(&row, "shards")?,
        durability: durability(&row)?,
        feature_level: number_u32(&row, "feature_level")?,
        created_ms: column(&row, "created_ms")?,
    }))
}

/// Locks the row of the cluster: the first lock of every transaction that takes it.
pub(super) async fn lock(session: &mut Session, operation: &'static str) -> Fallible<Locked> {
    let row = "SELECT shards, next_producer_id FROM cluster FOR NO KEY UPDATE";
    let row = session
        .query_one(row, &[])
        .await?
        .ok_or_else(|| not_initialised(operation))?;
    Ok(Locked {
        shards: number_u32(&row, "shards")?,
        next_producer_id: column(&row, "next_producer_id")?,
    })
}

pub(super) async fn revision(session: &mut Session) -> Fallible<Revision> {
    let newest = "SELECT revision, tag FROM cluster_revision ORDER BY revision DESC LIMIT 1";
    match session.query_one(newest, &[]).await? {
        Some(row) => Ok(Revision {
            number: number(&row, "revision")?,
            tag: bits(&row, "tag")?,
        }),
        None => Ok(Revision::default()),
    }
}

/// Adds the revision of a write that was just made, and prunes old ones. The row of the cluster must be locked.
pub(super) async fn revise(session: &mut Session, ambient: &Ambient) -> Fallible<Revision> {
    let now = ambient.clock.wall_ms();
    let before = integer(revision(session).await?.number)?;
    let revision = Revision {
        number: before.unsigned_abs() + 1,
        tag: ambient.chance.next_u64(),
    };
    session
        .execute(
            "INSERT INTO cluster_revision (revision, tag, at_ms) VALUES ($1, $2, $3)",
            &[
                &integer(revision.number)?,
                &revision.tag.cast_signed(),
                &now,
            ],
        )
        .await?;
    session
        .execute(
            "DELETE FROM cluster_revision WHERE at_ms < $1 AND revision <= $2",
            &[
                &now.saturating_sub(REVISION_AGE_MAX_MS),
                &integer(revision.number.saturating_sub(REVISIONS_KEPT_MIN))?,
            ],
        )
        .await?;
    wake_others(session).await?;
    Ok(revision)
}

/// Tells the brokers of this schema, when the transaction is committed, that something changed.
pub(super) async fn wake_others(session: &mut Session) -> Fallible<()> {
    // A name of the code's own: `streamhouse` is also what the sessions listen to.
    let tell = "SELECT pg_notify('streamhouse', current_schema()::text)";
    session.query(tell, &[]).await?;
    Ok(())
}

async fn create(
    session: &mut Session,
    new: NewCluster,
    now: i64,
) -> Result<Cluster, Failure<InitialiseError>> {
    if let Some(cluster) = cluster(session).await? {
        return Ok(cluster);
    }
    // Of two brokers that start at once, the second finds what the first has made.
    session
        .execute("LOCK TABLE cluster IN SHARE ROW EXCLUSIVE MODE", &[])
        .await?;
    if let Some(cluster) = cluster(session).await? {
        return Ok(cluster);
    }
    let count = i32::try_from(new.shards).unwrap_or(i32::MAX);
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
    let feature_level = i32::try_from(made.feature_level).unwrap_or(i32::MAX);
    session
        .execute(
            "INSERT INTO cluster (one, cluster_id, shards, durability, feature_level, created_ms, next_producer_id)
             VALUES (1, $1, $2, $3, $4, $5, 0)",
            &[&id_bytes(made.cluster_id), &count, &durability, &feature_level, &now],
        )
        .await?;
    session
        .execute(
            "INSERT INTO shards (shard, durability, epoch, timeline, next_lsn, first_lsn, wal_since_epoch)
             SELECT shard, $2::int4, 0, 0, 0, 0, 0 FROM generate_series(0, $1::int4 - 1) AS shard",
            &[&count, &durability],
        )
        .await?;
    session
        .execute(
            "INSERT INTO shard_coordination (shard, epoch, seq)
             SELECT shard, 0, 0 FROM generate_series(0, $1::int4 - 1) AS shard",
            &[&count],
        )
        .await?;
    Ok(made)
}

async fn revisions_since(session: &mut Session, after: u64, max: usize) -> Fallible<Vec<Revision>> {
    let Ok(after) = i64::try_from(after) else {
        return Ok(Vec::new());
    };
    let behind =
        "SELECT revision, tag FROM cluster_revision WHERE revision > $1 ORDER BY revision LIMIT $2";
    let rows = session.query(behind, &[&after, &limit(max)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Revision {
                number: number(row, "revision")?,
                tag: bits(row, "tag")?,
            })
        })
        .collect()
}

async fn check_revision(session: &mut Session, seen: Revision) -> Fallible<RevisionCheck> {
    if seen.number == 0 {
        return Ok(RevisionCheck::Kept);
    }
    let Ok(sought) = i64::try_from(seen.number) else {
        return Ok(RevisionCheck::Missing);
    };
    let row = session
        .query_one(
            "SELECT (SELECT tag FROM cluster_revision WHERE revision = $1) AS tag,
                    (SELECT min(revision) FROM cluster_revision) AS oldest",
            &[&sought],
        )
        .await?;
    let (tag, oldest): (Option<i64>, Option<i64>) = match &row {
        Some(row) => (column(row, "tag")?, column(row, "oldest")?),
        None => (None, None),
    };
    Ok(match (tag, oldest) {
        (Some(tag), _) if tag == seen.tag.cast_signed() => RevisionCheck::Kept,
        (None, Some(oldest)) if sought < oldest => RevisionCheck::Pruned,
        (Some(_) | None, _) => RevisionCheck::Missing,
    })
}

async fn allocate(
    session: &mut Session,
    count: u32,
    operation: &'static str,
    ambient: &Ambient,
) -> Fallible<Range<i64>> {
    let locked = lock(session, operation).await?;
    let block = producer_id_block(locked.next_producer_id, count)?;
    session
        .execute("UPDATE cluster SET next_producer_id = $1", &[&block.end])
        .await?;
    revise(session, ambient).await?;
    Ok(block)
}

#[async_trait]
impl ClusterShelf for PostgresStore {
    async fn initialise(&self, new: NewCluster) -> Result<Cluster, InitialiseError> {
        let now = self.pool.ambient().clock.wall_ms();
        self.write("initialise the cluster", move |session| {
            create(session, new, now).boxed()
        })
        .await
    }

    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        self.read("read the cluster", |session| cluster(session).boxed())
            .await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read("read the revision", |session| revision(session).boxed())
            .await
    }

    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.read("read revisions", move |session| {
            revisions_since(session, after, limit).boxed()
        })
        .await
    }

    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        self.read("check a revision", move |session| {
            check_revision(session, seen).boxed()
        })
        .await
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        const OPERATION: &str = "allocate producer ids";
        let ambient = self.pool.ambient().clone();
        self.write(OPERATION, move |session| {
            async move {
                allocate(session, count, OPERATION, &ambient)
                    .await
                    .map_err(Failure::from)
            }
            .boxed()
        })
        .await
    }
}
