//! The steps of which sequences are made, and how they are drawn.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use streamhouse_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

use super::NAMES;
use crate::conformance::SHARDS;
use crate::store::{ConfigChange, ConfigTarget, GroupChange, GroupRow, OffsetKey, OffsetRow};

/// One step of a sequence.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Ask(Ask),
    Wait { days: u64 },
    Reopen,
}

/// One request, in small numbers: what is right is mostly taken from the store, so that most requests succeed.
#[derive(Clone, Debug)]
pub(super) enum Ask {
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
pub(super) enum LogAsk {
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
pub(super) enum TopicsAsk {
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
pub(super) struct Manifest {
    pub(super) shard: u32,
    pub(super) slip: Slip,
    pub(super) released: Vec<u64>,
    pub(super) position: Option<u64>,
    pub(super) clears_wal_dir: bool,
}

/// How a fenced request differs from a right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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
