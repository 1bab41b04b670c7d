//! Random commits against a store that fails, a coordinator that dies and shards that change hands: an offset that was
//! acknowledged is never lost, one that was refused never appears.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const GROUPS: usize = 3;
const PARTITIONS: i32 = 2;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Commits the next offset of a partition and waits for the answer.
    Commit {
        group: usize,
        partition: i32,
    },
    Fail(Fault),
    /// The coordinator dies without writing what it has.
    Kill,
    /// The coordinator stops in good order.
    Restart,
    /// Another broker takes the shards and writes; then they come back.
    Robbery,
    Pass {
        ms: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let fault = prop_oneof![
        Just(Fault::Refuse),
        Just(Fault::LoseAnswer),
        Just(Fault::LoseRequest),
    ];
    prop_oneof![
        8 => (0..GROUPS, 0..PARTITIONS)
            .prop_map(|(group, partition)| Event::Commit { group, partition }),
        4 => fault.prop_map(Event::Fail),
        1 => Just(Event::Kill),
        1 => Just(Event::Restart),
        1 => Just(Event::Robbery),
        2 => (0..3_000_u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// What may be read of one partition.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) issued: i64,
    pub(super) acknowledged: i64,
    /// Offsets above the acknowledged one whose commit may have happened.
    pub(super) uncertain: BTreeSet<i64>,
}

impl Expected {
    pub(super) fn allows(&self, read: Option<i64>) -> bool {
        match read {
            None => self.acknowledged == 0,
            Some(offset) => offset == self.acknowledged || self.uncertain.contains(&offset),
        }
    }
}

fn name(group: usize) -> String {
    format!("chaos-{group}")
}

async fn commit(world: &World, group: usize, partition: i32, expected: &mut Expected) {
    expected.issued += 1;
    let offset = expected.issued;
    let mut answer = world.begin_commit(commits(&name(group), &[(partition, offset)]));
    settle().await;
    let answer = loop {
        match answer.try_recv() {
            Ok(answer) => break answer,
            Err(_) => world.pass(Duration::from_millis(50)).await,
        }
    };
    match answer {
        Ok(_) => {
            expected.acknowledged = offset;
            expected.uncertain.clear();
        }
        Err(CommitError::Coordinator(error)) => match error.outcome() {
            crate::group::Outcome::DidNotHappen => {}
            crate::group::Outcome::MayHaveHappened => {
                expected.uncertain.insert(offset);
            }
        },
        Err(error) => panic!("{error}"),
    }
}

/// The shards leave and come back; in between somebody else wrote to each.
async fn rob(world: &mut World) {
    for grant in world.grant_all(Incarnation(u128::MAX)).await {
        let write = CoordinationWrite {
            shard: grant.shard,
            epoch: grant.epoch,
            incarnation: grant.incarnation,
            seq: world
                .store
                .coordination_seq(grant.shard)
                .await
                .unwrap()
                .unwrap(),
            changes: Vec::new(),
        };
        world.store.write_groups(vec![write]).await.unwrap();
    }
    settle().await;
    world.take_all().await;
}

async fn live(events: Vec<Event>) {
    let mut world = World::new().await;
    let mut expected = BTreeMap::<(usize, i32), Expected>::new();
    for event in events {
        match event {
            Event::Commit { group, partition } => {
                let expected = expected.entry((group, partition)).or_default();
                commit(&world, group, partition, expected).await;
            }
            Event::Fail(fault) => world.fail_next(fault),
            Event::Kill => world.kill().await,
            Event::Restart => world.restart().await,
            Event::Robbery => rob(&mut world).await,
            Event::Pass { ms } => world.pass(Duration::from_millis(ms)).await,
        }
        for ((group, partition), expected) in &expected {
            let read = world.offset(&name(*group), *partition).await;
            assert!(
                expected.allows(read),
                "{group}-{partition}: {read:?}, {expected:?}"
            );
        }
        assert!(!world.tasks.has_failed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::scale::cases(150)))]

    #[test]
    fn acknowledged_offsets_stay_and_refused_ones_never_appear(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(events));
    }
}
