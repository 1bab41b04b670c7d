//! The shards shelf in PostgreSQL.
//!
//! A grant locks the rows of its shards by number, then their coordination rows by number, then the rows of the lives that
//! it concerns, decides in the order of the request, and writes all of it at once: as many statements for 4,096 shards as for one.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::FutureExt;
use tokio_postgres::Row;

use super::PostgresStore;
use super::brokers::{Lease, declare_dead, lock_leases};
use super::cluster::wake_others;
use super::columns::{
    DELETED, WHOLE, bits, column, durability, epoch, id_bytes, incarnation, limit, lsn, number,
    object_id_of, optional_id, shard, shard_number, timeline, whole,
};
use super::fault::{Failure, Fallible};
use super::session::Session;
use crate::store::laws::{dies_by_grant, next_epoch, refuses_grant};
use crate::store::{
    CheckpointRow, DELETED_SWEEP_MAX, GrantOutcome, GrantRequest, GrantRow, Incarnation, Lsn,
    ShardId, ShardRow, ShardShelf, StoreError, WalEnd,
};

macro_rules! shard_columns {
    () => {
        "shard, durability, epoch, incarnation, timeline, next_lsn, first_lsn, wal_dir_uuid, wal_since_epoch, wal_end_dir, \
         wal_end_position, checkpoint_object, checkpoint_lsn, checkpoint_bytes, checkpoint_hash"
    };
}

