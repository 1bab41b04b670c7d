//! Two hundred members that come, go, fall silent and lose their coordinator.

use std::sync::atomic::AtomicBool;

use streamhouse_runtime::Chance;

use super::*;
use crate::group::classic::State;

const MEMBERS: u64 = 200;

/// What the members of a group must agree on.
#[derive(Debug, Default)]
struct Seen {
    leaders: BTreeMap<i32, MemberId>,
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
    let mut member = MemberId::none();
    loop {
        let groups = sky.coordinator.lock().clone();
        let request = JoinRequest {
            requires_known_member_id: seed.is_multiple_of(2),
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
            format!("{}/{}", joined.generation, joined.member)
        );
        if stay(&sky, &joined, &chance).await {
            if chance.below(2) == 0 {
                let groups = sky.coordinator.lock().clone();
                let _ = groups.leave(leaves("storm", &member)).await;
            }
            member = MemberId::none();
            pause(&sky.clock, chance.below(5_000)).await;
        }
    }
}

/// Heartbeats until the group rebalances or the member has had enough; says whether it goes.
async fn stay(sky: &Sky, joined: &JoinAnswer, chance: &SeededChance) -> bool {
    loop {
        pause(&sky.clock, 1_000 + chance.below(2_000)).await;
        let groups = sky.coordinator.lock().clone();
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

async fn pause(clock: &ManualClock, ms: u64) {
    streamhouse_runtime::Clock::sleep(clock, Duration::from_millis(ms)).await;
}

fn syncs_for(joined: &JoinAnswer) -> SyncRequest {
    let generation = joined.generation;
    let lines: Vec<(MemberId, String)> = joined
        .members
        .iter()
        .map(|one| (one.member.clone(), format!("{generation}/{}", one.member)))
        .collect();
    let lines: Vec<(&MemberId, &str)> = lines.iter().map(|(id, text)| (id, &**text)).collect();
    syncs("storm", joined, &lines)
}

fn note_join(seen: &Mutex<Seen>, joined: &JoinAnswer) {
    let mut seen = seen.lock();
    let known = seen
        .leaders
        .entry(joined.generation)
        .or_insert_with(|| joined.leader.clone());
    assert_eq!(
        *known, joined.leader,
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

#[tokio::test]
async fn a_storm_of_members_settles_in_one_generation_with_everyone_in_it() {
    let mut world = World::with(GroupSettings::default()).await;
    let sky = Arc::new(Sky {
        coordinator: Mutex::new(world.groups.clone()),
        clock: world.clock.clone(),
        seen: Mutex::default(),
        is_calm: AtomicBool::new(false),
    });
    let clients = Tasks::new();
    for seed in 0..MEMBERS {
        drop(clients.spawn("client", consume(Arc::clone(&sky), seed)));
    }
    for _ in 0..3 {
        for _ in 0..120 {
            world.clock.advance(Duration::from_millis(500));
            settle().await;
        }
        world.kill().await;
        *sky.coordinator.lock() = world.groups.clone();
    }
    sky.is_calm.store(true, Ordering::Relaxed);
    for _ in 0..400 {
        world.clock.advance(Duration::from_millis(500));
        settle().await;
        assert!(!clients.has_failed(), "a member saw a broken promise");
        let (state, assignments) = look(&world).await;
        if state == State::Stable && assignments.len() == usize::try_from(MEMBERS).unwrap() {
            assert!(assignments.iter().all(|one| !one.is_empty()));
            let generations = sky.seen.lock().leaders.len();
            assert!(
                generations > 5,
                "it was no storm: {generations} generations"
            );
            return;
        }
    }
    let (state, assignments) = look(&world).await;
    panic!("stuck in {state} with {} members", assignments.len());
}
