//! One life of the simulated broker: the real log, the real groups, and what the broker's front does with them, without
//! the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::group::GroupSettings;
use streamhouse_coordinator::service::{Grant, LoadError, Shelves};
use streamhouse_log::append::validate::{AppendRules, Prepared};
use streamhouse_log::append::{Acks, AppendError, Staged};
use streamhouse_log::flush::shared::SharedSettings;
use streamhouse_log::open::{LogParts, OpenError};
use streamhouse_log::read::gather::Fetched;
use streamhouse_log::read::waiters::Waiter;
use streamhouse_log::read::{Isolation, Offsets, PartitionAddress, ReadError};
use streamhouse_log::recovery::RecoverError;
use streamhouse_log::recovery::loss::{AcceptLossError, AcceptedLoss};
use streamhouse_log::retention::Retention;
use streamhouse_log::{Log, LogSettings, shard_for_partition};
use streamhouse_metadata::store::{Incarnation, MetadataStore, ShardId, TopicShelf};
use streamhouse_protocol::ids::{TopicId, TopicPartition};
use streamhouse_runtime::{Chance, Clock, deadline};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::wal::crash::{CrashIo, CrashStyle};
use streamhouse_storage::wal::{WalIo, WalOpenError, WalSettings};

use crate::cluster::membership::Membership;
use crate::database::{Database, LifeStore};
use crate::disk::SiteDisk;
use crate::objects::Bucket;
use crate::world::{Life, World};

/// How many shards the cluster has.
pub(crate) const SHARDS: u32 = 3;
pub(crate) const CLUSTER: u128 = 0xc1;
const WAL_DIR: u128 = 0xd1;
/// Small files, so that the log often goes on in another one.
pub(crate) const WAL_FILE_BYTES: u64 = 24 * 1024;
const WAL_FILES: u64 = 10;

/// What outlives every life of the broker, and how it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) database: Database,
    pub(crate) bucket: Bucket,
    pub(crate) setup: Setup,
}

/// How the broker of a world is set up; drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) log: LogSettings,
    pub(crate) cache_bytes: u64,
    /// The topic that is trimmed by retention.
    pub(crate) retained: TopicId,
    pub(crate) retention_bytes: u64,
    /// How a broker of several flushes.
    pub(crate) shared: SharedSettings,
}

impl Setup {
    pub(crate) fn drawn(chance: &dyn Chance, retained: TopicId) -> Self {
        let tails = [0, 600, 4_000, 1 << 20];
        let tail_bytes = tails[usize::try_from(chance.below(4)).unwrap_or(0)];
        Self {
            log: LogSettings {
                tail_bytes,
                flush_bytes: 4_096 << chance.below(5),
                flush_interval: Duration::from_millis(20 + chance.below(300)),
                checkpoint_manifests: 1 + chance.below(12),
                checkpoint_bytes: 64 << 20,
                object_grace: Duration::from_millis(50 << chance.below(8)),
            },
            cache_bytes: (256 * 1024) << chance.below(5),
            retained,
            retention_bytes: 500 + chance.below(8_000),
            shared: SharedSettings {
                staging_bytes: (8 * 1024) << chance.below(6),
                uploads: 1 + usize::try_from(chance.below(3)).unwrap_or(0),
                // Without early flushes one flush is of several shards.
                early_uploads_per_second: [0.0, 0.0, 4.0, 400.0]
                    [usize::try_from(chance.below(4)).unwrap_or(0)],
                early_uploads_burst: [1.0, 20.0][usize::try_from(chance.below(2)).unwrap_or(0)],
                early_upload_bytes: 4_096 << chance.below(12),
                hedged_share: [0.0, 0.05, 0.5][usize::try_from(chance.below(3)).unwrap_or(0)],
            },
        }
    }
}

/// A broker that serves.
pub(crate) struct Broker {
    pub(crate) life: Arc<Life>,
    pub(crate) log: Log,
    pub(crate) groups: Groups,
    pub(crate) store: LifeStore,
    pub(crate) world: World,
    pub(crate) setup: Setup,
    /// Topics that requests may name.
    pub(crate) topics: Mutex<BTreeSet<TopicId>>,
    /// Its place among others; none if it is alone.
    pub(crate) membership: Option<Arc<Membership>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({:?})", self.life.process)
    }
}

