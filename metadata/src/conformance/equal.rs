//! The law of laws: whatever is asked in whatever order, SQLite answers as the specification in memory does, and both
//! know the same facts afterwards, re-opened at any point.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

use super::topics::{name, topic};
use super::{House, SHARDS, object, object_id};
use crate::store::{
    AddPartitions, AskedShard, BrokerRow, CheckpointRow, Commit, CommitName, ConfigChange,
    ConfigTarget, CoordinationWrite, GrantRequest, GroupChange, GroupRow, Incarnation, Lsn,
    ManifestCommit, MetadataStore, OffsetKey, OffsetRow, RecordedDrop, SetCheckpoint, ShardId,
    ShardRow, WalEnd,
};

/// How many sequences are tried, times `STREAMHOUSE_TEST_SCALE`.
const SEQUENCES: u32 = 40;

/// How long a sequence is.
const STEPS_MAX: usize = 50;

const NAMES: [&str; 4] = ["a", "a.b", "a_b", "c"];

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    Wait { days: u64 },
    Reopen,
}

/// One request, in small numbers: what is right is mostly taken from the store, so that most requests succeed.
#[derive(Clone, Debug)]
enum Ask {
    Log(LogAsk),
    Topics(TopicsAsk),
    Groups {
        writes: Vec<(u32, Slip, Vec<GroupChange>)>,
    },
    Register {
        broker: i32,
        life: u128,
        lease: Duration,
    },
    Heartbeat {
        life: u128,
        lease: Duration,
    },
    Leave {
        life: u128,
    },
    Producers {
        count: u32,
    },
}

#[derive(Clone, Debug)]
enum LogAsk {
    Grant {
        life: u128,
        by: u128,
        wal_dir: Option<u128>,
        shards: Vec<(u32, Option<Slip>)>,
    },
    Commit {
        object: Option<u64>,
        manifests: Vec<Manifest>,
    },
    Checkpoint {
        shard: u32,
        object: u64,
        back: u64,
        prune_back: u64,
        slip: Slip,
    },
    Tombstone {
        objects: Vec<u64>,
        at_ms: i64,
    },
    Forget {
        objects: Vec<u64>,
    },
}

#[derive(Clone, Debug)]
enum TopicsAsk {
    Create {
        id: u128,
        name: usize,
        shards: Vec<u32>,
    },
    Add {
        id: u128,
        current: u32,
        shards: Vec<u32>,
    },
    Configs {
        target: ConfigTarget,
        changes: Vec<ConfigChange>,
    },
    Delete {
        id: u128,
    },
    Dropped {
        id: u128,
        shard: u32,
        epoch: i32,
        life: u128,
    },
}

#[derive(Clone, Debug)]
struct Manifest {
    shard: u32,
    slip: Slip,
    released: Vec<u64>,
    position: Option<u64>,
    clears_wal_dir: bool,
}

/// How a fenced request differs from a right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    None,
    Epoch,
    Life,
    Number,
}

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![8 => Just(Slip::None), 1 => Just(Slip::Epoch), 1 => Just(Slip::Life), 1 => Just(Slip::Number)]
}

fn shard() -> impl Strategy<Value = u32> {
    // The last one does not exist.
    0..=SHARDS
}

fn objects() -> impl Strategy<Value = Vec<u64>> {
    vec(0..12_u64, 0..4)
}

fn config_change() -> impl Strategy<Value = ConfigChange> {
    let key = || "[xyz]";
    prop_oneof![
        (key(), "[a-z]{0,3}").prop_map(|(name, value)| ConfigChange::Set { name, value }),
        key().prop_map(|name| ConfigChange::Delete { name }),
        proptest::collection::btree_map(key(), "[a-z]{0,3}", 0..3).prop_map(ConfigChange::Replace),
    ]
}

fn target() -> impl Strategy<Value = ConfigTarget> {
    prop_oneof![
        2 => (1..4_u128).prop_map(|id| ConfigTarget::Topic(TopicId(id))),
        1 => Just(ConfigTarget::BrokerDefaults),
        1 => (0..2).prop_map(|id| ConfigTarget::Broker(BrokerId(id))),
    ]
}

fn group_change() -> impl Strategy<Value = GroupChange> {
    let group = || "[gh]";
    let offset = (group(), 0..2_i32, any::<i64>(), option::of(any::<i64>()));
    prop_oneof![
        (group(), vec(any::<u8>(), 0..4)).prop_map(|(group, blob)| GroupChange::PutGroup(
            GroupRow {
                group: group.as_str().into(),
                blob: Bytes::from(blob)
            }
        )),
        group().prop_map(|group| GroupChange::DeleteGroup(group.as_str().into())),
        offset.prop_map(
            |(group, partition, offset, expire_ms)| GroupChange::PutOffset(OffsetRow {
                group: group.as_str().into(),
                topic: TopicId(1),
                partition: PartitionIndex(partition),
                offset,
                leader_epoch: LeaderEpoch::NONE,
                metadata: "m".to_owned(),
                commit_ms: 1,
                expire_ms,
            })
        ),
        (group(), 0..2_i32).prop_map(|(group, partition)| GroupChange::DeleteOffset(OffsetKey {
            group: group.as_str().into(),
            topic: TopicId(1),
            partition: PartitionIndex(partition),
        })),
    ]
}

