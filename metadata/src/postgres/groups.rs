//! The groups shelf in PostgreSQL: one statement writes the groups of many shards.
//!
//! Writes of one shard that follow each other are one *run*: they pass the fence together, and only the last change of
//! each group and offset is written. The statement locks the coordination rows by number, compares each fence with what
//! it read under the lock, and all its changes select from the shards that passed. What follows a refused write is tried
//! again by itself, in a further statement: a resend that names a later `seq` may still be right.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use streamhouse_protocol::ids::PartitionIndex;
use streamhouse_protocol::names::GroupId;
use tokio_postgres::Row;

use super::PostgresStore;
use super::columns::{
    WHOLE, column, epoch, free_text, id_bytes, integer, number, optional_id, shard, shard_number,
    topic_id, whole,
};
use super::fault::{Failure, Fallible};
use super::session::Session;
use super::work::settled;
use crate::store::{
    Coordination, CoordinationOutcome, CoordinationWrite, GroupChange, GroupRow, GroupShelf,
    Incarnation, OffsetKey, OffsetRow, ShardGroups, ShardId, StoreError,
};

/// $1-$5: per shard its number, epoch, incarnation, the `seq` it names and how many writes follow it. $6-$8: groups to
/// put. $9-$10: groups to delete. $11-$19: offsets to put. $20-$23: offsets to delete. Answers with the shards that won
/// and their `seq` from now on.
const WRITE: &str = "
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::int4[], $2::int4[], $3::bytea[], $4::int8[], $5::int8[])
        AS a (shard, epoch, incarnation, seq, writes)
), locked AS MATERIALIZED (
    SELECT c.shard, c.epoch, c.incarnation, c.seq FROM shard_coordination c
    WHERE c.shard = ANY ($1::int4[]) ORDER BY c.shard FOR NO KEY UPDATE
), won AS MATERIALIZED (
    SELECT l.shard, l.seq + a.writes AS seq FROM locked l JOIN asked a ON a.shard = l.shard
    WHERE l.epoch = a.epoch AND l.incarnation = a.incarnation AND l.seq = a.seq
), counted AS (
    UPDATE shard_coordination c SET seq = w.seq FROM won w WHERE c.shard = w.shard
), put_groups AS (
    INSERT INTO groups (shard, group_id, blob)
    SELECT g.shard, g.group_id, g.blob
    FROM unnest($6::int4[], $7::bytea[], $8::bytea[]) AS g (shard, group_id, blob) JOIN won w ON w.shard = g.shard
    ON CONFLICT (shard, group_id) DO UPDATE SET blob = excluded.blob
), deleted_groups AS (
    DELETE FROM groups g USING unnest($9::int4[], $10::bytea[]) AS d (shard, group_id), won w
    WHERE w.shard = d.shard AND g.shard = d.shard AND g.group_id = d.group_id
), put_offsets AS (
    INSERT INTO group_offsets (shard, group_id, topic_id, partition, committed_offset, leader_epoch, metadata,
        commit_ms, expire_ms)
    SELECT o.* FROM unnest($11::int4[], $12::bytea[], $13::bytea[], $14::int4[], $15::int8[], $16::int4[],
            $17::bytea[], $18::int8[], $19::int8[])
        AS o (shard, group_id, topic_id, partition, committed_offset, leader_epoch, metadata, commit_ms, expire_ms)
    JOIN won w ON w.shard = o.shard
    ON CONFLICT (shard, group_id, topic_id, partition) DO UPDATE SET committed_offset = excluded.committed_offset,
        leader_epoch = excluded.leader_epoch, metadata = excluded.metadata, commit_ms = excluded.commit_ms,
        expire_ms = excluded.expire_ms
), deleted_offsets AS (
    DELETE FROM group_offsets o
    USING unnest($20::int4[], $21::bytea[], $22::bytea[], $23::int4[]) AS d (shard, group_id, topic_id, partition), won w
    WHERE w.shard = d.shard AND o.shard = d.shard AND o.group_id = d.group_id AND o.topic_id = d.topic_id
        AND o.partition = d.partition
)
SELECT w.shard, w.seq FROM won w";

