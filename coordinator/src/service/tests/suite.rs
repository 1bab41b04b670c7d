//! The driver on a metadata store, with a clock that the test moves and a store that fails when told to. Which store it is
//! says the name under which this file is loaded.

mod bounds;
mod chaos;
mod consumers;
mod deleting;
mod draining;
mod failing;
mod offsets;
mod serving;
mod storm;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use streamhouse_metadata::sqlite::SqliteStore;
use streamhouse_metadata::{
    Coordination, CoordinationOutcome, CoordinationWrite, Durability, GrantOutcome, GrantRequest,
    GroupShelf, Incarnation, MemoryStore, MetadataStore, NewCluster, Outcome, ShardGroups, ShardId,
    StoreError, TopicCatalogue,
};
use streamhouse_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::GroupId;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use tokio::sync::oneshot;

use super::super::*;
use crate::group::{
    CommitError, CommitOffsets, FetchOffsets, Heartbeat, HeartbeatError, JoinAnswer, JoinError,
    JoinRequest, LeaveRequest, LeavingMember, MemberAssignment, OffsetCommit, OffsetError,
    Protocol, SyncAnswer, SyncError, SyncRequest,
};

const SHARDS: u32 = 4;
const WALL_MS: i64 = 1_700_000_000_000;

/// What the store does with its next write of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Does not write, and says so.
    Refuse,
    /// Writes, and the answer is lost.
    LoseAnswer,
    /// Does not write, and cannot say so.
    LoseRequest,
}

/// The groups shelf of a store, with faults.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn MetadataStore>,
    faults: Mutex<VecDeque<Fault>>,
    /// Every batch with one of these fails as a whole.
    sick: Mutex<BTreeSet<ShardId>>,
    /// Writes and loads take a permit each; tests take them away to stop the store.
    gate: tokio::sync::Semaphore,
    calls: AtomicUsize,
    changes: AtomicUsize,
}

fn failed(outcome: Outcome) -> StoreError {
    StoreError::Unavailable {
        operation: "write groups",
        outcome,
        reason: "a test".to_owned(),
    }
}

impl Faulty {
    fn over(store: &Arc<dyn MetadataStore>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(store),
            faults: Mutex::default(),
            sick: Mutex::default(),
            gate: tokio::sync::Semaphore::new(1),
            calls: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl GroupShelf for Faulty {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        let _permit = self.gate.acquire().await.unwrap();
        at_once(self.inner.load_groups(shard))
    }

    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        at_once(self.inner.coordination_seq(shard))
    }

    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        at_once(self.inner.coordination(shards))
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let _permit = self.gate.acquire().await.unwrap();
        let is_sick = writes
            .iter()
            .any(|write| self.sick.lock().contains(&write.shard));
        let fault = self.faults.lock().pop_front();
        match fault {
            _ if is_sick => return Err(failed(Outcome::DidNotHappen)),
            Some(Fault::Refuse) => return Err(failed(Outcome::DidNotHappen)),
            Some(Fault::LoseRequest) => return Err(failed(Outcome::MayHaveHappened)),
            Some(Fault::LoseAnswer) | None => {}
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let changes = writes.iter().map(|write| write.changes.len()).sum();
        self.changes.fetch_add(changes, Ordering::Relaxed);
        let written = at_once(self.inner.write_groups(writes));
        if fault == Some(Fault::LoseAnswer) {
            return Err(failed(Outcome::MayHaveHappened));
        }
        written
    }
}

/// Waits for a store that answers from a thread of its own, without letting any other task go on: tests say who goes on when,
/// whatever the store.
fn at_once<T>(answer: impl Future<Output = T>) -> T {
    futures::executor::block_on(answer)
}

/// An empty store of the kind that this module is named after.
fn store(ambient: Ambient) -> (Arc<dyn MetadataStore>, Option<tempfile::TempDir>) {
    if module_path!().ends_with("memory") {
        return (Arc::new(MemoryStore::new(ambient)), None);
    }
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("metadata.db"), ambient).unwrap();
    (Arc::new(store), Some(folder))
}

