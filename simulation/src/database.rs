//! The database as one life of the broker sees it: slow, sometimes without a clear answer, and at every call a place to
//! die.
//!
//! The facts are in the real [`MemoryStore`], which outlives every broker. A [`Ledger`] beside it hears of everything
//! that really happened, late or not, and judges it: fencing, commits with one effect, objects that exist.

mod mishaps;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::*;
use streamhouse_protocol::ids::TopicId;
use streamhouse_runtime::{Chance, Clock};

use crate::encounters::Encounter;
use crate::executor::CLIENTS;
use crate::ledger::Ledger;
use crate::objects::Bucket;
use crate::sites::{Moment, Site};
use crate::world::{Life, World};

use mishaps::Mishaps;

/// What really is in the database, and who watches it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) truth: MemoryStore,
    pub(crate) world: World,
    ledger: Ledger,
    mishaps: Arc<Mutex<Mishaps>>,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// It is refused and says so.
    Refused,
    /// It did not happen, but the answer does not say so.
    Before,
    /// It happened, but the answer does not say so.
    After,
    /// It happens some time later, and the answer does not say so.
    Late,
}

impl Database {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            truth: MemoryStore::new(world.ambient(CLIENTS)),
            world: world.clone(),
            ledger: Ledger::new(world.clone()),
            mishaps: Arc::default(),
        }
    }

    /// The database as a process uses it.
    pub(crate) fn for_life(&self, life: &Arc<Life>, bucket: &Bucket) -> LifeStore {
        LifeStore {
            database: self.clone(),
            life: Arc::clone(life),
            bucket: bucket.clone(),
        }
    }

    /// Somebody deletes the bytes of an object.
    pub(crate) fn bytes_deleted(&self, key: &str) {
        let rows = self.truth.objects(None, usize::MAX).now_or_never();
        if let Some(Ok(rows)) = rows {
            self.ledger.bytes_deleted(key, &rows);
        }
    }

    async fn commit(
        &self,
        commit: Commit,
        bucket: &Bucket,
    ) -> Result<Vec<CommitOutcome>, CommitError> {
        let outcomes = self.truth.commit(commit.clone()).await?;
        self.ledger.committed(&commit, &outcomes, bucket);
        Ok(outcomes)
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let outcomes = self.truth.write_groups(writes.clone()).await?;
        self.ledger.groups_written(&writes, &outcomes);
        Ok(outcomes)
    }
}

/// The store of one process.
#[derive(Clone, Debug)]
pub(crate) struct LifeStore {
    database: Database,
    life: Arc<Life>,
    bucket: Bucket,
}

fn unavailable(operation: &'static str, outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        operation,
        outcome,
        reason: "on purpose".to_owned(),
    }
}

impl LifeStore {
    fn world(&self) -> &World {
        &self.database.world
    }

    /// Whether what this life commits may be forgotten: it is judged at the start after its own.
    fn may_be_forgotten(&self) -> bool {
        !self.life.is_zombie() && !self.life.is_opening()
    }

    /// Counts what a zombie met.
    fn zombie(&self, has_met: bool, encounter: Encounter) {
        if has_met && self.life.is_zombie() {
            self.world().met(encounter);
        }
    }

    fn pick(&self, running: Site, recovering: Site) -> Site {
        if self.life.is_opening() {
            recovering
        } else {
            running
        }
    }

    /// Begins a call; a dead process hears no answer.
    async fn enter(&self, site: Site) {
        if !self.begins(site).await {
            std::future::pending().await
        }
    }

    /// Begins a call; false if the process died before.
    async fn begins(&self, site: Site) -> bool {
        self.world().dawdle().await;
        self.world().cross(&self.life, site, Moment::Before)
    }

    /// Begins a write that may be on its way already when the process dies: then it happens without it.
    async fn send(&self, site: Site, write: impl Future<Output = ()> + Send + 'static) {
        if !self.begins(site).await {
            if self.world().chance.below(2) == 0 {
                self.happen_late(write);
            }
            std::future::pending().await
        }
    }

    async fn leave(&self, site: Site) {
        if !self.world().cross(&self.life, site, Moment::After) {
            return std::future::pending().await;
        }
        self.world().dawdle().await;
    }

    /// What goes wrong with a write; nothing, mostly.
    fn doubt(&self, operation: &'static str) -> Option<Doubt> {
        let world = self.world();
        if !world.chance.hits(world.weather().database_per_mille) {
            return None;
        }
        world.count(|counts| counts.unknown_outcomes += 1);
        let all = [Doubt::Refused, Doubt::Before, Doubt::After, Doubt::Late];
        let doubt = all[world.chance.place(all.len())];
        world.tell(|| format!("  {operation}: {doubt:?}"));
        Some(doubt)
    }

    /// Whether a read fails.
    fn is_blind(&self) -> bool {
        let world = self.world();
        world.chance.hits(world.weather().database_per_mille / 2)
    }