/// Writes of one shard that follow each other, by their index in the request; never empty.
#[derive(Debug)]
struct Run {
    writes: Vec<usize>,
}

/// The first run of each shard that has writes left.
fn next_runs(
    writes: &[CoordinationWrite],
    waiting: &mut BTreeMap<ShardId, VecDeque<usize>>,
) -> BTreeMap<ShardId, Run> {
    let follows = |before: usize, after: usize| {
        let (before, after) = (&writes[before], &writes[after]);
        before.epoch == after.epoch
            && before.incarnation == after.incarnation
            && before.seq.checked_add(1) == Some(after.seq)
    };
    let mut runs = BTreeMap::new();
    for (shard, indices) in waiting.iter_mut() {
        let mut run: Vec<usize> = Vec::new();
        while let Some(next) = indices.front().copied() {
            if run.last().is_some_and(|last| !follows(*last, next)) {
                break;
            }
            run.push(next);
            indices.pop_front();
        }
        if !run.is_empty() {
            runs.insert(*shard, Run { writes: run });
        }
    }
    runs
}

/// What a run leaves of each group and offset: the row, or none where it is removed.
#[derive(Debug, Default)]
struct Changes<'a> {
    groups: BTreeMap<(ShardId, &'a GroupId), Option<&'a GroupRow>>,
    offsets: BTreeMap<(ShardId, OffsetKey), Option<&'a OffsetRow>>,
}

impl<'a> Changes<'a> {
    fn of(writes: &'a [CoordinationWrite], runs: &BTreeMap<ShardId, Run>) -> Self {
        let mut changes = Self::default();
        for (shard, run) in runs {
            for change in run.writes.iter().flat_map(|index| &writes[*index].changes) {
                changes.make(*shard, change);
            }
        }
        changes
    }

    fn make(&mut self, shard: ShardId, change: &'a GroupChange) {
        match change {
            GroupChange::PutGroup(row) => {
                self.groups.insert((shard, &row.group), Some(row));
            }
            GroupChange::DeleteGroup(group) => {
                self.groups.insert((shard, group), None);
            }
            GroupChange::PutOffset(row) => {
                self.offsets.insert((shard, row.key()), Some(row));
            }
            GroupChange::DeleteOffset(key) => {
                self.offsets.insert((shard, key.clone()), None);
            }
        }
    }
}

/// The fences of the runs, a column per vector.
#[derive(Debug, Default)]
struct Fences {
    shards: Vec<i32>,
    epochs: Vec<i32>,
    incarnations: Vec<Vec<u8>>,
    seqs: Vec<i64>,
    writes: Vec<i64>,
}

impl Fences {
    fn of(writes: &[CoordinationWrite], runs: &BTreeMap<ShardId, Run>) -> Fallible<Self> {
        let mut fences = Self::default();
        for (shard, run) in runs {
            let Some(first) = run.writes.first().map(|index| &writes[*index]) else {
                continue;
            };
            let length = u64::try_from(run.writes.len()).unwrap_or(u64::MAX);
            fences.shards.push(shard_number(*shard));
            fences.epochs.push(first.epoch.0);
            fences.incarnations.push(id_bytes(first.incarnation.0));
            fences.seqs.push(integer(first.seq)?);
            fences.writes.push(integer(length)?);
        }
        Ok(fences)
    }
}

/// The groups that are put and those that are deleted, a column per vector.
#[derive(Debug, Default)]
struct GroupColumns<'a> {
    put_shards: Vec<i32>,
    put_groups: Vec<&'a [u8]>,
    put_blobs: Vec<&'a [u8]>,
    gone_shards: Vec<i32>,
    gone_groups: Vec<&'a [u8]>,
}

impl<'a> GroupColumns<'a> {
    fn of(changes: &Changes<'a>) -> Self {
        let mut columns = Self::default();
        for ((shard, group), row) in &changes.groups {
            let (shard, group) = (shard_number(*shard), group.as_str().as_bytes());
            match row {
                Some(row) => {
                    columns.put_shards.push(shard);
                    columns.put_groups.push(group);
                    columns.put_blobs.push(row.blob.as_ref());
                }
                None => {
                    columns.gone_shards.push(shard);
                    columns.gone_groups.push(group);
                }
            }
        }
        columns
    }
}