pub(super) fn shard_row(row: &Row) -> Fallible<ShardRow> {
    let wal_end = match optional_id(row, "wal_end_dir")? {
        Some(dir) => Some(WalEnd {
            dir,
            position: number(row, "wal_end_position")?,
        }),
        None => None,
    };
    let checkpoint = match column::<Option<&[u8]>>(row, "checkpoint_object")? {
        Some(object) => Some(CheckpointRow {
            object: object_id_of(object, "checkpoint_object")?,
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
        timeline: timeline(row)?,
        next_lsn: lsn(row, "next_lsn")?,
        first_lsn: lsn(row, "first_lsn")?,
        wal_dir: optional_id(row, "wal_dir_uuid")?,
        wal_since_epoch: epoch(row, "wal_since_epoch")?,
        wal_end,
        checkpoint,
    })
}

pub(super) async fn all_shards(session: &mut Session) -> Fallible<Vec<ShardRow>> {
    let all = concat!(
        "SELECT ",
        shard_columns!(),
        " FROM shards ORDER BY shard LIMIT $1"
    );
    let rows = whole(session.query(all, &[&WHOLE]).await?, "shards")?;
    rows.iter().map(shard_row).collect()
}

async fn one_shard(session: &mut Session, shard: ShardId) -> Fallible<Option<ShardRow>> {
    let one = concat!("SELECT ", shard_columns!(), " FROM shards WHERE shard = $1");
    let row = session.query_one(one, &[&shard_number(shard)]).await?;
    row.as_ref().map(shard_row).transpose()
}

/// Reads one shard and locks it until the transaction ends.
pub(super) async fn lock_shard(
    session: &mut Session,
    shard: ShardId,
) -> Fallible<Option<ShardRow>> {
    let one = concat!(
        "SELECT ",
        shard_columns!(),
        " FROM shards WHERE shard = $1 FOR NO KEY UPDATE"
    );
    let row = session.query_one(one, &[&shard_number(shard)]).await?;
    row.as_ref().map(shard_row).transpose()
}

/// Reads the shards in the order of their numbers and locks them until the transaction ends.
pub(super) async fn lock_shards(
    session: &mut Session,
    shards: &[i32],
) -> Fallible<BTreeMap<ShardId, ShardRow>> {
    let many = concat!(
        "SELECT ",
        shard_columns!(),
        " FROM shards WHERE shard = ANY ($1::int4[]) ORDER BY shard FOR NO KEY UPDATE"
    );
    let rows = session.query(many, &[&shards]).await?;
    rows.iter()
        .map(|row| {
            let row = shard_row(row)?;
            Ok((row.shard, row))
        })
        .collect()
}

/// Locks the coordination rows of shards in the order of their numbers, and reads their `seq`.
async fn lock_coordination(
    session: &mut Session,
    shards: &[i32],
) -> Fallible<BTreeMap<ShardId, u64>> {
    let rows = session
        .query(
            "SELECT shard, seq FROM shard_coordination WHERE shard = ANY ($1::int4[]) ORDER BY shard FOR NO KEY UPDATE",
            &[&shards],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((shard(row, "shard")?, number(row, "seq")?)))
        .collect()
}

/// What a request changes, decided one shard after another.
#[derive(Debug, Default)]
struct Decided {
    outcomes: Vec<GrantOutcome>,
    /// In the order in which they were made; a shard that is named twice is granted twice.
    granted: Vec<ShardRow>,
    /// The holders before that are over for good.
    dead: BTreeSet<Incarnation>,
}

fn decide(
    request: &GrantRequest,
    mut rows: BTreeMap<ShardId, ShardRow>,
    mut leases: BTreeMap<Incarnation, Lease>,
    timeline: u32,
) -> Result<Decided, StoreError> {
    let mut decided = Decided::default();
    let is_dead = |life: &&Incarnation| leases.get(*life).is_some_and(Lease::is_dead);
    if let Some(dead) = [request.by, request.incarnation].iter().find(is_dead) {
        let refusal = GrantOutcome::Dead { incarnation: *dead };
        decided.outcomes = vec![refusal; request.shards.len()];
        return Ok(decided);
    }
    for asked in &request.shards {
        let Some(row) = rows.get_mut(&asked.shard) else {
            decided.outcomes.push(GrantOutcome::UnknownShard);
            continue;
        };
        let lease = row.incarnation.and_then(|holder| leases.get(&holder));
        let held = lease.and_then(Lease::held_until);
        if let Some(refusal) = refuses_grant(row, request, asked, held) {
            decided.outcomes.push(refusal);
            continue;
        }
        if let Some(life) = dies_by_grant(row, request) {
            decided.dead.insert(life);
            if let Some(lease) = leases.get_mut(&life) {
                lease.declare_dead();
            }
        }
        let same_tenure = row.wal_dir.is_some() && request.wal_dir.is_some();
        row.epoch = next_epoch(row)?;
        row.incarnation = Some(request.incarnation);
        row.timeline = timeline;
        row.wal_dir = request.wal_dir;
        if !same_tenure {
            row.wal_since_epoch = row.epoch;
        }
        decided.outcomes.push(GrantOutcome::Granted(*row));
        decided.granted.push(*row);
    }
    Ok(decided)
}

async fn grant(
    session: &mut Session,
    request: GrantRequest,
) -> Result<Vec<GrantOutcome>, Failure<StoreError>> {
    let asked = request.shards.iter();
    let numbers: Vec<i32> = asked.map(|asked| shard_number(asked.shard)).collect();
    let rows = lock_shards(session, &numbers).await?;
    let seqs = lock_coordination(session, &numbers).await?;
    let holders = rows.values().filter_map(|row| row.incarnation);
    let lives: BTreeSet<Incarnation> = holders.chain([request.by, request.incarnation]).collect();
    let leases = lock_leases(session, &lives_bytes(&lives)).await?;
    let decided = decide(&request, rows, leases, session.timeline())?;
    write_grants(session, &request, &decided.granted, &seqs).await?;
    declare_dead(session, &lives_bytes(&decided.dead)).await?;
    sweep_deleted(session).await?;
    wake_others(session).await?;
    Ok(decided.outcomes)
}

fn lives_bytes(lives: &BTreeSet<Incarnation>) -> Vec<Vec<u8>> {
    lives.iter().map(|life| id_bytes(life.0)).collect()
}

async fn write_grants(
    session: &mut Session,
    request: &GrantRequest,
    granted: &[ShardRow],
    seqs: &BTreeMap<ShardId, u64>,
) -> Fallible<()> {
    if granted.is_empty() {
        return Ok(());
    }
    let incarnation = id_bytes(request.incarnation.0);
    let timeline = i64::from(session.timeline());
    let last: BTreeMap<ShardId, &ShardRow> = granted.iter().map(|row| (row.shard, row)).collect();
    let shards: Vec<i32> = last.keys().copied().map(shard_number).collect();
    let epochs: Vec<i32> = last.values().map(|row| row.epoch.0).collect();
    let since: Vec<i32> = last.values().map(|row| row.wal_since_epoch.0).collect();
    session
        .execute(
            "UPDATE shards s SET epoch = g.epoch, wal_since_epoch = g.since, incarnation = $4, timeline = $5,
                 wal_dir_uuid = $6
             FROM unnest($1::int4[], $2::int4[], $3::int4[]) AS g (shard, epoch, since) WHERE s.shard = g.shard",
            &[&shards, &epochs, &since, &incarnation, &timeline, &request.wal_dir.map(id_bytes)],
        )
        .await?;
    session
        .execute(
            "UPDATE shard_coordination c SET epoch = g.epoch, incarnation = $3
             FROM unnest($1::int4[], $2::int4[]) AS g (shard, epoch) WHERE c.shard = g.shard",
            &[&shards, &epochs, &incarnation],
        )
        .await?;
    let shards: Vec<i32> = granted.iter().map(|row| shard_number(row.shard)).collect();
    let epochs: Vec<i32> = granted.iter().map(|row| row.epoch.0).collect();
    let at_lsns = signed(granted.iter().map(|row| row.next_lsn.0))?;
    let seq = |row: &ShardRow| seqs.get(&row.shard).copied().unwrap_or_default();
    let at_seqs = signed(granted.iter().map(seq))?;
    session
        .execute(
            "INSERT INTO grants (shard, epoch, incarnation, at_lsn, at_seq, timeline)
             SELECT g.shard, g.epoch, $5::bytea, g.at_lsn, g.at_seq, $6::int8
             FROM unnest($1::int4[], $2::int4[], $3::int8[], $4::int8[]) AS g (shard, epoch, at_lsn, at_seq)",
            &[&shards, &epochs, &at_lsns, &at_seqs, &incarnation, &timeline],
        )
        .await?;
    Ok(())
}

fn signed(numbers: impl Iterator<Item = u64>) -> Fallible<Vec<i64>> {
    numbers.map(super::columns::integer).collect()
}

/// Rows of objects whose bytes are gone stay only while a late commit of their writer could pass a fence. Rows that
/// somebody else has locked are left to the next grant.
async fn sweep_deleted(session: &mut Session) -> Fallible<()> {
    session
        .execute(
            "DELETE FROM objects WHERE object_id IN (
                 SELECT o.object_id FROM objects o WHERE o.state = $1 AND NOT EXISTS
                     (SELECT FROM shards s WHERE s.incarnation = substr(o.object_id, 1, 16))
                 ORDER BY o.object_id LIMIT $2 FOR UPDATE SKIP LOCKED)",
            &[&DELETED, &limit(DELETED_SWEEP_MAX)],
        )
        .await?;
    Ok(())
}

async fn grants(session: &mut Session, of: ShardId) -> Fallible<Vec<GrantRow>> {
    let rows = session
        .query(
            "SELECT shard, epoch, incarnation, at_lsn, at_seq, timeline FROM grants
             WHERE shard = $1 ORDER BY epoch LIMIT $2",
            &[&shard_number(of), &WHOLE],
        )
        .await?;
    whole(rows, "grants")?
        .iter()
        .map(|row| {
            Ok(GrantRow {
                shard: shard(row, "shard")?,
                epoch: epoch(row, "epoch")?,
                incarnation: incarnation(row, "incarnation")?,
                at_lsn: Lsn(number(row, "at_lsn")?),
                at_seq: number(row, "at_seq")?,
                timeline: timeline(row)?,
            })
        })
        .collect()
}

#[async_trait]
impl ShardShelf for PostgresStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.read("read the shards", |session| all_shards(session).boxed())
            .await
    }

    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        self.read("read a shard", move |session| {
            one_shard(session, shard).boxed()
        })
        .await
    }

    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        self.write("grant shards", move |session| {
            grant(session, request).boxed()
        })
        .await
    }

    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        self.read("read grants", move |session| grants(session, shard).boxed())
            .await
    }
}
