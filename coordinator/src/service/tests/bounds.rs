//! What strangers may cost: names, numbers of groups, bytes of members and offsets.

use super::*;

/// A world whose groups may hold this many bytes together.
pub(super) async fn small(bytes_max: usize) -> World {
    World::with(GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        bytes_max,
        ..Default::default()
    })
    .await
}

pub(super) fn overloaded<T, E: From<CoordinatorError>>() -> Result<T, E> {
    Err(CoordinatorError::Overloaded.into())
}

/// What all groups hold.
pub(super) fn bytes(world: &World) -> usize {
    world.groups.inner.served.lock().bytes()
}

/// Commits one offset with a note of this length.
async fn note(world: &World, group: &str, index: i32, length: usize) -> Committed {
    let mut commit = commits(group, &[(index, 1)]);
    commit.offsets[0].metadata = "n".repeat(length).into();
    world.groups.commit_offsets(commit).await
}

#[tokio::test]
async fn names_of_groups_are_any_text_of_a_kibibyte() {
    let mut world = World::new().await;
    let longest = "g".repeat(1_024);
    let names = ["\0", "a\nb", "../..", "'; --", " ", "grüße 🦀", &longest];
    for name in names {
        let joined = world.alone(name).await;
        let mut commit = commits(name, &[(0, 1)]);
        (commit.member, commit.generation) = (joined.member.clone(), 1);
        assert_eq!(world.groups.commit_offsets(commit).await, Ok(vec![Ok(())]));
    }
    world.kill().await;
    for name in names {
        assert_eq!(world.offset(name, 0).await, Some(1), "{name:?}");
        let described = world.groups.describe(&GroupId::from(name)).await.unwrap();
        assert_eq!(described.unwrap().members.len(), 1, "{name:?}");
    }
    let too_long = "g".repeat(1_025);
    let join = world.groups.join(asks(&too_long, "")).await;
    assert_eq!(join, Err(JoinError::InvalidGroupId));
    let commit = world
        .groups
        .commit_offsets(commits(&too_long, &[(0, 1)]))
        .await;
    assert_eq!(commit, Err(CommitError::InvalidGroupId));
}

#[tokio::test]
async fn a_client_that_joins_a_thousand_groups_costs_what_it_may_and_harms_no_other() {
    let world = small(300_000).await;
    let joined = world.alone("mine").await;
    let mut commit = commits("mine", &[(0, 1)]);
    (commit.member, commit.generation) = (joined.member.clone(), 1);
    world.groups.commit_offsets(commit.clone()).await.unwrap();
    let mut taken = 0;
    for number in 0..1_000 {
        let request = JoinRequest {
            requires_known_member_id: number % 2 == 0,
            ..asks(&format!("theirs-{number}"), "")
        };
        match world.groups.join(request).await {
            Ok(_) | Err(JoinError::MemberIdRequired { .. }) => taken += 1,
            refused => assert_eq!(refused, overloaded()),
        }
    }
    assert!((100..300).contains(&taken), "{taken}");
    assert!(bytes(&world) <= 300_000);
    let groups = &world.groups;
    assert_eq!(groups.heartbeat(beats("mine", &joined)).await, Ok(()));
    commit.offsets[0].offset = 2;
    assert_eq!(groups.commit_offsets(commit).await, Ok(vec![Ok(())]));
    let again = groups
        .join(asks("mine", joined.member.as_str()))
        .await
        .unwrap();
    assert_eq!(again.generation, 2);
    let synced = groups
        .sync(syncs("mine", &again, &[(&again.member, "all")]))
        .await;
    assert_eq!(synced.unwrap().assignment, "all");
    // What was handed out and joined goes when its sessions end, and its groups with the next sweep.
    world.pass_slowly(Duration::from_secs(20)).await;
    groups.inner.expire_offsets();
    settle().await;
    assert!(groups.join(asks("theirs", "")).await.is_ok());
    assert!(bytes(&world) < 10_000, "{}", bytes(&world));
}

#[tokio::test]
async fn offsets_are_bounded_and_those_that_are_there_go_on() {
    let world = small(20_000).await;
    let mut taken = 0;
    while note(&world, "g", taken, 1_000).await.is_ok() {
        taken += 1;
    }
    assert!((10..20).contains(&taken), "{taken}");
    assert_eq!(note(&world, "g", taken, 1_000).await, overloaded());
    assert_eq!(note(&world, "g", 0, 4_000).await, overloaded());
    assert_eq!(note(&world, "g", 0, 999).await, Ok(vec![Ok(())]));
    assert!(bytes(&world) <= 20_000);
    let full = bytes(&world);
    world.groups.delete(&GroupId::from("g")).await.unwrap();
    assert_eq!(bytes(&world), 0, "of {full}");
}

#[tokio::test]
async fn assignments_are_bounded_and_have_room_of_their_own() {
    let world = small(20_000).await;
    let joined = world.groups.join(asks("g", "")).await.unwrap();
    let mut taken = 0;
    while note(&world, "o", taken, 1_000).await.is_ok() {
        taken += 1;
    }
    let large = "x".repeat(10_000);
    let given = [(&joined.member, large.as_str())];
    let refused = world.groups.sync(syncs("g", &joined, &given)).await;
    assert_eq!(refused, overloaded());
    let given = [(&joined.member, &large[..4_000])];
    let synced = world.groups.sync(syncs("g", &joined, &given)).await;
    assert_eq!(synced.unwrap().assignment.len(), 4_000);
}

#[tokio::test]
async fn what_groups_hold_is_counted_again_after_a_restart() {
    let mut world = World::new().await;
    let joined = world.alone("g").await;
    world
        .groups
        .commit_offsets(commits("o", &[(0, 1), (1, 1)]))
        .await
        .unwrap();
    let before = bytes(&world);
    world.restart().await;
    assert_eq!(bytes(&world), before);
    world
        .groups
        .leave(leaves("g", &joined.member))
        .await
        .unwrap();
    for group in ["g", "o"] {
        world.groups.delete(&GroupId::from(group)).await.unwrap();
    }
    assert_eq!(bytes(&world), 0);
}