    async fn read<T>(
        &self,
        site: Site,
        operation: &'static str,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.enter(site).await;
        let answer = if self.is_blind() {
            self.world().tell(|| format!("  {operation}: blind"));
            Err(unavailable(operation, Outcome::DidNotHappen))
        } else {
            read.await
        };
        self.leave(site).await;
        answer
    }

    async fn write<T, E: From<StoreError>>(
        &self,
        site: Site,
        operation: &'static str,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.enter(site).await;
        let answer = match self.doubt(operation) {
            None => write.await,
            Some(Doubt::Refused) => Err(unavailable(operation, Outcome::DidNotHappen).into()),
            Some(Doubt::Before | Doubt::Late) => {
                Err(unavailable(operation, Outcome::MayHaveHappened).into())
            }
            Some(Doubt::After) => {
                // Nobody hears what became of it.
                let _ = write.await;
                Err(unavailable(operation, Outcome::MayHaveHappened).into())
            }
        };
        self.leave(site).await;
        answer
    }

    /// Lets a write happen when its sender may be long gone.
    fn happen_late(&self, write: impl Future<Output = ()> + Send + 'static) {
        let world = self.world().clone();
        let pause = match world.chance.below(3) {
            0 => world.chance.micros(1, 2_000),
            1 => world.chance.micros(2_000, 100_000),
            _ => world.chance.micros(100_000, 3_000_000),
        };
        let late = async move {
            world.clock.sleep(pause).await;
            write.await;
        };
        self.world()
            .executor
            .spawn(CLIENTS, "late write", Box::pin(late));
    }
}

#[async_trait]
impl ManifestShelf for LifeStore {
    async fn commit(&self, commit: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        let (database, bucket, on_the_wire) =
            (self.database.clone(), self.bucket.clone(), commit.clone());
        let late = async move { drop(database.commit(on_the_wire, &bucket).await) };
        self.send(Site::Commit, late).await;
        let unknown = || unavailable("commit manifests", Outcome::MayHaveHappened).into();
        let answer = match self.doubt("commit") {
            None if self.may_be_forgotten() && self.database.forgets(&commit) => {
                self.world().met(Encounter::FlushForgotten);
                Ok(vec![CommitOutcome::Committed; commit.manifests.len()])
            }
            None => {
                let done = self.database.commit(commit, &self.bucket).await;
                let is_refused = |done: &Vec<_>| done.contains(&CommitOutcome::Refused);
                self.zombie(done.as_ref().is_ok_and(is_refused), Encounter::ZombieCommit);
                done
            }
            Some(Doubt::Refused) => {
                Err(unavailable("commit manifests", Outcome::DidNotHappen).into())
            }
            Some(Doubt::Before) => Err(unknown()),
            Some(Doubt::After) => {
                let _ = self.database.commit(commit, &self.bucket).await;
                Err(unknown())
            }
            Some(Doubt::Late) => {
                let (database, bucket) = (self.database.clone(), self.bucket.clone());
                self.happen_late(async move {
                    let _ = database.commit(commit, &bucket).await;
                });
                Err(unknown())
            }
        };
        self.leave(Site::Commit).await;
        answer
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        let site = self.pick(Site::ReadBack, Site::RecoveryManifests);
        let read = self.database.truth.manifests(shard, from, limit);
        let mut rows = self.read(site, "read manifests", read).await?;
        let damaged = self.database.mishaps.lock().damaged;
        let damaged = rows
            .iter_mut()
            .find(|row| damaged == Some((shard, row.lsn)));
        if let Some(row) = damaged {
            row.body.truncate(row.body.len() / 2);
        }
        Ok(rows)
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        let read = self.database.truth.resolve(names);
        self.read(Site::ReadBack, "resolve commits", read).await
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        let set = async {
            let set = self.database.truth.set_checkpoint(request.clone()).await;
            let is_fenced = matches!(set, Err(CheckpointError::Fenced { .. }));
            self.zombie(is_fenced, Encounter::ZombieCheckpoint);
            set?;
            self.database.ledger.checkpoint_set(&request);
            self.world().count(|counts| counts.checkpoints += 1);
            Ok(())
        };
        self.write(Site::CheckpointSet, "set a checkpoint", set)
            .await
    }
}

#[async_trait]
impl MetadataStore for LifeStore {
    fn timeline(&self) -> u32 {
        self.database.truth.timeline()
    }

    fn watch_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.database.truth.watch_changes()
    }

    async fn close(&self) {}
}

#[async_trait]
impl ClusterShelf for LifeStore {
    async fn initialise(&self, cluster: NewCluster) -> Result<Cluster, InitialiseError> {
        self.database.truth.initialise(cluster).await
    }
    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        self.database.truth.cluster().await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        let read = self.database.truth.revision();
        self.read(Site::FlushRevision, "read the revision", read)
            .await
    }
    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.database.truth.revisions_since(after, limit).await
    }
    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        self.database.truth.check_revision(seen).await
    }
    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        self.database.truth.allocate_producer_ids(count).await
    }
}