/// Why a broker did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It may start next time.
    Transient(String),
    /// It refuses to, for good: what it finds is not what it left.
    Regression(String),
    /// It refuses to, because the database is older than the data folder.
    OlderDatabase(String),
    /// It refuses to, because the WAL is damaged.
    Damaged(String),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        match error {
            OpenError::Recover(
                RecoverError::Store(_) | RecoverError::CheckpointUnavailable { .. },
            )
            | OpenError::Wal(WalOpenError::Io { .. })
            | OpenError::Thread(_) => Self::Transient(text),
            OpenError::Recover(RecoverError::OlderDatabase(_)) => Self::OlderDatabase(text),
            OpenError::Wal(WalOpenError::Corrupt { .. }) => Self::Damaged(text),
            OpenError::Recover(_) | OpenError::Wal(_) => Self::Regression(text),
        }
    }
}

/// Why a loss was not accepted.
#[derive(Debug)]
pub(crate) enum AcceptError {
    /// There is no such loss.
    NotAccepted,
    /// The WAL is damaged.
    Damaged(String),
    /// It may be, next time.
    TryAgain(String),
}

impl From<AcceptLossError> for AcceptError {
    fn from(error: AcceptLossError) -> Self {
        let text = error.to_string();
        match error {
            AcceptLossError::Open(OpenError::Recover(RecoverError::NotAccepted { .. })) => {
                Self::NotAccepted
            }
            AcceptLossError::Open(OpenError::Wal(WalOpenError::Corrupt { .. })) => {
                Self::Damaged(text)
            }
            AcceptLossError::Open(_) | AcceptLossError::Flush(_) => Self::TryAgain(text),
        }
    }
}

fn rules() -> AppendRules {
    AppendRules {
        batch_bytes_max: 1 << 20,
        segment_bytes: 1 << 30,
        is_compacted: false,
        stamps_append_time: false,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
    }
}

pub(crate) fn group_settings() -> GroupSettings {
    GroupSettings {
        initial_rebalance_delay: Duration::from_millis(3),
        session_timeout_min: Duration::from_millis(10),
        session_timeout_max: Duration::from_secs(3600),
        // A group that is removed for good begins again with generation 1: the model could not tell it from a mistake.
        offsets_retention_check_interval: Duration::from_secs(1000 * 24 * 3600),
        queued_offsets_max: 1000,
        busy_write_interval: Duration::ZERO,
        ..GroupSettings::default()
    }
}

pub(crate) fn address(at: TopicPartition) -> PartitionAddress {
    PartitionAddress {
        at,
        shard: shard_for_partition(at, SHARDS),
    }
}

impl Broker {
    /// Recovers and serves.
    pub(crate) async fn start(
        ground: Ground,
        life: Arc<Life>,
        disk: CrashIo,
    ) -> Result<Arc<Self>, StartError> {
        let world = ground.world.clone();
        let ambient = world.ambient_of(&life);
        let store = ground.database.for_life(&life, &ground.bucket);
        let incarnation = Incarnation(world.chance.next_u128());
        let log = open_log(&ground, &life, disk, incarnation).await?;
        let shelves = Shelves {
            groups: Arc::new(store.clone()),
        };
        let groups = Groups::start(shelves, ambient, group_settings(), SHARDS);
        load_groups(&log, &groups).await?;
        let topics = store.topics().await;
        let topics = topics.map_err(|error| StartError::Transient(error.to_string()))?;
        let broker = Arc::new(Self {
            life: Arc::clone(&life),
            log,
            groups,
            store,
            world: world.clone(),
            setup: ground.setup,
            topics: Mutex::new(topics.topics.iter().map(|topic| topic.id).collect()),
            membership: None,
        });
        life.opened();
        let process = life.process;
        let keeping = Arc::clone(&broker).keep();
        world
            .executor
            .spawn(process, "background", Box::pin(keeping));
        Ok(broker)
    }

