//! Checks of requests that every store makes in the same way, before it looks at what is stored.
//!
//! What fails here is a mistake of the caller's code, never of a Kafka client: the answer is [`StoreError::Bug`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::StoreError;
use super::manifests::{Commit, ManifestCommit, SetCheckpoint};
use super::shards::{AskedShard, GrantOutcome, GrantRequest, Incarnation, ShardId, ShardRow};
use super::topics::{AddPartitions, NewTopic};
use streamhouse_runtime::planted;

pub(crate) fn bug(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Bug {
        operation,
        reason: reason.into(),
    }
}

/// The manifests of a commit by shard, each with its index; those of one shard must follow each other.
pub(crate) fn by_shard(
    commit: &Commit,
) -> Result<BTreeMap<ShardId, Vec<&ManifestCommit>>, StoreError> {
    let mut shards: BTreeMap<ShardId, Vec<&ManifestCommit>> = BTreeMap::new();
    for manifest in &commit.manifests {
        let run = shards.entry(manifest.shard).or_default();
        if let Some(before) = run.last() {
            let follows = before.lsn.0.checked_add(1) == Some(manifest.lsn.0)
                && before.epoch == manifest.epoch
                && before.incarnation == manifest.incarnation;
            if !follows {
                return Err(bug(
                    "commit manifests",
                    format!(
                        "manifest {} of shard {} does not follow manifest {} of the same grant",
                        manifest.lsn, manifest.shard, before.lsn
                    ),
                ));
            }
        }
        run.push(manifest);
    }
    for manifests in shards.values() {
        check_cleared(manifests)?;
    }
    Ok(shards)
}

/// Only the end of what is committed may let the WAL folder go.
fn check_cleared(manifests: &[&ManifestCommit]) -> Result<(), StoreError> {
    let clears = |manifest: &&&ManifestCommit| manifest.clears_wal_dir;
    let Some(clearing) = manifests.iter().find(clears) else {
        return Ok(());
    };
    let is_last = manifests
        .last()
        .is_some_and(|last| last.lsn == clearing.lsn);
    if is_last && clearing.wal_end.is_some() {
        return Ok(());
    }
    Err(bug(
        "commit manifests",
        format!(
            "manifest {} of shard {} lets the WAL folder go before its end",
            clearing.lsn, clearing.shard
        ),
    ))
}

/// Whether the shard is led under this grant and waits for this manifest.
pub(crate) fn accepts(row: &ShardRow, manifest: &ManifestCommit) -> bool {
    let is_granted = row.epoch == manifest.epoch && row.incarnation == Some(manifest.incarnation);
    (is_granted || planted::bug("commit_without_fence")) && row.next_lsn == manifest.lsn
}

/// A checkpoint must lie between the one before and the end of the log, and may prune only what it covers.
pub(crate) fn check_checkpoint(row: &ShardRow, request: &SetCheckpoint) -> Result<(), StoreError> {
    let lsn = request.checkpoint.lsn;
    let reason = if lsn > row.next_lsn {
        format!(
            "checkpoint {lsn} of shard {} lies behind its next manifest {}",
            row.shard, row.next_lsn
        )
    } else if row.checkpoint.is_some_and(|before| before.lsn > lsn) {
        format!(
            "checkpoint {lsn} of shard {} lies before the one that is set",
            row.shard
        )
    } else if request.prune_below > lsn {
        format!(
            "checkpoint {lsn} of shard {} does not cover manifests up to {}",
            row.shard, request.prune_below
        )
    } else {
        return Ok(());
    };
    Err(bug("set a checkpoint", reason))
}

/// A topic has partitions, and each has a shard that exists.
pub(crate) fn check_topic(topic: &NewTopic, shards: u32) -> Result<(), StoreError> {
    check_partitions("create a topic", &topic.partitions, shards)
}

/// As [`check_topic`], for more partitions.
pub(crate) fn check_added(request: &AddPartitions, shards: u32) -> Result<(), StoreError> {
    check_partitions("add partitions", &request.shards, shards)
}

fn check_partitions(
    operation: &'static str,
    partitions: &[ShardId],
    shards: u32,
) -> Result<(), StoreError> {
    if partitions.is_empty() {
        return Err(bug(operation, "there is no partition in the request"));
    }
    match partitions.iter().find(|shard| shard.0 >= shards) {
        Some(shard) => Err(bug(
            operation,
            format!("the cluster has {shards} shards, there is no shard {shard}"),
        )),
        None => Ok(()),
    }
}

/// The range of `count` numbers from `next` on.
pub(crate) fn producer_id_block(next: i64, count: u32) -> Result<std::ops::Range<i64>, StoreError> {
    const OPERATION: &str = "allocate producer ids";
    if count == 0 {
        return Err(bug(OPERATION, "a block of no ids was asked for"));
    }
    next.checked_add(i64::from(count))
        .map(|end| next..end)
        .ok_or_else(|| bug(OPERATION, "all ids were given out"))
}

/// When a lease ends that begins now.
pub(crate) fn lease_end(now_ms: i64, lease: Duration) -> i64 {
    now_ms.saturating_add(lease_ms(lease))
}

/// A lease in milliseconds.
pub(crate) fn lease_ms(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

/// Why a shard may not be granted as asked; `held_until_ms` is there if the lease of its holder holds.
pub(crate) fn refuses_grant(
    row: &ShardRow,
    request: &GrantRequest,
    asked: &AskedShard,
    held_until_ms: Option<i64>,
) -> Option<GrantOutcome> {
    if let Some(expected) = asked.expecting
        && expected != (row.epoch, row.incarnation)
    {
        return Some(GrantOutcome::Changed {
            epoch: row.epoch,
            incarnation: row.incarnation,
        });
    }
    if let Some(wal_dir) = row.wal_dir {
        // The lock of the folder is held by whoever names it: the life before is over, whatever its lease says.
        let is_elsewhere = request.wal_dir != Some(wal_dir);
        return is_elsewhere.then_some(GrantOutcome::WalElsewhere { wal_dir });
    }
    match (row.incarnation, held_until_ms) {
        (Some(holder), Some(until_ms))
            if holder != request.by && !planted::bug("take_from_the_living") =>
        {
            Some(GrantOutcome::Held {
                by: holder,
                until_ms,
            })
        }
        _ => None,
    }
}

/// The life that a grant declares dead: the holder before, unless it keeps the shard or handed it over.
pub(crate) fn dies_by_grant(row: &ShardRow, request: &GrantRequest) -> Option<Incarnation> {
    row.incarnation
        .filter(|holder| *holder != request.incarnation && *holder != request.by)
}

/// The epoch after `epoch`.
pub(crate) fn next_epoch(
    row: &ShardRow,
) -> Result<streamhouse_protocol::ids::LeaderEpoch, StoreError> {
    row.epoch
        .0
        .checked_add(1)
        .map(streamhouse_protocol::ids::LeaderEpoch)
        .ok_or_else(|| {
            bug(
                "grant shards",
                format!("shard {} has used all its epochs", row.shard),
            )
        })
}

/// What every write of the cluster shelf and the topics shelf needs.
pub(crate) fn not_initialised(operation: &'static str) -> StoreError {
    bug(operation, "the cluster was not initialised")
}