#[async_trait]
impl ShardShelf for LifeStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        let read = self.database.truth.shards();
        self.read(Site::RecoveryShards, "read the shards", read)
            .await
    }
    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        let read = self.database.truth.read_shard(shard);
        self.read(Site::GroupsReadShard, "read a shard", read).await
    }
    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        let grant = async {
            let outcomes = self.database.truth.grant(request).await?;
            self.database.ledger.granted(&outcomes);
            Ok(outcomes)
        };
        self.write(Site::RecoveryGrant, "grant shards", grant).await
    }
    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        let read = self.database.truth.grants(shard);
        self.read(Site::OrphansGrants, "read grants", read).await
    }
}

#[async_trait]
impl ObjectShelf for LifeStore {
    async fn unreferenced(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
        self.zombie(true, Encounter::ZombieSweep);
        let read = self.database.truth.unreferenced(limit);
        self.read(Site::SweepUnreferenced, "list unneeded objects", read)
            .await
    }
    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError> {
        let write = self.database.truth.tombstone(ids, at_ms);
        self.write(Site::SweepTombstone, "tombstone objects", write)
            .await
    }
    async fn tombstones_before(
        &self,
        before_ms: i64,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        let read = self.database.truth.tombstones_before(before_ms, limit);
        self.read(Site::SweepDue, "list tombstones", read).await
    }
    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        let read = self.database.truth.is_tombstone(id);
        self.read(Site::SweepConfirm, "read a tombstone", read)
            .await
    }
    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError> {
        self.world()
            .count(|counts| counts.deleted += ids.len() as u64);
        let write = self.database.truth.forget(ids);
        self.write(Site::SweepForget, "forget objects", write).await
    }
    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        let read = self.database.truth.objects(after, limit);
        self.read(Site::OrphansKnown, "list objects", read).await
    }
}

#[async_trait]
impl TopicShelf for LifeStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        let site = self.pick(Site::TopicRead, Site::RecoveryTopics);
        let read = self.database.truth.topics();
        self.read(site, "read the topics", read).await
    }
    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError> {
        let write = self.database.truth.create_topic(topic);
        self.write(Site::TopicCreate, "create a topic", write).await
    }
    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError> {
        self.database.truth.add_partitions(request).await
    }
    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError> {
        self.database.truth.set_configs(target, changes).await
    }
    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError> {
        let write = self.database.truth.delete_topic(topic);
        self.write(Site::TopicDelete, "delete a topic", write).await
    }
    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError> {
        let write = self.database.truth.drop_recorded(drop);
        self.write(Site::TopicDropRecorded, "record a drop", write)
            .await
    }
}

#[async_trait]
impl GroupShelf for LifeStore {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        let read = self.database.truth.load_groups(shard);
        self.read(Site::RecoveryGroups, "load groups", read).await
    }
    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        let read = self.database.truth.coordination_seq(shard);
        self.read(Site::FlushSeq, "read a coordination row", read)
            .await
    }
    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        let read = self.database.truth.coordination(shards);
        self.read(Site::GroupsReadShard, "read coordination rows", read)
            .await
    }
    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let (database, on_the_wire) = (self.database.clone(), writes.clone());
        let late = async move { drop(database.write_groups(on_the_wire).await) };
        self.send(Site::GroupsWrite, late).await;
        let unknown = || unavailable("write groups", Outcome::MayHaveHappened);
        let answer = match self.doubt("write groups") {
            None => {
                let done = self.database.write_groups(writes).await;
                let is_refused = |done: &Vec<_>| done.contains(&CoordinationOutcome::Refused);
                self.zombie(done.as_ref().is_ok_and(is_refused), Encounter::ZombieGroups);
                done
            }
            Some(Doubt::Refused) => Err(unavailable("write groups", Outcome::DidNotHappen)),
            Some(Doubt::Before) => Err(unknown()),
            Some(Doubt::After) => {
                let _ = self.database.write_groups(writes).await;
                Err(unknown())
            }
            Some(Doubt::Late) => {
                let database = self.database.clone();
                self.happen_late(async move {
                    let _ = database.write_groups(writes).await;
                });
                Err(unknown())
            }
        };
        self.leave(Site::GroupsWrite).await;
        answer
    }
}

#[async_trait]
impl BrokerShelf for LifeStore {
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: Duration,
    ) -> Result<(), RegisterError> {
        self.database.truth.register_broker(broker, lease).await
    }
    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError> {
        self.database.truth.heartbeat(incarnation, lease).await
    }
    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.database.truth.leave(incarnation).await
    }
    async fn living(&self) -> Result<Living, StoreError> {
        self.database.truth.living().await
    }
    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        self.database.truth.brokers().await
    }
}