    /// Accepts a loss, as `wal accept-loss` does while no broker runs.
    pub(crate) async fn accept_loss(
        ground: Ground,
        life: &Arc<Life>,
        disk: CrashIo,
        loss: AcceptedLoss,
    ) -> Result<(), AcceptError> {
        let incarnation = Incarnation(ground.world.chance.next_u128());
        let parts = log_parts(&ground, life, disk, incarnation);
        let lost = Log::accept_loss(parts, loss).await?;
        ground.world.tell(|| format!("accepted {lost:?}"));
        Ok(())
    }

    /// What a broker does that does not know that it was replaced.
    pub(crate) fn upkeep_as_zombie(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let work = async move {
            for _ in 0..3 {
                let pause = self.world.chance.micros(1_000, 200_000);
                self.world.clock.sleep(pause).await;
                self.retain();
                // What fails is judged by what it leaves.
                let _ = self.log.flush().await;
                let _ = self.log.checkpoint_all().await;
                let _ = self.log.sweep().await;
                let _ = self.log.sweep_orphans().await;
            }
        };
        Box::pin(work)
    }

    /// Whether an answer that only a leader can give may go out now.
    pub(crate) fn may_state(&self) -> bool {
        let membership = self.membership.as_ref();
        membership.is_none_or(|membership| membership.may_state())
    }

    pub(crate) fn tail_bytes_max(&self) -> usize {
        self.setup.log.tail_bytes
    }

    pub(crate) fn knows(&self, topic: TopicId) -> bool {
        self.topics.lock().contains(&topic)
    }

    /// Stages a batch as the Produce handler does.
    pub(crate) fn stage(
        &self,
        at: TopicPartition,
        batch: &Bytes,
        acks: Acks,
    ) -> Result<Staged, AppendError> {
        if !self.knows(at.topic) {
            return Err(AppendError::UnknownPartition);
        }
        let prepared = Prepared::new(batch, batch.len(), &rules(), self.world.clock.wall_ms());
        let prepared = prepared.expect("clients of the simulation build sound batches");
        let staged = self.log.stage(address(at), prepared, acks);
        match staged {
            // Which sequence is due is for the leader to say: a producer takes these for final.
            Err(AppendError::OutOfOrder { .. } | AppendError::Fenced { .. })
                if !self.may_state() =>
            {
                Err(AppendError::NotLeader)
            }
            staged => staged,
        }
    }

    pub(crate) async fn read(
        &self,
        at: TopicPartition,
        offset: i64,
        bytes_max: usize,
    ) -> Result<Fetched, ReadError> {
        if !self.knows(at.topic) {
            return Err(ReadError::UnknownPartition);
        }
        let isolation = Isolation::ReadUncommitted;
        self.log
            .read(address(at), offset, isolation, bytes_max, true)
            .await
    }

    pub(crate) fn offsets(&self, at: TopicPartition) -> Result<Offsets, ReadError> {
        if !self.knows(at.topic) {
            return Err(ReadError::UnknownPartition);
        }
        self.log.offsets(address(at))
    }

    /// Waits until there is more to read than now, as a parked Fetch does, but not for long. False: there was more, and
    /// nobody said so.
    pub(crate) async fn is_woken(&self, at: TopicPartition) -> Result<bool, ReadError> {
        let before = self.offsets(at)?.high_watermark;
        let waiter = Arc::new(Waiter::wanting(1));
        self.log.park(address(at), &waiter)?;
        let clock = &self.world.clock;
        let until = clock.monotonic() + Duration::from_millis(60);
        let woken = deadline(clock, until, waiter.enough()).await;
        Ok(woken.is_some() || self.offsets(at)?.high_watermark == before)
    }

    /// Moves a log start, as the DeleteRecords handler does.
    pub(crate) async fn trim(&self, at: TopicPartition, to: i64) -> Result<i64, String> {
        if !self.knows(at.topic) {
            return Err("the topic was deleted".to_owned());
        }
        let trimmed = self.log.delete_records(address(at), Some(to)).await;
        trimmed.map_err(|error| error.to_string())
    }

    pub(crate) async fn create_topic(
        &self,
        topic: streamhouse_metadata::store::NewTopic,
    ) -> Result<(), streamhouse_metadata::store::CreateTopicError> {
        let id = topic.id;
        self.store.create_topic(topic).await?;
        self.topics.lock().insert(id);
        Ok(())
    }