/// A broker's coordinator, its store and its clock.
struct World {
    clock: ManualClock,
    store: Arc<dyn MetadataStore>,
    faulty: Arc<Faulty>,
    settings: GroupSettings,
    tasks: Tasks,
    lives: u128,
    groups: Groups,
    /// Where the store keeps its file.
    _folder: Option<tempfile::TempDir>,
}

impl World {
    async fn new() -> Self {
        Self::with(GroupSettings {
            initial_rebalance_delay: Duration::ZERO,
            ..Default::default()
        })
        .await
    }

    async fn with(settings: GroupSettings) -> Self {
        // Time moves only when a test moves it.
        let settings = GroupSettings {
            busy_write_interval: Duration::ZERO,
            ..settings
        };
        let clock = ManualClock::new(WALL_MS);
        let (store, folder) = store(ambient(&clock, 0));
        let cluster = NewCluster {
            cluster_id: 1,
            shards: SHARDS,
            durability: Durability::Local,
        };
        store.initialise(cluster).await.unwrap();
        let faulty = Faulty::over(&store);
        let (groups, tasks) = start(&clock, &faulty, &settings, 1);
        let mut world = Self {
            clock,
            store,
            faulty,
            settings,
            tasks,
            lives: 1,
            groups,
            _folder: folder,
        };
        world.take_all().await;
        world
    }

    /// Grants every shard to a life of this broker that starts now, and loads them.
    async fn take_all(&mut self) {
        let topics = TopicCatalogue::load(&*self.store).await.unwrap();
        self.groups.follow_topics(&Arc::new(topics));
        let grants = self.grant_all(Incarnation(self.lives)).await;
        for grant in grants {
            self.groups.load(grant).await.unwrap();
        }
    }

    async fn grant_all(&self, incarnation: Incarnation) -> Vec<Grant> {
        let shards = (0..SHARDS).map(ShardId);
        let request = GrantRequest::own(incarnation, None, shards);
        let outcomes = self.store.grant(request).await.unwrap();
        let granted = |outcome: &GrantOutcome| match outcome {
            GrantOutcome::Granted(row) => Grant {
                shard: row.shard,
                epoch: row.epoch,
                incarnation,
            },
            GrantOutcome::WalElsewhere { .. }
            | GrantOutcome::Held { .. }
            | GrantOutcome::Changed { .. }
            | GrantOutcome::Dead { .. }
            | GrantOutcome::UnknownShard => panic!("{outcome:?}"),
        };
        outcomes.iter().map(granted).collect()
    }

    /// The process is killed: what it has not written is lost. Then it starts again on the same store.
    async fn kill(&mut self) {
        self.faulty.sick.lock().extend((0..SHARDS).map(ShardId));
        self.faulty = Faulty::over(&self.store);
        self.restart().await;
    }

    /// The process stops in good order and starts again on the same store.
    async fn restart(&mut self) {
        self.tasks.shut_down();
        self.tasks.finished().await;
        self.lives += 1;
        let seed = u64::try_from(self.lives).unwrap();
        let (groups, tasks) = start(&self.clock, &self.faulty, &self.settings, seed);
        (self.groups, self.tasks) = (groups, tasks);
        self.take_all().await;
    }

