//! A broker's log that can be killed and started again. The disk of the WAL, the objects and the database outlive it.

use std::sync::Arc;

use bytes::Bytes;
use streamhouse_log::append::validate::{AppendRules, Prepared};
use streamhouse_log::append::{Acks, AppendError, Appended, Staged};
use streamhouse_log::open::{LogParts, OpenError};
use streamhouse_log::read::{Isolation, PartitionAddress};
use streamhouse_log::recovery::Recovered;
use streamhouse_log::recovery::loss::{AcceptLossError, AcceptedLoss, Loss};
use streamhouse_log::{Log, LogSettings, shard_for_partition};
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::{Durability, Incarnation, MetadataStore, NewCluster, NewTopic};
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::ids::{
    PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicPartition,
};
use streamhouse_protocol::names::TopicName;
use streamhouse_protocol::record::Records;
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent};
use streamhouse_runtime::{Ambient, Chance, ManualClock, SeededChance, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::{FaultStore, Faults, Objects};
use streamhouse_storage::wal::crash::CrashIo;
use streamhouse_storage::wal::{WalIo, WalSettings};

use crate::doubtful::DoubtfulStore;

pub(crate) const TOPIC: TopicId = TopicId(0x7070);
pub(crate) const SHARDS: u32 = 4;
const WAL_DIR: u128 = 0xd1;
pub(crate) const CLUSTER: u128 = 0xc1;

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) disk: CrashIo,
    pub(crate) objects: Objects,
    /// What really is in the object store, and how requests to it fail.
    pub(crate) truth: Objects,
    pub(crate) faults: Faults,
    pub(crate) store: Arc<DoubtfulStore>,
    /// Used instead of `store`, if it is there.
    pub(crate) database: Option<Arc<dyn MetadataStore>>,
    pub(crate) settings: LogSettings,
    pub(crate) cache: BlockCacheSettings,
    chance: Arc<SeededChance>,
    running: Option<(Log, Tasks)>,
}

pub(crate) fn rules() -> AppendRules {
    AppendRules {
        batch_bytes_max: 1 << 20,
        segment_bytes: 1 << 30,
        is_compacted: false,
        stamps_append_time: false,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
    }
}

/// A plain batch with one record per value.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    timed_batch(
        &values.iter().map(|value| (0, *value)).collect::<Vec<_>>(),
        Compression::None,
    )
}

pub(crate) fn timed_batch(records: &[(i64, &str)], compression: Compression) -> Bytes {
    let mut builder = RecordBatchBuilder::new(compression);
    fill(&mut builder, records);
    builder.build().unwrap().into_bytes()
}

/// A batch of an idempotent producer.
pub(crate) fn sequenced(id: i64, epoch: i16, first: i32, values: &[&str]) -> Bytes {
    let builder = RecordBatchBuilder::new(Compression::None);
    let mut builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), first);
    fill(
        &mut builder,
        &values.iter().map(|value| (0, *value)).collect::<Vec<_>>(),
    );
    builder.build().unwrap().into_bytes()
}

fn fill(builder: &mut RecordBatchBuilder, records: &[(i64, &str)]) {
    for (timestamp_ms, value) in records {
        let value = Some(value.as_bytes());
        builder
            .push(&RecordContent {
                timestamp_ms: *timestamp_ms,
                value,
                ..RecordContent::default()
            })
            .unwrap();
    }
}

pub(crate) fn address(partition: i32) -> PartitionAddress {
    let at = TopicPartition::new(TOPIC, PartitionIndex(partition));
    PartitionAddress {
        at,
        shard: shard_for_partition(at, SHARDS),
    }
}

