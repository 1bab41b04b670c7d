//! A thousand members that come, go, fall silent, restart under an instance id, commit, and lose their coordinator.

use std::sync::atomic::AtomicBool;

use streamhouse_runtime::Chance;

use super::chaos::Expected;
use super::*;
use crate::group::classic::State;

/// What the members of a group must agree on, and what they may find.
#[derive(Debug, Default)]
struct Seen {
    leaders: BTreeMap<i32, String>,
    /// The offset that each member commits for a partition of its own.
    offsets: BTreeMap<i32, Expected>,
}

/// What every member shares: where the coordinator is, the clock, what was seen, and whether peace has come.
#[derive(Debug)]
struct Sky {
    coordinator: Mutex<Groups>,
    clock: ManualClock,
    seen: Mutex<Seen>,
    is_calm: AtomicBool,
}

/// A consumer: joins, syncs, heartbeats, sometimes leaves or dies, until the storm is over.
async fn consume(sky: Arc<Sky>, seed: u64) {
    let chance = SeededChance::new(seed);
    let instance = (seed.is_multiple_of(5)).then(|| format!("static{seed}"));
    let mut member = MemberId::none();
    loop {
        let groups = sky.coordinator.lock().clone();
        let request = JoinRequest {
            instance: instance.as_deref().map(Into::into),
            requires_known_member_id: seed.is_multiple_of(2),
            can_skip_assignment: seed.is_multiple_of(3),
            ..asks("storm", member.as_str())
        };
        let joined = match groups.join(request).await {
            Ok(joined) => joined,
            Err(JoinError::MemberIdRequired { member: given }) => {
                member = given;
                continue;
            }
            Err(JoinError::UnknownMemberId) => {
                member = MemberId::none();
                continue;
            }
            Err(JoinError::FencedInstanceId) => panic!("{seed} is the only one of its name"),
            Err(_) => {
                pause(&sky.clock, 100).await;
                continue;
            }
        };
        member = joined.member.clone();
        note_join(&sky.seen, &joined);
        let Ok(answer) = groups.sync(syncs_for(&joined)).await else {
            pause(&sky.clock, 100).await;
            continue;
        };
        assert_eq!(
            answer.assignment,
            format!("{}/{}", joined.generation, owner(&joined.member))
        );
        if stay(&sky, &joined, (seed, &chance)).await {
            if instance.is_none() && chance.below(2) == 0 {
                let groups = sky.coordinator.lock().clone();
                let _ = groups.leave(leaves("storm", &member)).await;
            }
            member = MemberId::none();
            pause(&sky.clock, chance.below(5_000)).await;
        }
    }
}

/// Who a member id belongs to: a static member stays the same whatever its member id, which begins with its name.
fn owner(member: &MemberId) -> &str {
    let id = member.as_str();
    if id.starts_with("static") {
        id.split('-').next().unwrap()
    } else {
        id
    }
}

/// Heartbeats and commits until the group rebalances or the member has had enough; says whether it goes.
async fn stay(sky: &Sky, joined: &JoinAnswer, (seed, chance): (u64, &SeededChance)) -> bool {
    loop {
        pause(&sky.clock, 1_000 + chance.below(2_000)).await;
        let groups = sky.coordinator.lock().clone();
        if chance.below(4) == 0 {
            commit(sky, &groups, joined, i32::try_from(seed).unwrap()).await;
        }
        match groups.heartbeat(beats("storm", joined)).await {
            // The coordinator is on its way.
            Ok(()) | Err(HeartbeatError::Coordinator(_)) => {}
            Err(_) => return false,
        }
        if !sky.is_calm.load(Ordering::Relaxed) && chance.below(100) < 3 {
            return true;
        }
    }
}

/// Reads the offset of the member's own partition, and commits the next one.
async fn commit(sky: &Sky, groups: &Groups, joined: &JoinAnswer, index: i32) {
    let request = FetchOffsets {
        group: GroupId::from("storm"),
        member: None,
        epoch: -1,
        partitions: Some(vec![partition(index)]),
    };
    if let Ok(fetched) = groups.fetch_offsets(request).await {
        let read = fetched[0].committed.as_ref().map(|one| one.offset);
        let mut seen = sky.seen.lock();
        let expected = seen.offsets.entry(index).or_default();
        assert!(expected.allows(read), "{read:?} of {expected:?}");
    }
    let offset = {
        let mut seen = sky.seen.lock();
        let expected = seen.offsets.entry(index).or_default();
        expected.issued += 1;
        // It may be there before the answer is.
        expected.uncertain.insert(expected.issued);
        expected.issued
    };
    let mut request = commits("storm", &[(index, offset)]);
    (request.member, request.generation) = (joined.member.clone(), joined.generation);
    let answer = groups.commit_offsets(request).await;
    let mut seen = sky.seen.lock();
    let expected = seen.offsets.entry(index).or_default();
    let may_have_happened = match answer {
        Ok(lines) => {
            assert_eq!(lines, [Ok(())]);
            expected.acknowledged = offset;
            expected.uncertain.clear();
            return;
        }
        Err(CommitError::Coordinator(error)) => {
            error.outcome() == crate::group::Outcome::MayHaveHappened
        }
        Err(_) => false,
    };
    if !may_have_happened {
        expected.uncertain.remove(&offset);
    }
}

