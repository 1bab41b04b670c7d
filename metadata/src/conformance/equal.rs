//! The law of laws: whatever is asked in whatever order, SQLite and PostgreSQL answer as the specification in memory
//! does, and know the same facts afterwards, re-opened at any point.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch, TopicId};

use super::topics::{name, topic};
use super::{House, SHARDS, object, object_id};
use crate::store::{
    AddPartitions, AskedShard, BrokerRow, CheckpointRow, Commit, CommitName, CoordinationWrite,
    GrantRequest, GroupChange, Incarnation, Lsn, ManifestCommit, MetadataStore, RecordedDrop,
    SetCheckpoint, ShardId, ShardRow, WalEnd,
};

mod steps;

use steps::{Ask, LogAsk, Manifest, Slip, Step, TopicsAsk, step};

/// How many sequences are tried, times `STREAMHOUSE_TEST_SCALE`.
const SEQUENCES: u32 = 40;

/// As [`SEQUENCES`], over a connection and with a schema made for each.
const SEQUENCES_ON_A_SERVER: u32 = 10;

/// How long a sequence is.
const STEPS_MAX: usize = 50;

const NAMES: [&str; 4] = ["a", "a.b", "a_b", "c"];

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

/// What was answered, without the times and the timeline of the store's server.
fn timeless(answer: &impl std::fmt::Debug) -> String {
    let answer = format!("{answer:?}");
    let mut kept = String::new();
    for (index, part) in answer.split(": ").enumerate() {
        let of_server = kept.ends_with("_ms") || kept.ends_with("timeline");
        let number = |c: char| c.is_ascii_digit() || c == '-';
        if index > 0 {
            kept.push_str(": ");
        }
        kept.push_str(if of_server {
            part.trim_start_matches(number)
        } else {
            part
        });
    }
    kept
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
                endpoints: Vec::new(),
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
        timeless(&store.shards().await),
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
        facts.push(timeless(&store.resolve(names).await));
    }
    for shard in shards {
        facts.push(timeless(&store.grants(shard).await));
        facts.push(format!("{:?}", store.manifests(shard, Lsn(1), 5).await));
        facts.push(format!("{:?}", store.load_groups(shard).await));
    }
    facts
}

async fn run(steps: Vec<Step>, tested: Option<House>) -> Result<(), TestCaseError> {
    let (Some(memory), Some(tested)) = (House::memory(), tested) else {
        return Ok(());
    };
    let specification: Arc<dyn MetadataStore> = memory.started().await;
    let mut store = tested.started().await;
    for step in steps {
        match step {
            Step::Wait { .. } if tested.is_a_server => {}
            Step::Wait { days } => {
                for house in [&memory, &tested] {
                    house
                        .clock
                        .advance(Duration::from_secs(days * 24 * 60 * 60));
                }
            }
            Step::Reopen => store = tested.reopen(store).await,
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
    let store = tested.reopen(store).await;
    prop_assert_eq!(facts(&*store).await, facts(&*specification).await);
    Ok(())
}

fn sequences(count: u32) -> u32 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    count.saturating_mul(scale)
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(sequences(count))
    }
}

fn block_on(run: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run)
}

proptest! {
    #![proptest_config(cases(SEQUENCES))]

    #[test]
    fn sqlite_answers_as_the_specification_does(steps in vec(step(), 1..STEPS_MAX)) {
        block_on(run(steps, House::sqlite()))?;
    }
}

proptest! {
    #![proptest_config(cases(SEQUENCES_ON_A_SERVER))]

    #[test]
    fn postgres_answers_as_the_specification_does(steps in vec(step(), 1..STEPS_MAX)) {
        block_on(run(steps, House::postgres()))?;
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