/// Keys of offsets, a column per vector.
#[derive(Debug, Default)]
struct KeyColumns<'a> {
    shards: Vec<i32>,
    groups: Vec<&'a [u8]>,
    topics: Vec<Vec<u8>>,
    partitions: Vec<i32>,
}

impl<'a> KeyColumns<'a> {
    fn push(&mut self, shard: ShardId, key: &'a OffsetKey) {
        self.shards.push(shard_number(shard));
        self.groups.push(key.group.as_str().as_bytes());
        self.topics.push(id_bytes(key.topic.0));
        self.partitions.push(key.partition.0);
    }
}

/// The offsets that are put and those that are deleted, a column per vector.
#[derive(Debug, Default)]
struct OffsetColumns<'a> {
    put: KeyColumns<'a>,
    offsets: Vec<i64>,
    leader_epochs: Vec<i32>,
    metadata: Vec<&'a [u8]>,
    commits_ms: Vec<i64>,
    expire_ms: Vec<Option<i64>>,
    gone: KeyColumns<'a>,
}

impl<'a> OffsetColumns<'a> {
    fn of(changes: &'a Changes<'_>) -> Self {
        let mut columns = Self::default();
        for ((shard, key), row) in &changes.offsets {
            let Some(row) = row else {
                columns.gone.push(*shard, key);
                continue;
            };
            columns.put.push(*shard, key);
            columns.offsets.push(row.offset);
            columns.leader_epochs.push(row.leader_epoch.0);
            columns.metadata.push(row.metadata.as_bytes());
            columns.commits_ms.push(row.commit_ms);
            columns.expire_ms.push(row.expire_ms);
        }
        columns
    }
}

/// Writes the runs in one statement; the shards that won, with their `seq` from now on.
async fn write_runs(
    session: &mut Session,
    writes: &[CoordinationWrite],
    runs: &BTreeMap<ShardId, Run>,
) -> Fallible<BTreeMap<ShardId, u64>> {
    let fences = Fences::of(writes, runs)?;
    let changes = Changes::of(writes, runs);
    let groups = GroupColumns::of(&changes);
    let offsets = OffsetColumns::of(&changes);
    let rows = session
        .commit_by(
            WRITE,
            &[
                &fences.shards,
                &fences.epochs,
                &fences.incarnations,
                &fences.seqs,
                &fences.writes,
                &groups.put_shards,
                &groups.put_groups,
                &groups.put_blobs,
                &groups.gone_shards,
                &groups.gone_groups,
                &offsets.put.shards,
                &offsets.put.groups,
                &offsets.put.topics,
                &offsets.put.partitions,
                &offsets.offsets,
                &offsets.leader_epochs,
                &offsets.metadata,
                &offsets.commits_ms,
                &offsets.expire_ms,
                &offsets.gone.shards,
                &offsets.gone.groups,
                &offsets.gone.topics,
                &offsets.gone.partitions,
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((shard(row, "shard")?, number(row, "seq")?)))
        .collect()
}

async fn write(
    session: &mut Session,
    writes: Vec<CoordinationWrite>,
) -> Result<Vec<CoordinationOutcome>, Failure<StoreError>> {
    let mut outcomes = vec![CoordinationOutcome::Refused; writes.len()];
    let mut waiting: BTreeMap<ShardId, VecDeque<usize>> = BTreeMap::new();
    for (index, write) in writes.iter().enumerate() {
        waiting.entry(write.shard).or_default().push_back(index);
    }
    loop {
        let runs = next_runs(&writes, &mut waiting);
        if runs.is_empty() {
            return Ok(outcomes);
        }
        let won = write_runs(session, &writes, &runs).await?;
        for (shard, run) in runs {
            if won.contains_key(&shard) {
                for index in run.writes {
                    let seq = writes[index].seq + 1;
                    outcomes[index] = CoordinationOutcome::Committed { seq };
                }
                continue;
            }
            // The first is refused for good; each of the others may name the right `seq` all the same.
            if let Some(indices) = waiting.get_mut(&shard) {
                for index in run.writes.into_iter().skip(1).rev() {
                    indices.push_front(index);
                }
            }
        }
    }
}

async fn seq(session: &mut Session, shard: ShardId) -> Fallible<Option<u64>> {
    let one = "SELECT seq FROM shard_coordination WHERE shard = $1";
    let row = session.query_one(one, &[&shard_number(shard)]).await?;
    row.as_ref().map(|row| number(row, "seq")).transpose()
}

/// Locks the rows until the transaction ends: whoever asks after an unknown outcome must wait for the statement that is
/// still under way.
async fn coordination(
    session: &mut Session,
    shards: &[ShardId],
) -> Fallible<Vec<Option<Coordination>>> {
    let numbers: Vec<i32> = shards.iter().copied().map(shard_number).collect();
    let rows = session
        .query(
            "SELECT shard, epoch, incarnation, seq FROM shard_coordination
             WHERE shard = ANY ($1::int4[]) ORDER BY shard FOR NO KEY UPDATE",
            &[&numbers],
        )
        .await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let coordination = Coordination {
            epoch: epoch(row, "epoch")?,
            incarnation: optional_id(row, "incarnation")?.map(Incarnation),
            seq: number(row, "seq")?,
        };
        found.insert(shard(row, "shard")?, coordination);
    }
    Ok(shards
        .iter()
        .map(|shard| found.get(shard).copied())
        .collect())
}