async fn pause(clock: &ManualClock, ms: u64) {
    streamhouse_runtime::Clock::sleep(clock, Duration::from_millis(ms)).await;
}

fn syncs_for(joined: &JoinAnswer) -> SyncRequest {
    let generation = joined.generation;
    let lines: Vec<(MemberId, String)> = joined
        .members
        .iter()
        .map(|one| {
            let given = format!("{generation}/{}", owner(&one.member));
            (one.member.clone(), given)
        })
        .collect();
    let lines: Vec<(&MemberId, &str)> = lines.iter().map(|(id, text)| (id, &**text)).collect();
    syncs("storm", joined, &lines)
}

fn note_join(seen: &Mutex<Seen>, joined: &JoinAnswer) {
    let mut seen = seen.lock();
    let known = seen
        .leaders
        .entry(joined.generation)
        .or_insert_with(|| owner(&joined.leader).to_owned());
    assert_eq!(
        *known,
        owner(&joined.leader),
        "two leaders in generation {}",
        joined.generation
    );
}

/// The group as anybody may see it; nothing while it is loading.
async fn look(world: &World) -> (State, Vec<Bytes>) {
    let described = world
        .groups
        .describe(&GroupId::from("storm"))
        .await
        .unwrap()
        .unwrap();
    let assignments = described
        .members
        .into_iter()
        .map(|one| one.assignment)
        .collect();
    (described.state, assignments)
}

/// Another broker takes over in good order: all that was accepted is written first.
async fn hand_over(world: &mut World) {
    for shard in (0..SHARDS).map(ShardId) {
        let groups = world.groups.clone();
        let drained = world.begin(async move { groups.drain(shard).await });
        settle().await;
        drained.await.unwrap();
    }
    world.restart().await;
}

/// Lets a group be joined, left and moved for a while, then waits until it has come to rest with everyone in it.
async fn storm(members: u64, rounds: u32) {
    let mut world = World::with(GroupSettings::default()).await;
    let sky = Arc::new(Sky {
        coordinator: Mutex::new(world.groups.clone()),
        clock: world.clock.clone(),
        seen: Mutex::default(),
        is_calm: AtomicBool::new(false),
    });
    let clients = Tasks::new();
    for seed in 0..members {
        drop(clients.spawn("client", consume(Arc::clone(&sky), seed)));
    }
    for round in 0..rounds {
        for _ in 0..90 {
            world.clock.advance(Duration::from_millis(500));
            settle().await;
        }
        if round % 2 == 0 {
            world.kill().await;
        } else {
            hand_over(&mut world).await;
        }
        *sky.coordinator.lock() = world.groups.clone();
    }
    sky.is_calm.store(true, Ordering::Relaxed);
    for _ in 0..400 {
        world.clock.advance(Duration::from_millis(500));
        settle().await;
        assert!(!clients.has_failed(), "a member saw a broken promise");
        let (state, assignments) = look(&world).await;
        if state == State::Stable && assignments.len() == usize::try_from(members).unwrap() {
            assert!(assignments.iter().all(|one| !one.is_empty()));
            check_offsets(&world, &sky).await;
            return;
        }
    }
    let (state, assignments) = look(&world).await;
    panic!("stuck in {state} with {} members", assignments.len());
}

/// What is committed is what was acknowledged, or what nobody could say of.
async fn check_offsets(world: &World, sky: &Sky) {
    let generations = sky.seen.lock().leaders.len();
    assert!(
        generations > 5,
        "it was no storm: {generations} generations"
    );
    let offsets = std::mem::take(&mut sky.seen.lock().offsets);
    assert!(offsets.values().any(|one| one.acknowledged > 0));
    for (index, expected) in offsets {
        let read = world.offset("storm", index).await;
        assert!(expected.allows(read), "{read:?} of {expected:?}");
    }
}

#[tokio::test]
async fn a_storm_of_members_settles_in_one_generation_with_everyone_in_it() {
    // The one store shows what many members do to a group, the other that a disk keeps all of it.
    if module_path!().contains("memory") {
        storm(1_000, 4).await;
    } else {
        storm(200, 3).await;
    }
}
