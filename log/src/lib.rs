//! Kafka partitions over a WAL, objects and a metadata store.
//!
//! A *shard* is a fixed slice of the cluster: the unit of leadership, fencing and recovery. Its log is a sequence of
//! *manifests*, and its state a pure function of them. A [`Log`] is all shards that one broker leads.
//!
//! The walk of a batch: [`append::validate`] → [`append::stage`] → the WAL → [`append::publish`] → [`mod@flush`] (object,
//! manifest, WAL recycled). The walk of a read: [`read::plan`] → [`read::locate`] → [`read::gather`].
//!
//! What this crate must never know: Kafka's error codes and versions, topic names, sockets, SQL.

pub mod append;
pub mod checkpoints;
pub mod flush;
pub mod format;
pub mod garbage;
mod journal;
pub mod leading;
pub mod open;
pub mod read;
pub mod recovery;
pub mod repair;
pub mod retention;
pub mod shard;
pub mod state;
mod tail;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_metadata::store::{Incarnation, MetadataStore, ShardId};
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_runtime::Ambient;
use streamhouse_storage::cache::BlockCache;
use streamhouse_storage::objects::Objects;
use streamhouse_storage::wal::{Wal, WalUsage};
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use append::producers::ProducerBounds;
use append::validate::Prepared;
use append::{Acks, AppendError, Staged};
use flush::commit::InDoubt;
use flush::shared::SharedFlush;
use garbage::Abandoned;
use journal::Journal;
use read::waiters::Waiter;
use read::{PartitionAddress, ReadError};
use recovery::lives::Lives;
use shard::unrecorded::FlushWindow;
use shard::{Shard, Standing};
use streamhouse_runtime::planted;
use tail::TailBudget;

/// How the log behaves. Every field has a bound that the settings crate checks.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Bytes of the hot tails of all partitions together.
    pub tail_bytes: usize,
    /// Unrecorded bytes in the WAL that start a flush.
    pub flush_bytes: u64,
    /// The longest time between flushes while there is something to flush.
    pub flush_interval: Duration,
    /// Manifests of a shard after which its state is written to a checkpoint.
    pub checkpoint_manifests: u64,
    /// Bytes of manifest bodies after which it is.
    pub checkpoint_bytes: u64,
    /// How long the bytes of an object that nobody needs are kept.
    pub object_grace: Duration,
}

impl Default for LogSettings {
    /// The embedded defaults.
    fn default() -> Self {
        Self {
            tail_bytes: 48 << 20,
            flush_bytes: 64 << 20,
            flush_interval: Duration::from_secs(600),
            checkpoint_manifests: 1000,
            checkpoint_bytes: 64 << 20,
            object_grace: Duration::from_secs(300),
        }
    }
}

/// All shards that this broker leads. Clones are handles to the same log.
#[derive(Clone, Debug)]
pub struct Log {
    core: Arc<Core>,
}

impl Deref for Log {
    type Target = Core;
    fn deref(&self) -> &Core {
        &self.core
    }
}

/// What the handles of a log share.
#[derive(Debug)]
pub struct Core {
    shards: Vec<Shard>,
    /// Told when a shard stops.
    pub(crate) shard_stopped: Arc<Notify>,
    dirty: DirtyShards,
    /// Shards in which somebody waits for the mere write (acks=1).
    written_due: DirtyShards,
    pub(crate) producer_bounds: Mutex<ProducerBounds>,
    /// What a flush takes at most, and as much as starts one.
    pub(crate) flush_window: FlushWindow,
    /// Everything in the WAL below this was published.
    pub(crate) published: AtomicU64,
    /// Everything in the WAL below this was taken by a flush, and how many entries came behind it.
    pub(crate) flushed: AtomicU64,
    pub(crate) unflushed_entries: AtomicU64,
    /// The commit whose outcome is not known yet. Changes only under `flush_lock`.
    pub(crate) in_doubt: Mutex<Option<Arc<InDoubt>>>,
    pub(crate) tail: TailBudget,
    pub(crate) flush_due: Notify,
    /// Held by the one flush that runs. Taken before any shard's lock.
    pub(crate) flush_lock: tokio::sync::Mutex<()>,
    pub(crate) settings: LogSettings,
    pub(crate) ambient: Ambient,
    pub(crate) cluster: u128,
    pub(crate) incarnation: Incarnation,
    /// The WAL's folder, with `local` durability.
    pub(crate) wal_dir: Option<u128>,
    pub(crate) journal: Journal,
    /// Flushing with `shared` durability.
    pub(crate) shared: Option<SharedFlush>,
    objects: Objects,
    cache: BlockCache,
    store: Arc<dyn MetadataStore>,
    object_seq: AtomicU64,
    /// What is to be given up and could not be yet.
    abandoned: Abandoned,
    /// Told when a shard was taken that somebody may have led before.
    orphans_due: Notify,
    /// What the object store says of the lives of brokers.
    lives: Lives,
}

/// The shards that have something staged: one bit each.
#[derive(Debug)]
struct DirtyShards {
    words: Vec<AtomicU64>,
}

