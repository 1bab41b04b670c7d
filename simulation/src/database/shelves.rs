//! The shelves of one process that pass calls on as they are: the cluster, shards, objects, topics, groups, brokers.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use streamhouse_metadata::store::*;
use streamhouse_protocol::ids::TopicId;

use super::{Doubt, LifeStore, unavailable};
use crate::encounters::Encounter;
use crate::sites::Site;

#[async_trait]
impl ClusterShelf for LifeStore {
    async fn initialise(&self, cluster: NewCluster) -> Result<Cluster, InitialiseError> {
        self.database.truth.initialise(cluster).await
    }
    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        self.server().cluster().await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        let read = async { self.server().revision().await };
        self.read(Site::FlushRevision, "read the revision", read)
            .await
    }
    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.server().revisions_since(after, limit).await
    }
    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        self.server().check_revision(seen).await
    }
    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        self.database.truth.allocate_producer_ids(count).await
    }
}

#[async_trait]
impl ShardShelf for LifeStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        let read = async { self.server().shards().await };
        let rows = self
            .read(Site::RecoveryShards, "read the shards", read)
            .await?;
        if !self.is_on_old() {
            self.told_rows(&rows);
        }
        Ok(rows)
    }
    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        let read = async { self.server().read_shard(shard).await };
        self.read(Site::GroupsReadShard, "read a shard", read).await
    }
    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        let grant = async {
            let before = self.database.truth.shards().await?;
            let outcomes = self.database.truth.grant(request.clone()).await?;
            self.met_by_grant(&request, &before, &outcomes);
            self.database.ledger.granted(&outcomes);
            Ok(outcomes)
        };
        let outcomes = self
            .write(Site::RecoveryGrant, "grant shards", grant)
            .await?;
        self.told_grants(&outcomes);
        Ok(outcomes)
    }
    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        let read = async { self.server().grants(shard).await };
        self.read(Site::OrphansGrants, "read grants", read).await
    }
}

#[async_trait]
impl ObjectShelf for LifeStore {
    async fn unreferenced(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
        self.zombie(true, Encounter::ZombieSweep);
        let read = async { self.server().unreferenced(limit).await };
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
        let read = async { self.server().tombstones_before(before_ms, limit).await };
        self.read(Site::SweepDue, "list tombstones", read).await
    }
    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        if self.is_on_old() {
            // The grace must be longer than an old primary goes on; here only some are.
            let site = Site::SweepConfirm;
            return self.locks_in_vain(site, "read a tombstone").await;
        }
        let read = async { self.server().is_tombstone(id).await };
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
        let read = async { self.server().objects(after, limit).await };
        self.read(Site::OrphansKnown, "list objects", read).await
    }
}

#[async_trait]
impl TopicShelf for LifeStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        let site = self.pick(Site::TopicRead, Site::RecoveryTopics);
        let read = async { self.server().topics().await };
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
        let read = async { self.server().load_groups(shard).await };
        self.read(Site::RecoveryGroups, "load groups", read).await
    }
    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        let read = async { self.server().coordination_seq(shard).await };
        self.read(Site::FlushSeq, "read a coordination row", read)
            .await
    }
    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        if self.is_on_old() {
            let site = Site::GroupsReadShard;
            return self.locks_in_vain(site, "read coordination rows").await;
        }
        let read = async { self.server().coordination(shards).await };
        self.read(Site::GroupsReadShard, "read coordination rows", read)
            .await
    }
    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let (database, on_the_wire) = (self.database.clone(), writes.clone());
        let told = writes.clone();
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
        if answer.is_err() {
            self.wait_in_vain().await;
        }
        self.leave(Site::GroupsWrite).await;
        if let Ok(outcomes) = &answer {
            self.told_groups(&told, outcomes);
        }
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
        let write = self.database.truth.register_broker(broker, lease);
        self.write(Site::LifeRegister, "register a broker", write)
            .await
    }
    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError> {
        let write = self.database.truth.heartbeat(incarnation, lease);
        self.write(Site::LifeBeat, "renew a lease", write).await
    }
    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let write = self.database.truth.leave(incarnation);
        self.write(Site::LifeLeave, "leave", write).await
    }
    async fn living(&self) -> Result<Living, StoreError> {
        let read = async { self.server().living().await };
        self.read(Site::LifeLiving, "list living brokers", read)
            .await
    }
    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let read = async { self.server().brokers().await };
        self.read(Site::LifeUndead, "list brokers", read).await
    }
}
