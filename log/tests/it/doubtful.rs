//! A metadata store that sometimes cannot say what became of a commit: it did or did not happen, or happens later.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::*;
use streamhouse_protocol::ids::TopicId;
use streamhouse_runtime::Chance;

/// What happens to one commit or checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It is refused and says so.
    Refused,
    /// It did not happen, but the answer does not say so.
    Before,
    /// It happened, but the answer does not say so.
    After,
    /// It happens just before the next commit.
    Late,
    /// It happened, and the next read fails too.
    AfterAndBlind,
    /// It happens after the first of the reads that ask for it.
    BetweenReads,
    /// It is refused as if another broker led the shards.
    Fenced,
    /// The store says that it happened, and forgets it: a database that loses what it acknowledged.
    Forgotten,
}

#[derive(Debug, Default)]
struct Plan {
    script: VecDeque<Doubt>,
    per_mille: u64,
    late: Vec<Commit>,
    between_reads: Option<Commit>,
    blind_reads: usize,
    refuses_tombstones: bool,
    holds_tombstones: bool,
}

/// The store of the cluster, with doubts.
#[derive(Clone, Debug)]
pub(crate) struct DoubtfulStore {
    pub(crate) inner: MemoryStore,
    plan: Arc<Mutex<Plan>>,
    chance: Arc<dyn Chance>,
    requests: Arc<AtomicU64>,
}

impl DoubtfulStore {
    pub(crate) fn new(inner: MemoryStore, chance: Arc<dyn Chance>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
            chance,
            requests: Arc::default(),
        }
    }

    /// How many requests it was asked.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The next commits meet these, one each.
    pub(crate) fn script(&self, doubts: impl IntoIterator<Item = Doubt>) {
        self.plan.lock().script.extend(doubts);
    }

    /// Of a thousand commits that no script covers, this many meet a drawn doubt.
    pub(crate) fn draw(&self, per_mille: u64) {
        self.plan.lock().per_mille = per_mille;
    }

    /// Whether every request to give objects up fails.
    pub(crate) fn refuse_tombstones(&self, refuses: bool) {
        self.plan.lock().refuses_tombstones = refuses;
    }

    /// Whether requests to give objects up wait.
    pub(crate) fn hold_tombstones(&self, holds: bool) {
        self.plan.lock().holds_tombstones = holds;
    }

    fn next(&self) -> Option<Doubt> {
        let mut plan = self.plan.lock();
        if let Some(doubt) = plan.script.pop_front() {
            return Some(doubt);
        }
        if plan.per_mille == 0 || self.chance.below(1000) >= plan.per_mille {
            return None;
        }
        let all = [
            Doubt::Refused,
            Doubt::Before,
            Doubt::After,
            Doubt::Late,
            Doubt::AfterAndBlind,
        ];
        Some(all[usize::try_from(self.chance.below(5)).unwrap()])
    }

    async fn happen_late(&self) {
        let late = std::mem::take(&mut self.plan.lock().late);
        for commit in late {
            // Whatever it says, nobody hears it.
            let _ = self.inner.commit(commit).await;
        }
    }
}

fn unavailable(outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        operation: "commit",
        outcome,
        reason: "on purpose".to_owned(),
    }
}

#[async_trait]
impl ManifestShelf for DoubtfulStore {
    async fn commit(&self, commit: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        self.count();
        let doubt = self.next();
        if doubt == Some(Doubt::Late) {
            self.plan.lock().late.push(commit);
            return Err(unavailable(Outcome::MayHaveHappened).into());
        }
        self.happen_late().await;
        if doubt == Some(Doubt::BetweenReads) {
            self.plan.lock().between_reads = Some(commit);
            return Err(unavailable(Outcome::MayHaveHappened).into());
        }
        match doubt {
            None => return self.inner.commit(commit).await,
            Some(Doubt::Refused) => return Err(unavailable(Outcome::DidNotHappen).into()),
            Some(Doubt::Fenced) => {
                return Ok(vec![CommitOutcome::Refused; commit.manifests.len()]);
            }
            Some(Doubt::Forgotten) => {
                return Ok(vec![CommitOutcome::Committed; commit.manifests.len()]);
            }
            Some(Doubt::Before | Doubt::Late | Doubt::BetweenReads) => {}
            Some(Doubt::After) => {
                let _ = self.inner.commit(commit).await;
            }
            Some(Doubt::AfterAndBlind) => {
                let _ = self.inner.commit(commit).await;
                self.plan.lock().blind_reads = 1;
            }
        }
        Err(unavailable(Outcome::MayHaveHappened).into())
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        self.count();
        {
            let mut plan = self.plan.lock();
            if plan.blind_reads > 0 {
                plan.blind_reads -= 1;
                return Err(unavailable(Outcome::DidNotHappen));
            }
        }
        let rows = self.inner.manifests(shard, from, limit).await;
        let between = self.plan.lock().between_reads.take();
        if let Some(commit) = between {
            // Whatever it says, nobody hears it.
            let _ = self.inner.commit(commit).await;
        }
        rows
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        self.count();
        {
            let mut plan = self.plan.lock();
            if plan.blind_reads > 0 {
                plan.blind_reads -= 1;
                return Err(unavailable(Outcome::DidNotHappen));
            }
        }
        let resolved = self.inner.resolve(names).await;
        let between = self.plan.lock().between_reads.take();
        if let Some(commit) = between {
            // Whatever it says, nobody hears it.
            let _ = self.inner.commit(commit).await;
        }
        resolved
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        self.count();
        match self.next() {
            None => return self.inner.set_checkpoint(request).await,
            Some(Doubt::Refused | Doubt::Fenced) => {
                return Err(unavailable(Outcome::DidNotHappen).into());
            }
            Some(Doubt::Before | Doubt::Late | Doubt::BetweenReads) => {}
            Some(Doubt::Forgotten) => return Ok(()),
            Some(Doubt::After | Doubt::AfterAndBlind) => {
                let _ = self.inner.set_checkpoint(request).await;
            }
        }
        Err(unavailable(Outcome::MayHaveHappened).into())
    }
}