fn log_ask() -> impl Strategy<Value = LogAsk> {
    let drain = (option::of(0..9_u64), proptest::bool::weighted(0.1));
    let manifest = (shard(), slip(), objects(), drain).prop_map(
        |(shard, slip, released, (position, clears_wal_dir))| Manifest {
            shard,
            slip,
            released,
            position,
            clears_wal_dir,
        },
    );
    let wal_dir = prop_oneof![4 => Just(Some(1)), 1 => Just(Some(2)), 2 => Just(None)];
    let lives = (10..14_u128, option::weighted(0.3, 10..14_u128));
    let asked = (shard(), option::weighted(0.3, slip()));
    let checkpoint = (shard(), 8..16_u64, 0..4_u64, 0..4_u64, slip());
    prop_oneof![
        3 => (lives, wal_dir, vec(asked, 1..5)).prop_map(|((life, by), wal_dir, shards)| {
            LogAsk::Grant { life, by: by.unwrap_or(life), wal_dir, shards }
        }),
        6 => (option::weighted(0.8, 0..12_u64), vec(manifest, 0..5))
            .prop_map(|(object, manifests)| LogAsk::Commit { object, manifests }),
        2 => checkpoint.prop_map(|(shard, object, back, prune_back, slip)| {
            LogAsk::Checkpoint { shard, object, back, prune_back, slip }
        }),
        1 => (objects(), 0..5_i64).prop_map(|(objects, at_ms)| LogAsk::Tombstone { objects, at_ms }),
        1 => objects().prop_map(|objects| LogAsk::Forget { objects }),
    ]
}

fn topics_ask() -> impl Strategy<Value = TopicsAsk> {
    let id = || 1..4_u128;
    prop_oneof![
        2 => (id(), 0..NAMES.len(), vec(0..SHARDS, 1..4))
            .prop_map(|(id, name, shards)| TopicsAsk::Create { id, name, shards }),
        1 => (id(), 1..4_u32, vec(shard(), 0..3)).prop_map(|(id, current, shards)| {
            TopicsAsk::Add { id, current, shards }
        }),
        2 => (target(), vec(config_change(), 0..4))
            .prop_map(|(target, changes)| TopicsAsk::Configs { target, changes }),
        1 => id().prop_map(|id| TopicsAsk::Delete { id }),
        2 => (id(), shard(), 0..4, 10..13_u128)
            .prop_map(|(id, shard, epoch, life)| TopicsAsk::Dropped { id, shard, epoch, life }),
    ]
}

/// Over at once, or never: servers have clocks of their own.
fn lease() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(1 << 32))]
}

fn step() -> impl Strategy<Value = Step> {
    let groups = vec((shard(), slip(), vec(group_change(), 0..4)), 0..4);
    prop_oneof![
        12 => log_ask().prop_map(|ask| Step::Ask(Ask::Log(ask))),
        6 => topics_ask().prop_map(|ask| Step::Ask(Ask::Topics(ask))),
        3 => groups.prop_map(|writes| Step::Ask(Ask::Groups { writes })),
        1 => (0..2_i32, 10..14_u128, lease())
            .prop_map(|(broker, life, lease)| Step::Ask(Ask::Register { broker, life, lease })),
        1 => (10..14_u128, lease()).prop_map(|(life, lease)| Step::Ask(Ask::Heartbeat { life, lease })),
        1 => (13..15_u128).prop_map(|life| Step::Ask(Ask::Leave { life })),
        1 => (0..3_u32).prop_map(|count| Step::Ask(Ask::Producers { count })),
        1 => (0..9_u64).prop_map(|days| Step::Wait { days }),
        2 => Just(Step::Reopen),
    ]
}

/// What the store holds of a shard, from which right requests are made.
async fn held(store: &dyn MetadataStore, shard: u32) -> (ShardRow, u64) {
    let known = store.read_shard(ShardId(shard)).await.unwrap();
    let mut row = match known {
        Some(row) => row,
        None => store.read_shard(ShardId(0)).await.unwrap().unwrap(),
    };
    row.shard = ShardId(shard);
    (
        row,
        store
            .coordination_seq(ShardId(shard))
            .await
            .unwrap()
            .unwrap_or_default(),
    )
}