    /// Deletes a topic, as the DeleteTopics handler does; its partitions are dropped by the background.
    pub(crate) async fn delete_topic(&self, topic: TopicId) {
        let deleted = self.store.delete_topic(topic).await;
        if deleted.is_ok() {
            self.topics.lock().remove(&topic);
        }
        self.settle().await;
    }

    /// Looks again which topics there are, and drops what is deleted.
    pub(crate) async fn settle(&self) {
        let Ok(topics) = self.store.topics().await else {
            return;
        };
        *self.topics.lock() = topics.topics.iter().map(|topic| topic.id).collect();
        // A failure is tried again by the next pass.
        let _ = self.log.settle_tombstones().await;
    }

    /// One pass of retention.
    pub(crate) fn retain(&self) {
        let retention = Retention {
            ms: None,
            bytes: Some(self.setup.retention_bytes),
        };
        let rules = BTreeMap::from([(self.setup.retained, retention)]);
        self.log.apply_retention(&rules);
    }

    pub(crate) fn evict_producers(&self) {
        self.log.evict_producers(-1);
    }

    /// What the broker does without being asked.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            let pause = self.world.chance.micros(100_000, 900_000);
            self.world.clock.sleep(pause).await;
            self.retain();
            self.settle().await;
            // A failure is tried again by the next pass.
            let _ = self.log.sweep().await;
        }
    }
}

async fn open_log(
    ground: &Ground,
    life: &Arc<Life>,
    disk: CrashIo,
    incarnation: Incarnation,
) -> Result<Log, StartError> {
    let parts = log_parts(ground, life, disk, incarnation);
    let (log, recovered) = Log::open(parts).await?;
    let number = life.process.0;
    let said = || format!("broker {number} recovered {recovered:?}");
    ground.world.tell(said);
    Ok(log)
}

pub(crate) fn log_parts(
    ground: &Ground,
    life: &Arc<Life>,
    disk: CrashIo,
    incarnation: Incarnation,
) -> LogParts {
    let world = &ground.world;
    let ambient = world.ambient_of(life);
    let objects = ground.bucket.for_life(world, life, &ground.database);
    let store = ground.database.for_life(life, &ground.bucket);
    let wal_io = SiteDisk::new(disk, world.clone(), Arc::clone(life));
    let cache = BlockCacheSettings {
        capacity_bytes: ground.setup.cache_bytes,
        block_bytes: 64 * 1024,
        ..BlockCacheSettings::default()
    };
    let (failing, failed) = (Arc::clone(life), world.clone());
    LogParts {
        cache: BlockCache::new(objects.clone(), ambient.clone(), cache),
        objects,
        store: Arc::new(store) as Arc<dyn MetadataStore>,
        wal_io: Arc::new(wal_io) as Arc<dyn WalIo>,
        wal_settings: WalSettings {
            file_bytes: WAL_FILE_BYTES,
            cap_bytes: WAL_FILE_BYTES * WAL_FILES,
            entries_max: 1_500,
            pool_files: 3,
            group_bytes_max: 8 * 1024,
            group_records_max: 40,
            queue_bytes_max: 64 * 1024,
            ..WalSettings::new("wal")
        },
        cluster: CLUSTER,
        wal_dir: WAL_DIR,
        incarnation,
        settings: ground.setup.log.clone(),
        on_wal_failure: Box::new(move |failure| {
            if !failing.is_dead() {
                failed.tell(|| format!("the WAL failed: {failure}"));
                let styles = [CrashStyle::Forget, CrashStyle::Torn, CrashStyle::Sectors];
                failing.die(styles[failed.chance.place(styles.len())]);
            }
        }),
        ambient,
    }
}

async fn load_groups(log: &Log, groups: &Groups) -> Result<(), StartError> {
    for shard in (0..SHARDS).map(ShardId) {
        let grant = log.grant(shard);
        let (epoch, incarnation) =
            grant.map_err(|error| StartError::Regression(error.to_string()))?;
        let grant = Grant {
            shard,
            epoch,
            incarnation,
        };
        groups.load(grant).await.map_err(|error| match error {
            LoadError::Store { .. } => StartError::Transient(error.to_string()),
            LoadError::Unreadable { .. } | LoadError::Superseded { .. } => {
                StartError::Regression(error.to_string())
            }
        })?;
    }
    Ok(())
}
