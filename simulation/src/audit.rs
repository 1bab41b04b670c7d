//! What is looked at beside the answers: bounds, shards that stopped, everything there is to read, and the shelves of the
//! database against the objects.

use std::sync::Arc;

use futures::FutureExt;
use streamhouse_log::format::checkpoint;
use streamhouse_log::format::manifest::Manifest;
use streamhouse_log::state::recorded::Recorded;
use streamhouse_metadata::store::{
    Lsn, ManifestRow, ManifestShelf, ObjectId, ObjectRow, ObjectShelf, ObjectState, ShardRow,
    ShardShelf,
};
use streamhouse_runtime::Clock;
use streamhouse_storage::objects::{self, ObjectKey, ObjectKind};

use crate::broker::Broker;
use crate::clients::consumer::{Consumer, Progress};
use crate::clients::member::is_let_go;
use crate::clients::{PARTITION_NUMBERS, Sky, partition};
use crate::database::Database;
use crate::host::Host;
use crate::invariant::{Invariant, Violation};
use crate::objects::Bucket;
use crate::world::World;

/// The largest batch that a client of the simulation sends.
const BATCH_BYTES_MAX: usize = 2_000;

/// I15: the WAL and the tails stay within their limits.
pub(crate) fn check_bounds(world: &World, broker: &Broker) {
    let usage = broker.log.wal_usage().unwrap_or_default();
    // One file for entries that are not runs and one for recovery may come on top.
    let cap = usage.cap_bytes + 2 * crate::broker::WAL_FILE_BYTES;
    if usage.bytes > cap || usage.entries > usage.entries_max {
        world.breach(Invariant::Bounded, format!("the WAL holds {usage:?}"));
    }
    let (tail, tail_max) = (broker.log.tail_bytes(), broker.tail_bytes_max());
    if tail > tail_max + BATCH_BYTES_MAX {
        let what = format!("the tails hold {tail} bytes, they may hold {tail_max}");
        world.breach(Invariant::Bounded, what);
    }
}

/// I15 with `shared` durability: what waits and the tails stay within their limits.
pub(crate) fn check_shared_bounds(world: &World, broker: &Broker) {
    if let Some((bytes, bytes_max)) = broker.log.staged_bytes().filter(|(is, max)| is > max) {
        let what = format!("{bytes} bytes are staged, there may be {bytes_max}");
        world.breach(Invariant::Bounded, what);
    }
    let (tail, tail_max) = (broker.log.tail_bytes(), broker.tail_bytes_max());
    if tail > tail_max + BATCH_BYTES_MAX {
        let what = format!("the tails hold {tail} bytes, they may hold {tail_max}");
        world.breach(Invariant::Bounded, what);
    }
}

/// No shard stops, whatever fails: only what is damaged or lost for good may do that.
pub(crate) fn check_shards(host: &Host, broker: &Broker, groups: usize) {
    let world = host.world();
    let stopped = broker.log.stopped_shards().into_iter();
    let mut stopped = stopped.filter(|(shard, reason)| !host.is_excused(*shard, reason));
    if let Some((shard, reason)) = stopped.next() {
        // What the WAL holds does not follow the database: it cannot be served any more.
        let invariant = if reason.contains("metadata_regression") {
            Invariant::Acknowledged
        } else {
            Invariant::Serves
        };
        world.breach(invariant, format!("shard {shard} stopped: {reason}"));
    }
    if let Some(group) = (0..groups).find(|group| is_let_go(broker, *group)) {
        let what = format!("group {group} was let go");
        world.breach(Invariant::Serves, what);
    }
}

/// Reads every partition from its beginning to its end.
pub(crate) async fn read_everything(sky: &Sky) {
    let mut auditor = Consumer::default();
    for number in 0..PARTITION_NUMBERS {
        let at = partition(u8::try_from(number).unwrap_or(0));
        loop {
            match auditor.fetch(sky, at, 64 * 1024).await {
                Progress::AtEnd => break,
                Progress::More => {}
                Progress::TryAgain => {
                    let pause = std::time::Duration::from_millis(20);
                    sky.world().clock.sleep(pause).await;
                }
            }
            if sky.world().first_breach().is_some() {
                return;
            }
        }
    }
}

pub(crate) fn key(id: ObjectId, kind: ObjectKind) -> String {
    let id = objects::ObjectId {
        incarnation: id.incarnation,
        seq: id.seq,
        attempt: id.attempt,
    };
    id.key(kind).to_string()
}