fn fence(row: &ShardRow, slip: Slip) -> (LeaderEpoch, Incarnation) {
    let epoch = LeaderEpoch(row.epoch.0 - i32::from(slip == Slip::Epoch));
    let life = if slip == Slip::Life {
        Incarnation(99)
    } else {
        row.incarnation.unwrap_or(Incarnation(98))
    };
    (epoch, life)
}

async fn commit(store: &dyn MetadataStore, seq: Option<u64>, planned: Vec<Manifest>) -> Commit {
    let mut manifests: Vec<ManifestCommit> = Vec::new();
    for plan in planned {
        let (row, _) = held(store, plan.shard).await;
        let (epoch, incarnation) = fence(&row, plan.slip);
        let before = manifests
            .iter()
            .rev()
            .find(|manifest| manifest.shard == row.shard);
        let next = before.map_or(row.next_lsn.0, |manifest| manifest.lsn.0 + 1);
        let lsn = Lsn(next + u64::from(plan.slip == Slip::Number));
        manifests.push(ManifestCommit {
            shard: row.shard,
            epoch,
            incarnation,
            lsn,
            body: Bytes::from(format!("{lsn}")),
            wal_end: plan.position.map(|position| WalEnd { dir: 1, position }),
            released: plan.released.into_iter().map(object_id).collect(),
            clears_wal_dir: plan.clears_wal_dir,
        });
    }
    Commit {
        object: seq.map(object),
        manifests,
    }
}

async fn groups(
    store: &dyn MetadataStore,
    planned: Vec<(u32, Slip, Vec<GroupChange>)>,
) -> Vec<CoordinationWrite> {
    let mut writes: Vec<CoordinationWrite> = Vec::new();
    for (shard, slip, changes) in planned {
        let (row, seq) = held(store, shard).await;
        let (epoch, incarnation) = fence(&row, slip);
        let before = writes.iter().rev().find(|write| write.shard == row.shard);
        let seq = before.map_or(seq, |write| write.seq + 1) + u64::from(slip == Slip::Number);
        writes.push(CoordinationWrite {
            shard: row.shard,
            epoch,
            incarnation,
            seq,
            changes,
        });
    }
    writes
}

fn shard_ids(shards: Vec<u32>) -> Vec<ShardId> {
    shards.into_iter().map(ShardId).collect()
}

fn object_ids(seqs: Vec<u64>) -> Vec<crate::store::ObjectId> {
    seqs.into_iter().map(object_id).collect()
}

/// What was answered, without the times of the store's clock.
fn timeless(answer: &impl std::fmt::Debug) -> String {
    let answer = format!("{answer:?}");
    let mut parts = answer.split("_ms: ");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        rest.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'));
    }
    rest
}

/// Asks and says what was answered.
async fn ask(store: &dyn MetadataStore, ask: Ask) -> String {
    match ask {
        Ask::Log(ask) => ask_log(store, ask).await,
        Ask::Topics(ask) => ask_topics(store, ask).await,
        Ask::Groups { writes } => {
            let writes = groups(store, writes).await;
            format!("{:?}", store.write_groups(writes).await)
        }
        Ask::Register {
            broker,
            life,
            lease,
        } => {
            let (broker, incarnation) = (BrokerId(broker), Incarnation(life));
            let row = BrokerRow {
                broker,
                incarnation,
                host: "h".to_owned(),
                port: 1,
                rack: None,
            };
            timeless(&store.register_broker(row, lease).await)
        }
        Ask::Heartbeat { life, lease } => {
            let beat = store.heartbeat(Incarnation(life), lease).await;
            timeless(&beat)
        }
        Ask::Leave { life } => format!("{:?}", store.leave(Incarnation(life)).await),
        Ask::Producers { count } => format!("{:?}", store.allocate_producer_ids(count).await),
    }
}

async fn ask_log(store: &dyn MetadataStore, ask: LogAsk) -> String {
    match ask {
        LogAsk::Grant {
            life,
            by,
            wal_dir,
            shards,
        } => {
            let mut request = GrantRequest::own(Incarnation(life), wal_dir, []);
            request.by = Incarnation(by);
            for (shard, slip) in shards {
                let (row, _) = held(store, shard).await;
                let (epoch, life) = fence(&row, slip.unwrap_or(Slip::None));
                let seen = (epoch, row.incarnation.and(Some(life)));
                request.shards.push(AskedShard {
                    shard: row.shard,
                    expecting: slip.map(|_| seen),
                });
            }
            timeless(&store.grant(request).await)
        }
        LogAsk::Commit { object, manifests } => {
            let request = commit(store, object, manifests).await;
            format!("{:?}", store.commit(request).await)
        }
        LogAsk::Checkpoint {
            shard,
            object,
            back,
            prune_back,
            slip,
        } => {
            let (row, _) = held(store, shard).await;
            let (epoch, incarnation) = fence(&row, slip);
            let lsn = Lsn((row.next_lsn.0 + u64::from(slip == Slip::Number)).saturating_sub(back));
            let prune_below = Lsn((lsn.0 + 1).saturating_sub(prune_back));
            let checkpoint = CheckpointRow {
                object: object_id(object),
                lsn,
                bytes: 1,
                state_hash: u64::MAX,
            };
            let key = format!("checkpoint {object}");
            let shard = row.shard;
            let request = SetCheckpoint {
                shard,
                epoch,
                incarnation,
                checkpoint,
                key,
                prune_below,
            };
            format!("{:?}", store.set_checkpoint(request).await)
        }
        LogAsk::Tombstone { objects, at_ms } => {
            format!("{:?}", store.tombstone(&object_ids(objects), at_ms).await)
        }
        LogAsk::Forget { objects } => format!("{:?}", store.forget(&object_ids(objects)).await),
    }
}

