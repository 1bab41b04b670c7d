//! Consumer groups: rules one by one, and random lives.

mod classics;
mod following;
mod joining;
mod properties;
mod regexes;
mod statics;
mod stored;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_config::ConsumerAssignor;
use streamhouse_metadata::{Catalogue, Configs, Revision, ShardId, TopicRow, Topics};
use streamhouse_protocol::ids::{PartitionIndex, TopicId};
use streamhouse_protocol::names::{GroupId, TopicName};

use super::*;

const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);

/// A catalogue of topics with their ids and numbers of partitions.
fn catalogue(revision: u64, topics: &[(&str, u128, usize)]) -> Catalogue {
    let row = |(name, id, partitions): &(&str, u128, usize)| TopicRow {
        id: TopicId(*id),
        name: TopicName::new(name).unwrap(),
        partitions: vec![ShardId(0); *partitions],
        configs: Configs::default(),
        created_ms: 0,
    };
    Catalogue::new(Topics {
        revision: Revision {
            number: revision,
            tag: revision,
        },
        topics: topics.iter().map(row).collect(),
        ..Topics::default()
    })
}

fn partitions(topic: u128, indexes: &[i32]) -> Partitions {
    let one = |index: &i32| TopicPartition::new(TopicId(topic), PartitionIndex(*index));
    indexes.iter().map(one).collect()
}

/// A heartbeat that says nothing new.
fn beat(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: GroupId::from("g"),
        member: MemberId::from(member),
        epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: -1,
        names: None,
        regex: None,
        assignor: None,
        owned: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        draws_member_id: true,
    }
}

/// The first heartbeat of a member.
fn join(member: &str, names: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: i32::try_from(REBALANCE.as_millis()).unwrap(),
        names: Some(set(names)),
        owned: Some(Partitions::new()),
        ..beat(member, 0)
    }
}

fn owning(member: &str, epoch: i32, owned: &Partitions) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        owned: Some(owned.clone()),
        ..beat(member, epoch)
    }
}

fn set(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

/// A group, its topics and the time.
#[derive(Debug)]
struct Bench {
    group: ConsumerGroup,
    topics: Catalogue,
    settings: GroupSettings,
    now: Now,
    /// What a restart finds.
    disk: Option<Bytes>,
    stores: usize,
    bytes_left: usize,
}

impl Bench {
    fn with(topics: &[(&str, u128, usize)]) -> Self {
        let now = Now {
            monotonic: Monotonic(Duration::from_secs(1)),
            wall: Timestamp(1_000),
        };
        Self {
            group: ConsumerGroup::new(now),
            topics: catalogue(1, topics),
            settings: GroupSettings::default(),
            now,
            disk: None,
            stores: 0,
            bytes_left: usize::MAX,
        }
    }

    /// One topic `a` with id 1.
    fn of(partitions: usize) -> Self {
        Self::with(&[("a", 1, partitions)])
    }

    fn beat(
        &mut self,
        beat: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError> {
        self.beat_seeing(beat, |_| true)
    }

    fn beat_seeing(
        &mut self,
        beat: &ConsumerHeartbeat,
        may_see: impl Fn(&TopicName) -> bool,
    ) -> Result<ConsumerHeartbeatAnswer, ConsumerHeartbeatError> {
        let context = Context {
            now: self.now,
            settings: &self.settings,
            topics: &self.topics,
            bytes_left: self.bytes_left,
        };
        let regex = self.group.unresolved_regex(beat, context);
        let resolution = regex.map(|regex| {
            let pattern = Pattern::new(&regex).unwrap();
            let resolution = pattern.resolve(&self.topics, self.now.monotonic);
            resolution.visible(&may_see)
        });
        let before = self.group.encode();
        let (result, effects) = self.group.heartbeat(beat, resolution, context);
        if result.is_err() {
            assert_eq!(self.group.encode(), before, "a refusal changes nothing");
        }
        self.note(effects);
        result
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic + time;
        self.now.wall.0 += i64::try_from(time.as_millis()).unwrap();
        let effects = self.group.tick(self.now);
        self.note(effects);
    }

    fn note(&mut self, effects: Effects) {
        if effects.store {
            self.disk = Some(self.group.encode());
            self.stores += 1;
        }
        self.check();
    }

    fn restart(&mut self) {
        self.group = match &self.disk {
            Some(disk) => ConsumerGroup::decode(disk, self.now, &self.settings.consumer).unwrap(),
            None => ConsumerGroup::new(self.now),
        };
        self.check();
    }

    /// What must hold of the state itself.
    fn check(&self) {
        let group = &self.group;
        let mut owners = BTreeMap::new();
        let mut instances = BTreeMap::new();
        let mut bytes = 0;
        for (id, member) in &group.members {
            for partition in member.assigned.iter().chain(&member.revoking) {
                let other = owners.insert(*partition, id.clone());
                assert_eq!(other, None, "{partition} has two owners");
            }
            if let Some(instance) = &member.said.instance {
                instances.insert(Arc::clone(instance), id.clone());
            }
            bytes += member.bytes(id);
            assert!(member.epoch <= group.epoch);
            assert!(group.wake_at.is_some_and(|at| at <= member.due()));
        }
        for (regex, resolution) in &group.resolutions {
            let mut members = group.members.values();
            assert!(members.any(|member| member.said.regex.as_ref() == Some(regex)));
            bytes += resolution.bytes();
        }
        assert_eq!(group.owners, owners);
        assert_eq!(group.instances, instances);
        assert_eq!(group.bytes, bytes);
        assert!(group.assignment_epoch <= group.epoch);
    }

    fn settled(&mut self, members: &[&str]) -> Vec<(i32, Partitions)> {
        let mut known: Vec<(i32, Partitions)> = members
            .iter()
            .map(|member| {
                let member = &self.group.members[&MemberId::from(*member)];
                (member.epoch, member.assigned.clone())
            })
            .collect();
        for _ in 0..4 {
            for (member, (epoch, owned)) in members.iter().zip(&mut known) {
                let answer = self.beat(&owning(member, *epoch, owned)).unwrap();
                *epoch = answer.epoch;
                if let Some(assigned) = answer.assigned {
                    *owned = assigned;
                }
            }
        }
        assert_eq!(self.group.state(), ConsumerGroupState::Stable);
        known
    }
}