    /// Starts a call that may wait; the answer can be asked for later.
    fn begin<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        self.tasks.spawn("call", async move {
            let _ = tell.send(call.await);
        });
        told
    }

    fn begin_join(&self, request: JoinRequest) -> oneshot::Receiver<Result<JoinAnswer, JoinError>> {
        let groups = self.groups.clone();
        self.begin(async move { groups.join(request).await })
    }

    fn begin_commit(&self, request: CommitOffsets) -> oneshot::Receiver<Committed> {
        let groups = self.groups.clone();
        self.begin(async move { groups.commit_offsets(request).await })
    }

    /// A Stable group of one member.
    async fn alone(&self, group: &str) -> JoinAnswer {
        let joined = self.groups.join(asks(group, "")).await.unwrap();
        let synced = self
            .groups
            .sync(syncs(group, &joined, &[(&joined.member, "all")]))
            .await;
        assert_eq!(synced.unwrap().assignment, "all");
        joined
    }

    async fn pass(&self, by: Duration) {
        self.clock.advance(by);
        settle().await;
    }

    /// Lets time pass in small steps, as a real clock does.
    async fn pass_slowly(&self, by: Duration) {
        for _ in 0..by.as_secs() {
            self.pass(Duration::from_secs(1)).await;
        }
    }

    fn stop_store(&self) {
        self.faulty.gate.forget_permits(1);
    }

    async fn resume_store(&self) {
        self.faulty.gate.add_permits(1);
        settle().await;
    }

    fn fail_next(&self, fault: Fault) {
        self.faulty.faults.lock().push_back(fault);
    }

    fn writes(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (load(&self.faulty.calls), load(&self.faulty.changes))
    }

    async fn offset(&self, group: &str, index: i32) -> Option<i64> {
        let request = FetchOffsets {
            group: GroupId::from(group),
            member: None,
            epoch: -1,
            partitions: Some(vec![partition(index)]),
        };
        let fetched = self.groups.fetch_offsets(request).await.unwrap();
        fetched[0]
            .committed
            .as_ref()
            .map(|committed| committed.offset)
    }
}

type Committed = Result<Vec<Result<(), OffsetError>>, CommitError>;

fn ambient(clock: &ManualClock, seed: u64) -> Ambient {
    Ambient {
        clock: Arc::new(clock.clone()),
        chance: Arc::new(SeededChance::new(seed)),
        tasks: Tasks::new(),
    }
}

fn start(
    clock: &ManualClock,
    faulty: &Arc<Faulty>,
    settings: &GroupSettings,
    seed: u64,
) -> (Groups, Tasks) {
    let ambient = ambient(clock, seed);
    let tasks = ambient.tasks.clone();
    let groups: Arc<dyn GroupShelf> = Arc::<Faulty>::clone(faulty);
    let shelves = Shelves { groups };
    (
        Groups::start(shelves, ambient, settings.clone(), SHARDS),
        tasks,
    )
}

/// Lets every task run until all of them wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn asks(group: &str, member: &str) -> JoinRequest {
    JoinRequest {
        group: GroupId::from(group),
        member: MemberId::from(member),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"t"),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        requires_known_member_id: false,
        can_skip_assignment: false,
    }
}

fn syncs(group: &str, joined: &JoinAnswer, given: &[(&MemberId, &str)]) -> SyncRequest {
    let line = |(member, assignment): &(&MemberId, &str)| MemberAssignment {
        member: (*member).clone(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
    };
    SyncRequest {
        group: GroupId::from(group),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: given.iter().map(line).collect(),
    }
}

fn beats(group: &str, joined: &JoinAnswer) -> Heartbeat {
    Heartbeat {
        group: GroupId::from(group),
        member: joined.member.clone(),
        instance: None,
        generation: joined.generation,
    }
}

fn leaves(group: &str, member: &MemberId) -> LeaveRequest {
    let members = vec![LeavingMember {
        member: member.clone(),
        instance: None,
    }];
    LeaveRequest {
        group: GroupId::from(group),
        members,
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(7), PartitionIndex(index))
}

fn line(index: i32, offset: i64) -> OffsetCommit {
    OffsetCommit {
        partition: partition(index),
        offset,
        leader_epoch: LeaderEpoch(3),
        metadata: "note".into(),
    }
}

/// A commit of a simple consumer.
fn commits(group: &str, offsets: &[(i32, i64)]) -> CommitOffsets {
    CommitOffsets {
        group: GroupId::from(group),
        member: MemberId::none(),
        instance: None,
        generation: -1,
        knows_member_epochs: false,
        retention_ms: None,
        offsets: offsets
            .iter()
            .map(|(index, offset)| line(*index, *offset))
            .collect(),
    }
}

/// Names of groups that lie in different shards, one per shard.
fn group_per_shard(groups: &Groups) -> Vec<String> {
    let name = |shard: u32| {
        let named = (0..).map(|number| format!("g{number}"));
        let mut inside = named.filter(|name| {
            groups.coordinator_of(&GroupId::from(name.as_str())).shard == ShardId(shard)
        });
        inside.next().unwrap()
    };
    (0..SHARDS).map(name).collect()
}