/// Makes the cluster and its topic.
pub(crate) async fn set_up(store: &dyn MetadataStore, durability: Durability) {
    let cluster = NewCluster {
        cluster_id: CLUSTER,
        shards: SHARDS,
        durability,
    };
    store.initialise(cluster).await.unwrap();
    let partitions = (0..3).map(|index| address(index).shard).collect();
    let topic = NewTopic {
        id: TOPIC,
        name: TopicName::new("t").unwrap(),
        partitions,
        configs: std::collections::BTreeMap::new(),
        created_ms: 0,
    };
    store.create_topic(topic).await.unwrap();
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::seeded(7).await
    }

    pub(crate) async fn seeded(seed: u64) -> Self {
        let clock = ManualClock::new(1_000_000);
        let chance = Arc::new(SeededChance::new(seed));
        let ambient = ambient(&clock, &chance, Tasks::new());
        let memory = MemoryStore::new(ambient.clone());
        let store = Arc::new(DoubtfulStore::new(memory, Arc::clone(&chance) as _));
        set_up(&*store, Durability::Local).await;
        let settings = LogSettings {
            flush_bytes: u64::MAX,
            ..LogSettings::default()
        };
        let memory = Arc::new(object_store::memory::InMemory::new());
        let (faulty, faults) = FaultStore::new(Arc::clone(&memory) as _, ambient.clone());
        Self {
            objects: Objects::new(Arc::new(faulty), ambient.clone()),
            truth: Objects::new(memory, ambient),
            faults,
            disk: CrashIo::new(),
            clock,
            store,
            settings,
            cache: BlockCacheSettings::default(),
            database: None,
            chance,
            running: None,
        }
    }

    pub(crate) fn ambient(&self) -> Ambient {
        ambient(&self.clock, &self.chance, Tasks::new())
    }

    /// A world whose broker runs.
    pub(crate) async fn started() -> Self {
        let mut world = Self::new().await;
        world.start().await;
        world
    }

    pub(crate) async fn start(&mut self) -> Recovered {
        self.try_start().await.unwrap()
    }

    pub(crate) async fn try_start(&mut self) -> Result<Recovered, OpenError> {
        let tasks = Tasks::new();
        let (log, recovered) = Log::open(self.parts(tasks.clone())).await?;
        self.running = Some((log, tasks));
        Ok(recovered)
    }

    /// Accepts a loss while no broker runs.
    pub(crate) async fn accept(
        &self,
        accepted: AcceptedLoss,
    ) -> Result<Option<Loss>, AcceptLossError> {
        let tasks = Tasks::new();
        let lost = Log::accept_loss(self.parts(tasks.clone()), accepted).await;
        tasks.shut_down();
        lost
    }

    fn parts(&self, tasks: Tasks) -> LogParts {
        let ambient = ambient(&self.clock, &self.chance, tasks);
        let wal_settings = WalSettings {
            file_bytes: 1 << 20,
            cap_bytes: 16 << 20,
            ..WalSettings::new("wal")
        };
        let store: Arc<dyn MetadataStore> = match &self.database {
            Some(database) => Arc::clone(database),
            None => Arc::clone(&self.store) as Arc<dyn MetadataStore>,
        };
        LogParts {
            cache: BlockCache::new(self.objects.clone(), ambient.clone(), self.cache),
            objects: self.objects.clone(),
            store,
            wal_io: Arc::new(self.disk.clone()) as Arc<dyn WalIo>,
            wal_settings,
            cluster: CLUSTER,
            wal_dir: WAL_DIR,
            incarnation: Incarnation(self.chance.next_u128()),
            settings: self.settings.clone(),
            on_wal_failure: Box::new(|_| {}),
            ambient,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.running.as_ref().expect("the broker runs").0
    }

    /// Ends the process without any farewell: what was written stays, nothing else happens.
    pub(crate) async fn kill(&mut self) {
        self.die(self.disk.after_kill());
    }

    /// Ends the process, and leaves `image` of the WAL's disk.
    pub(crate) fn die(&mut self, image: CrashIo) {
        if let Some((log, tasks)) = self.running.take() {
            tasks.shut_down();
            log.close();
        }
        self.disk = image;
    }

    /// Runs `work` to its end while the clock turns: retries and pauses pass.
    pub(crate) async fn turning<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = async {
            loop {
                for _ in 0..30 {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(std::time::Duration::from_millis(2));
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = turn => unreachable!("the clock turns for ever"),
        }
    }

    pub(crate) async fn restart(&mut self) -> Recovered {
        self.kill().await;
        self.start().await
    }

    pub(crate) fn stage(&self, partition: i32, batch: &Bytes) -> Result<Staged, AppendError> {
        let prepared = Prepared::new(batch, 0, &rules(), 1_000_000).unwrap();
        self.log().stage(address(partition), prepared, Acks::All)
    }

    pub(crate) async fn append(&self, partition: i32, batch: &Bytes) -> Appended {
        self.stage(partition, batch)
            .unwrap()
            .acknowledged()
            .await
            .unwrap()
    }

    /// Every value of a partition from `offset` on, with its offset.
    pub(crate) async fn values(&self, partition: i32, offset: i64) -> Vec<(i64, String)> {
        values(self.log(), partition, offset).await
    }
}

/// Every value of a partition from `offset` on, with its offset.
pub(crate) async fn values(log: &Log, partition: i32, mut offset: i64) -> Vec<(i64, String)> {
    let mut values = Vec::new();
    let isolation = Isolation::ReadUncommitted;
    loop {
        let fetched = log.read(address(partition), offset, isolation, 4096, true);
        let fetched = fetched.await.unwrap();
        if fetched.pieces.is_empty() {
            assert_eq!(
                offset, fetched.offsets.high_watermark,
                "an empty read below the high watermark"
            );
            return values;
        }
        for batch in fetched.into_batches() {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let limits = streamhouse_protocol::compression::Limits::DEFAULT;
            for record in &Records::unpack(&batch, &limits).unwrap() {
                let record = record.unwrap();
                if record.offset >= offset {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    values.push((record.offset, value));
                }
            }
            offset = batch.next_offset();
        }
    }
}

pub(crate) fn ambient(clock: &ManualClock, chance: &Arc<SeededChance>, tasks: Tasks) -> Ambient {
    Ambient {
        clock: Arc::new(clock.clone()),
        chance: Arc::clone(chance) as Arc<dyn Chance>,
        tasks,
    }
}

pub(crate) fn numbered(values: &[&str]) -> Vec<(i64, String)> {
    values
        .iter()
        .enumerate()
        .map(|(offset, value)| (i64::try_from(offset).unwrap(), (*value).to_owned()))
        .collect()
}