#[async_trait]
impl MetadataStore for DoubtfulStore {
    fn timeline(&self) -> u32 {
        self.inner.timeline()
    }
    fn watch_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch_changes()
    }
    async fn close(&self) {
        self.count();
        self.inner.close().await;
    }
}

#[async_trait]
impl ClusterShelf for DoubtfulStore {
    async fn initialise(&self, cluster: NewCluster) -> Result<Cluster, InitialiseError> {
        self.count();
        self.inner.initialise(cluster).await
    }
    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        self.count();
        self.inner.cluster().await
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.count();
        self.inner.revision().await
    }
    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.count();
        self.inner.revisions_since(after, limit).await
    }
    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        self.count();
        self.inner.check_revision(seen).await
    }
    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        self.count();
        self.inner.allocate_producer_ids(count).await
    }
}

#[async_trait]
impl ShardShelf for DoubtfulStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        self.count();
        self.inner.shards().await
    }
    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        self.count();
        self.inner.read_shard(shard).await
    }
    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        self.count();
        self.inner.grant(request).await
    }
    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        self.count();
        self.inner.grants(shard).await
    }
}

#[async_trait]
impl ObjectShelf for DoubtfulStore {
    async fn unreferenced(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
        self.count();
        self.inner.unreferenced(limit).await
    }
    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError> {
        self.count();
        while self.plan.lock().holds_tombstones {
            tokio::task::yield_now().await;
        }
        if self.plan.lock().refuses_tombstones {
            return Err(unavailable(Outcome::MayHaveHappened));
        }
        self.inner.tombstone(ids, at_ms).await
    }
    async fn tombstones_before(
        &self,
        before_ms: i64,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        self.count();
        self.inner.tombstones_before(before_ms, limit).await
    }
    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        self.count();
        self.inner.is_tombstone(id).await
    }
    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError> {
        self.count();
        self.inner.forget(ids).await
    }
    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        self.count();
        self.inner.objects(after, limit).await
    }
}

#[async_trait]
impl TopicShelf for DoubtfulStore {
    async fn topics(&self) -> Result<Topics, StoreError> {
        self.count();
        self.inner.topics().await
    }
    async fn create_topic(&self, topic: NewTopic) -> Result<Revision, CreateTopicError> {
        self.count();
        self.inner.create_topic(topic).await
    }
    async fn add_partitions(&self, request: AddPartitions) -> Result<Revision, AddPartitionsError> {
        self.count();
        self.inner.add_partitions(request).await
    }
    async fn set_configs(
        &self,
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    ) -> Result<Revision, SetConfigsError> {
        self.count();
        self.inner.set_configs(target, changes).await
    }
    async fn delete_topic(&self, topic: TopicId) -> Result<Revision, DeleteTopicError> {
        self.count();
        self.inner.delete_topic(topic).await
    }
    async fn drop_recorded(&self, drop: RecordedDrop) -> Result<Revision, StoreError> {
        self.count();
        self.inner.drop_recorded(drop).await
    }
}

#[async_trait]
impl GroupShelf for DoubtfulStore {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        self.count();
        self.inner.load_groups(shard).await
    }
    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        self.count();
        self.inner.coordination_seq(shard).await
    }
    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        self.count();
        self.inner.coordination(shards).await
    }
    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        self.count();
        self.inner.write_groups(writes).await
    }
}

#[async_trait]
impl BrokerShelf for DoubtfulStore {
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: std::time::Duration,
    ) -> Result<(), RegisterError> {
        self.count();
        self.inner.register_broker(broker, lease).await
    }
    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: std::time::Duration,
    ) -> Result<Beat, HeartbeatError> {
        self.count();
        self.inner.heartbeat(incarnation, lease).await
    }
    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.count();
        self.inner.leave(incarnation).await
    }
    async fn living(&self) -> Result<Living, StoreError> {
        self.count();
        self.inner.living().await
    }
    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        self.count();
        self.inner.brokers().await
    }
}