/// What a store in memory answers at once.
pub(crate) fn now<T, E: std::fmt::Debug>(read: impl Future<Output = Result<T, E>>) -> T {
    let answer = read.now_or_never().expect("memory does not wait");
    answer.expect("an open store in memory answers")
}

fn dangling(what: String) -> Violation {
    Violation::new(Invariant::NoDangling, what)
}

/// I4: what the database says is recorded can be had from the objects, and says the same as the checkpoints.
pub(crate) fn check_shelves(database: &Database, bucket: &Bucket) -> Result<(), Violation> {
    let rows = now(database.truth.objects(None, usize::MAX));
    for shard in now(database.truth.shards()) {
        let manifests = now(database.truth.manifests(shard.shard, Lsn(0), usize::MAX));
        let recorded = recorded(&shard, manifests, bucket)?;
        if recorded.next_lsn != shard.next_lsn {
            return Err(dangling(format!(
                "shard {} ends at manifest {}, its row says {}",
                shard.shard, recorded.next_lsn, shard.next_lsn
            )));
        }
        for object in recorded.locations.objects() {
            check_object(&shard, object, &rows)?;
        }
        for (at, runs) in recorded.locations.iter() {
            for run in runs {
                let name = key(run.object, ObjectKind::L0);
                let bytes = bucket.bytes(&name);
                let range = usize::try_from(run.first_byte).unwrap_or(usize::MAX)
                    ..usize::try_from(run.first_byte + run.bytes).unwrap_or(usize::MAX);
                let held = bytes.as_ref().and_then(|bytes| bytes.get(range));
                if held.is_none() {
                    return Err(dangling(format!(
                        "{at} has offsets {}.. in object {name}, which does not hold them",
                        run.base_offset
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Whether a key is that of a mark which a life left.
pub(crate) fn is_mark(key: &str) -> bool {
    key.starts_with("lives/")
}

/// Objects that no row names are leaks; only dead lives may leave them, for the next sweep of orphans to find.
pub(crate) fn check_leaks(
    database: &Database,
    bucket: &Bucket,
    brokers: &[Arc<Broker>],
) -> Result<(), Violation> {
    let rows = now(database.truth.objects(None, usize::MAX));
    let lives = brokers
        .iter()
        .filter_map(|broker| broker.membership.as_ref());
    let lives: Vec<u128> = lives.map(|membership| membership.incarnation.0).collect();
    // Marks of lives have no rows.
    for key in bucket.keys().into_iter().filter(|key| !is_mark(key)) {
        let Ok(parsed) = ObjectKey::parse(&key) else {
            return Err(dangling(format!("{key} is no object of a broker")));
        };
        let id = parsed.id();
        let is_known = rows.iter().any(|row| {
            (row.id.incarnation, row.id.seq, row.id.attempt) == (id.incarnation, id.seq, id.attempt)
        });
        if !is_known && lives.contains(&id.incarnation) {
            let what = format!("{key} was left by a broker that lives, and no row names it");
            return Err(Violation::new(Invariant::NoLeak, what));
        }
    }
    Ok(())
}

fn check_object(shard: &ShardRow, object: ObjectId, rows: &[ObjectRow]) -> Result<(), Violation> {
    let row = rows.iter().find(|row| row.id == object);
    let is_needed = row.is_some_and(|row| match &row.state {
        ObjectState::Live { shards } => shards.contains(&shard.shard),
        ObjectState::Tombstone { .. } | ObjectState::Deleted => false,
    });
    if is_needed {
        return Ok(());
    }
    Err(dangling(format!(
        "shard {} needs object {object}, its row says {row:?}",
        shard.shard
    )))
}

fn recorded(
    shard: &ShardRow,
    manifests: Vec<ManifestRow>,
    bucket: &Bucket,
) -> Result<Recorded, Violation> {
    let number = shard.shard;
    let mut state = match &shard.checkpoint {
        None => Recorded::default(),
        Some(pointer) => {
            let name = key(pointer.object, ObjectKind::Checkpoint);
            let bytes = bucket.bytes(&name).ok_or_else(|| {
                dangling(format!("the checkpoint of shard {number}, {name}, is gone"))
            })?;
            checkpoint::decode(number, bytes)
                .map_err(|error| dangling(format!("{name}: {error}")))?
        }
    };
    for row in manifests {
        if row.lsn < state.next_lsn {
            continue;
        }
        let manifest = Manifest::decode(row.body).map_err(|error| {
            dangling(format!("manifest {} of shard {number}: {error}", row.lsn))
        })?;
        state.apply(&manifest).map_err(|error| {
            Violation::new(Invariant::Contiguity, format!("shard {number}: {error}"))
        })?;
    }
    Ok(state)
}
