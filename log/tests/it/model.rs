//! What clients know: the model that every recovered log is held against.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::StreamExt;
use streamhouse_log::format::checkpoint;
use streamhouse_log::format::manifest::Manifest;
use streamhouse_log::state::recorded::Recorded;
use streamhouse_metadata::store::{
    Lsn, ManifestShelf, ObjectId, ObjectShelf, ObjectState, ShardShelf,
};
use streamhouse_storage::objects::{self, ObjectClass, ObjectKind};

use crate::world::{World, address};

/// A batch that was handed to the log.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) values: Vec<String>,
    pub(crate) batch: Bytes,
    /// The answer, if there was one.
    pub(crate) base_offset: Option<i64>,
}

/// An idempotent producer of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    pub(crate) next_sequence: i32,
    /// Its last batches that must be known, oldest first; the last one may be without an answer.
    pub(crate) sent: Vec<Sent>,
}

/// What is known of a partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Records that were acknowledged or seen, by offset.
    pub(crate) bound: BTreeMap<i64, String>,
    /// Every value that was ever handed over.
    pub(crate) sent: BTreeSet<String>,
    pub(crate) log_start: i64,
    /// The largest trim that was asked for.
    pub(crate) trim_asked: i64,
    pub(crate) producers: BTreeMap<i64, Producer>,
}

/// All that clients know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) partitions: BTreeMap<i32, Partition>,
    pub(crate) values: u64,
}

impl Partition {
    pub(crate) fn acknowledged(
        &mut self,
        base_offset: i64,
        values: &[String],
    ) -> Result<(), String> {
        for (offset, value) in (base_offset..).zip(values) {
            self.bind(offset, value)?;
        }
        Ok(())
    }