impl DirtyShards {
    fn new(shards: usize) -> Self {
        Self {
            words: (0..shards.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    fn mark(&self, shard: usize) {
        self.words[shard / 64].fetch_or(1 << (shard % 64), Ordering::AcqRel);
    }

    /// Takes all marks.
    fn take(&self) -> Vec<usize> {
        let mut marked = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                marked.push(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        marked
    }
}

impl Log {
    /// Gives a checked batch its place in the log and queues it for the WAL. Never waits.
    ///
    /// # Errors
    /// See [`AppendError`]: nothing of the batch happened.
    pub fn stage(
        &self,
        address: PartitionAddress,
        batch: Prepared,
        acks: Acks,
    ) -> Result<Staged, AppendError> {
        match self.shard(address.shard) {
            Ok(shard) => {
                let staged = self.stage_batch(shard, address.at, batch, acks);
                if planted::bug("refused_after_append") && acks == Acks::Leader {
                    return Err(AppendError::Full);
                }
                staged
            }
            Err(_) => Err(AppendError::NotLeader),
        }
    }

    /// Registers a parked fetch at a partition. It hears of batches that are published from now on.
    ///
    /// # Errors
    /// If the topic was deleted or the shard has stopped.
    pub fn park(&self, address: PartitionAddress, waiter: &Arc<Waiter>) -> Result<(), ReadError> {
        let mut inner = self.shard(address.shard)?.lock();
        inner.readable(address.at)?;
        inner.partition_mut(address.at).park(waiter);
        Ok(())
    }

    /// How many shards the cluster has.
    #[must_use]
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(u32::MAX)
    }

    /// This life of the broker.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The grant under which this broker leads a shard, for writers of its coordination rows.
    ///
    /// # Errors
    /// If there is no such shard, or this broker does not lead it.
    pub fn grant(
        &self,
        shard: ShardId,
    ) -> Result<(streamhouse_protocol::ids::LeaderEpoch, Incarnation), ReadError> {
        let inner = self.shard(shard)?.lock();
        if inner.standing == Standing::Elsewhere {
            return Err(ReadError::NotLeader);
        }
        Ok((inner.epoch, inner.incarnation))
    }

    /// Bounds the producers that are remembered, from the next new one on.
    pub fn bound_producers(&self, bounds: ProducerBounds) {
        *self.producer_bounds.lock() = bounds;
    }

    /// How full the WAL is; none with `shared` durability.
    #[must_use]
    pub fn wal_usage(&self) -> Option<WalUsage> {
        self.journal.wal().map(Wal::usage)
    }

    /// Bytes that are staged in memory and not recorded, and how many may be; none with `local` durability.
    #[must_use]
    pub fn staged_bytes(&self) -> Option<(u64, u64)> {
        let staging = self.journal.staging()?;
        Some((staging.bytes(), staging.bytes_max()))
    }

    /// Bytes of all hot tails.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.tail.bytes()
    }

    /// Partitions that hold something.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().live.partitions.len())
            .sum()
    }

    /// Shards that do not serve, and why.
    #[must_use]
    pub fn stopped_shards(&self) -> Vec<(ShardId, String)> {
        let stopped = self
            .shards
            .iter()
            .filter_map(|shard| Some((shard.id, shard.lock().stopped.clone()?)));
        stopped.collect()
    }

    /// Flushes what is queued into the WAL and closes it. Unrecorded entries are replayed on the next start.
    pub fn close(&self) {
        if let Some(wal) = self.journal.wal() {
            wal.close();
        }
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<&Shard, ReadError> {
        let found = self.shards.get(id.0 as usize);
        found.ok_or(ReadError::NotLeader)
    }

    pub(crate) fn shard_of(&self, id: ShardId) -> &Shard {
        &self.shards[id.0 as usize]
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(crate) fn mark_dirty(&self, shard: ShardId) {
        self.dirty.mark(shard.0 as usize);
    }

    pub(crate) fn mark_written_due(&self, shard: ShardId) {
        self.written_due.mark(shard.0 as usize);
    }

    pub(crate) fn written_due(&self) -> impl Iterator<Item = &Shard> {
        let marked = self.written_due.take().into_iter();
        marked.map(|index| &self.shards[index])
    }

    pub(crate) fn dirty_shards(&self) -> impl Iterator<Item = &Shard> {
        self.dirty
            .take()
            .into_iter()
            .map(|index| &self.shards[index])
    }

    pub(crate) fn forget_tail(&self, shard: ShardId, at: TopicPartition, base_offset: i64) {
        let mut inner = self.shard_of(shard).lock();
        if let Some(partition) = inner.partitions.get_mut(&at)
            && partition
                .tail
                .front()
                .is_some_and(|batch| batch.base_offset <= base_offset)
        {
            partition.tail.pop_front();
        }
    }

    pub(crate) fn next_object_seq(&self) -> u64 {
        self.object_seq.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.ambient.clock.wall_ms()
    }

    pub(crate) fn wal(&self) -> Option<&Wal> {
        self.journal.wal()
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn cache(&self) -> &BlockCache {
        &self.cache
    }

    pub(crate) fn store(&self) -> &dyn MetadataStore {
        &*self.store
    }
}

/// The shard that a new partition is stored with: partitions of a topic lie on neighbouring shards.
#[must_use]
pub fn shard_for_partition(at: TopicPartition, shards: u32) -> ShardId {
    let hash = xxh3_64(&at.topic.0.to_be_bytes());
    let place =
        hash.wrapping_add(u64::from(at.partition.0.unsigned_abs())) % u64::from(shards.max(1));
    ShardId(u32::try_from(place).expect("the remainder is below a u32"))
}