async fn ask_topics(store: &dyn MetadataStore, ask: TopicsAsk) -> String {
    match ask {
        TopicsAsk::Create { id, name, shards } => {
            format!(
                "{:?}",
                store.create_topic(topic(id, NAMES[name], &shards)).await
            )
        }
        TopicsAsk::Add {
            id,
            current,
            shards,
        } => {
            let request = AddPartitions {
                topic: TopicId(id),
                current,
                shards: shard_ids(shards),
            };
            format!("{:?}", store.add_partitions(request).await)
        }
        TopicsAsk::Configs { target, changes } => {
            format!("{:?}", store.set_configs(target, changes).await)
        }
        TopicsAsk::Delete { id } => format!("{:?}", store.delete_topic(TopicId(id)).await),
        TopicsAsk::Dropped {
            id,
            shard,
            epoch,
            life,
        } => {
            let drop = RecordedDrop {
                topic: TopicId(id),
                shard: ShardId(shard),
                epoch: LeaderEpoch(epoch),
                incarnation: Incarnation(life),
            };
            format!("{:?}", store.drop_recorded(drop).await)
        }
    }
}

/// All that a store knows.
async fn facts(store: &dyn MetadataStore) -> Vec<String> {
    let shards: Vec<ShardId> = (0..=SHARDS).map(ShardId).collect();
    let mut facts = vec![
        format!("{:?}", store.cluster().await),
        format!("{:?}", store.revisions_since(0, usize::MAX).await),
        format!("{:?}", store.shards().await),
        format!("{:?}", store.objects(None, usize::MAX).await),
        format!("{:?}", store.unreferenced(3).await),
        format!("{:?}", store.tombstones_before(3, 3).await),
        format!("{:?}", store.topics().await),
        format!("{:?}", store.brokers().await),
        timeless(&store.living().await),
        format!("{:?}", store.coordination(&shards).await),
    ];
    for lsn in (0..3).map(Lsn) {
        let name = |shard: &ShardId| CommitName {
            shard: *shard,
            lsn,
            epoch: LeaderEpoch(1),
            incarnation: Incarnation(10),
        };
        let names = shards.iter().map(name).collect();
        facts.push(format!("{:?}", store.resolve(names).await));
    }
    for shard in shards {
        facts.push(format!("{:?}", store.grants(shard).await));
        facts.push(format!("{:?}", store.manifests(shard, Lsn(1), 5).await));
        facts.push(format!("{:?}", store.load_groups(shard).await));
    }
    facts
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (memory, sqlite) = (House::memory(), House::sqlite());
    let specification: Arc<dyn MetadataStore> = memory.started().await;
    let mut store = sqlite.started().await;
    for step in steps {
        match step {
            Step::Wait { days } => {
                for house in [&memory, &sqlite] {
                    house
                        .clock
                        .advance(Duration::from_secs(days * 24 * 60 * 60));
                }
            }
            Step::Reopen => store = sqlite.reopen(store).await,
            Step::Ask(asked) => {
                let expected = ask(&*specification, asked.clone()).await;
                prop_assert_eq!(
                    ask(&*store, asked.clone()).await,
                    expected,
                    "after {:?}",
                    asked
                );
            }
        }
    }
    let store = sqlite.reopen(store).await;
    prop_assert_eq!(facts(&*store).await, facts(&*specification).await);
    Ok(())
}

fn sequences() -> u32 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    SEQUENCES.saturating_mul(scale)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(sequences()) })]

    #[test]
    fn sqlite_answers_as_the_specification_does(
        steps in vec(step(), 1..STEPS_MAX)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}

#[tokio::test]
async fn the_names_of_the_generator_are_legal_and_two_of_them_collide() {
    let keys: std::collections::BTreeSet<String> = NAMES
        .iter()
        .map(|text| name(text).collision_key())
        .collect();
    assert_eq!(keys.len(), NAMES.len() - 1);
}