    fn bind(&mut self, offset: i64, value: &str) -> Result<(), String> {
        match self.bound.insert(offset, value.to_owned()) {
            Some(before) if before != value => {
                Err(format!("offset {offset} was {before} and is {value} now"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Holds what was read against what is known.
    fn judge(
        &mut self,
        log_start: i64,
        high_watermark: i64,
        read: &[(i64, String)],
    ) -> Result<(), String> {
        if log_start < self.log_start {
            return Err(format!(
                "the log start went back from {} to {log_start}",
                self.log_start
            ));
        }
        if log_start > self.trim_asked.max(self.log_start) {
            return Err(format!(
                "the log start is {log_start}, nobody asked for more than {}",
                self.trim_asked
            ));
        }
        if let Some((last, value)) = self.bound.last_key_value()
            && *last >= high_watermark
        {
            return Err(format!(
                "{value} at {last} is lost: the high watermark is {high_watermark}"
            ));
        }
        let expected: Vec<i64> = (log_start..high_watermark).collect();
        let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
        if offsets != expected {
            return Err(format!(
                "offsets {offsets:?} instead of {log_start}..{high_watermark}"
            ));
        }
        let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
        let below = self.bound.iter().filter(|(offset, _)| **offset < log_start);
        for (offset, value) in below
            .map(|(offset, value)| (*offset, value))
            .chain(read.iter().map(|(o, v)| (*o, v)))
        {
            if let Some(first) = seen.insert(value, offset) {
                return Err(format!("{value} is at {first} and at {offset}"));
            }
            if !self.sent.contains(value) {
                return Err(format!("{value} at {offset} was never sent or was refused"));
            }
        }
        self.log_start = log_start;
        for (offset, value) in read {
            self.bind(*offset, value)?;
        }
        Ok(())
    }
}

impl Model {
    /// New values for a batch.
    pub(crate) fn values(&mut self, count: u64) -> Vec<String> {
        let from = self.values;
        self.values += count;
        (from..self.values)
            .map(|number| format!("v{number}"))
            .collect()
    }

    /// Reads everything and judges it.
    pub(crate) async fn judge(&mut self, world: &World) -> Result<(), String> {
        let stopped = world.log().stopped_shards();
        if !stopped.is_empty() {
            return Err(format!("shards stopped: {stopped:?}"));
        }
        for (index, partition) in &mut self.partitions {
            let offsets = world
                .log()
                .offsets(address(*index))
                .map_err(|error| error.to_string())?;
            let read = world.values(*index, offsets.log_start).await;
            let judged = partition.judge(offsets.log_start, offsets.high_watermark, &read);
            judged.map_err(|error| format!("partition {index}: {error}"))?;
        }
        Ok(())
    }
}

/// The recorded state from scratch, and from the checkpoint; and whether every object that a run needs is there.
pub(crate) async fn check_shelves(world: &World) -> Result<(), String> {
    for row in world.store.inner.shards().await.unwrap() {
        let rows = world
            .store
            .inner
            .manifests(row.shard, Lsn(0), usize::MAX)
            .await
            .unwrap();
        let manifests: Vec<Manifest> = rows
            .into_iter()
            .map(|row| Manifest::decode(row.body).unwrap())
            .collect();
        let from = |mut state: Recorded| {
            for manifest in manifests
                .iter()
                .filter(|manifest| manifest.lsn >= state.next_lsn)
                .cloned()
                .collect::<Vec<_>>()
            {
                state.apply(&manifest).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(state)
        };
        let recorded = match row.checkpoint {
            None => from(Recorded::default())?,
            Some(pointer) => {
                let key = key(pointer.object, ObjectKind::Checkpoint);
                let bytes = world
                    .truth
                    .get_range(&key, 0..pointer.bytes, ObjectClass::Checkpoint)
                    .await;
                let bytes = bytes.map_err(|error| format!("the checkpoint is gone: {error}"))?;
                let recorded = from(checkpoint::decode(row.shard, bytes).unwrap())?;
                if row.first_lsn == Lsn(0) && from(Recorded::default())? != recorded {
                    return Err(format!(
                        "shard {}: the checkpoint is not what its manifests say",
                        row.shard
                    ));
                }
                recorded
            }
        };
        if recorded.next_lsn != row.next_lsn {
            return Err(format!(
                "shard {} ends at {}, not at {}",
                row.shard, recorded.next_lsn, row.next_lsn
            ));
        }
        for object in recorded.locations.objects() {
            let needed = world.store.inner.objects(None, usize::MAX).await.unwrap().into_iter().any(|known| {
                known.id == object
                    && matches!(known.state, ObjectState::Live { shards } if shards.contains(&row.shard))
            });
            if !needed {
                return Err(format!(
                    "shard {} needs object {object}, its row does not say so",
                    row.shard
                ));
            }
            let size = world
                .truth
                .size(&key(object, ObjectKind::L0), ObjectClass::Garbage)
                .await;
            size.map_err(|error| format!("shard {} needs an object: {error}", row.shard))?;
        }
    }
    Ok(())
}

/// When every grace has passed, the object store holds what shards need and nothing else.
pub(crate) async fn check_nothing_leaks(world: &World) -> Result<(), String> {
    let failed = |error: String| format!("a sweep failed: {error}");
    let orphans = world.log().sweep_orphans().await;
    orphans.map_err(|error| failed(error.to_string()))?;
    for _ in 0..2 {
        let swept = world.log().sweep().await;
        swept.map_err(|error| failed(error.to_string()))?;
        let grace = world.settings.object_grace + std::time::Duration::from_secs(1);
        world.clock.advance(grace);
    }
    let swept = world.log().sweep().await;
    swept.map_err(|error| failed(error.to_string()))?;
    let rows = world.store.inner.objects(None, usize::MAX).await.unwrap();
    let needed: BTreeSet<_> = rows
        .into_iter()
        .filter(|row| matches!(&row.state, ObjectState::Live { shards } if !shards.is_empty()))
        .filter_map(|row| row.key)
        .collect();
    let stored: Vec<_> = world
        .truth
        .list(None, ObjectClass::Garbage)
        .collect::<Vec<_>>()
        .await;
    let stored: BTreeSet<String> = stored
        .into_iter()
        .map(|object| object.unwrap().key.to_string())
        .collect();
    if stored == needed {
        Ok(())
    } else {
        Err(format!("stored are {stored:?}, needed {needed:?}"))
    }
}

fn key(id: ObjectId, kind: ObjectKind) -> objects::ObjectKey {
    let id = objects::ObjectId {
        incarnation: id.incarnation,
        seq: id.seq,
        attempt: id.attempt,
    };
    id.key(kind)
}