async fn load(session: &mut Session, shard: ShardId) -> Fallible<ShardGroups> {
    let of = shard_number(shard);
    let seq = seq(session, shard).await?;
    let groups = session
        .query(
            "SELECT group_id, blob FROM groups WHERE shard = $1 ORDER BY group_id LIMIT $2",
            &[&of, &WHOLE],
        )
        .await?;
    let offsets = session
        .query(
            "SELECT group_id, topic_id, partition, committed_offset, leader_epoch, metadata, commit_ms, expire_ms
             FROM group_offsets WHERE shard = $1 ORDER BY group_id, topic_id, partition LIMIT $2",
            &[&of, &WHOLE],
        )
        .await?;
    Ok(ShardGroups {
        seq: seq.unwrap_or_default(),
        groups: whole(groups, "groups")?
            .iter()
            .map(group_row)
            .collect::<Fallible<_>>()?,
        offsets: whole(offsets, "group_offsets")?
            .iter()
            .map(offset_row)
            .collect::<Fallible<_>>()?,
    })
}

fn group_row(row: &Row) -> Fallible<GroupRow> {
    Ok(GroupRow {
        group: GroupId(free_text(row, "group_id")?.into()),
        blob: Bytes::from(column::<Vec<u8>>(row, "blob")?),
    })
}

fn offset_row(row: &Row) -> Fallible<OffsetRow> {
    Ok(OffsetRow {
        group: GroupId(free_text(row, "group_id")?.into()),
        topic: topic_id(row)?,
        partition: PartitionIndex(column(row, "partition")?),
        offset: column(row, "committed_offset")?,
        leader_epoch: epoch(row, "leader_epoch")?,
        metadata: free_text(row, "metadata")?,
        commit_ms: column(row, "commit_ms")?,
        expire_ms: column(row, "expire_ms")?,
    })
}

#[async_trait]
impl GroupShelf for PostgresStore {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        self.snapshot("load groups", move |session| load(session, shard).boxed())
            .await
    }

    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        self.read("read a coordination row", move |session| {
            seq(session, shard).boxed()
        })
        .await
    }

    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        let shards = shards.to_vec();
        self.write("read coordination rows", move |session| {
            async move { Ok(coordination(session, &shards).await?) }.boxed()
        })
        .await
        .map_err(settled)
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        self.one_statement("write groups", move |session| {
            write(session, writes).boxed()
        })
        .await
    }
}
