//! The stored form: what comes back after a restart, and bytes that are not ours.

use proptest::prelude::*;

use super::*;

fn reload(bench: &Bench) -> Result<Group, StoredGroupError> {
    let context = Context {
        now: bench.now,
        settings: &bench.settings,
    };
    Group::decode(&bench.group.encode(), context)
}

fn restarted(mut bench: Bench) -> Bench {
    bench.group = reload(&bench).unwrap();
    bench
}

#[test]
fn a_stable_group_comes_back_as_it_was() {
    let bench = Bench::stable(&["c", "a", "b"]);
    let before = (
        bench.group.describe(),
        bench.group.generation(),
        bench.group.bytes,
    );
    let mut bench = restarted(bench);
    assert_eq!(
        before,
        (
            bench.group.describe(),
            bench.group.generation(),
            bench.group.bytes
        )
    );
    let ticket = bench.sync("b", &[]);
    assert_eq!(bench.assignment(ticket), b"b");
    bench.join(asks("a"));
    assert_eq!(bench.group.state(), State::Stable, "a is still a follower");
    bench.join(asks("c"));
    assert_eq!(
        bench.group.state(),
        State::PreparingRebalance,
        "c is still the leader"
    );
}

#[test]
fn sessions_start_afresh_and_still_end() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.pass(Duration::from_secs(9));
    let mut bench = restarted(bench);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.heartbeat("a"), Ok(()));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.heartbeat("b"), Err(HeartbeatError::UnknownMemberId));
}

#[test]
fn a_generation_that_was_not_synced_is_synced_after_the_restart() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let mut bench = restarted(bench);
    let follower = bench.sync("b", &[]);
    let leader = bench.sync("a", &["a", "b"]);
    assert_eq!(bench.assignment(leader), b"a");
    assert_eq!(bench.assignment(follower), b"b");
}

#[test]
fn a_leader_that_never_syncs_after_the_restart_does_not_hold_up_the_others() {
    let mut bench = Bench::new();
    bench.completing(&["a", "b"]);
    let mut bench = restarted(bench);
    let parked = bench.sync("b", &[]);
    for _ in 0..12 {
        assert!(!bench.syncs.contains_key(&parked));
        assert_eq!(bench.heartbeat("a"), Ok(()));
        bench.pass(Duration::from_secs(5));
    }
    assert_eq!(bench.syncs[&parked], Err(SyncError::RebalanceInProgress));
    assert_eq!(bench.heartbeat("a"), Err(HeartbeatError::UnknownMemberId));
}

#[test]
fn an_empty_group_remembers_its_generation_and_since_when() {
    let mut bench = Bench::stable(&["a"]);
    bench.leave(&["a"]);
    let before = (bench.group.generation(), bench.group.empty_since());
    bench.pass(Duration::from_secs(1_000));
    let mut bench = restarted(bench);
    assert_eq!(
        before,
        (bench.group.generation(), bench.group.empty_since())
    );
    assert_eq!(bench.group.state(), State::Empty);
    let ticket = bench.join(asks(""));
    assert_eq!(bench.joined(ticket).generation, before.0 + 1);
}

#[test]
fn a_later_format_is_named() {
    let bench = Bench::stable(&["a"]);
    let mut bytes = bench.group.encode().to_vec();
    bytes[0] = 2;
    let context = Context {
        now: bench.now,
        settings: &bench.settings,
    };
    let error = Group::decode(&bytes, context).unwrap_err();
    assert_eq!(error, StoredGroupError::UnknownVersion(2));
}

#[test]
fn the_stored_form_does_not_change() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    bench.sync("a", &["a"]);
    let expect: &[u8] = b"\x01\x02\0\0\0\x01\0\0\0\0\0\x0f\x42\x40\
        \0\0\0\x08consumer\0\0\0\x05range\0\0\0\x01a\0\0\0\x01\
        \0\0\0\x01a\xff\xff\xff\xff\0\0\0\x06client\0\0\0\x0a/127.0.0.1\
        \0\0\x27\x10\0\0\xea\x60\0\0\0\x01a\0\0\0\x01\0\0\0\x05range\0\0\0\x05topic";
    assert_eq!(bench.group.encode(), expect);
}

#[test]
fn every_cut_and_every_tail_is_noticed() {
    let bench = Bench::stable(&["a", "b"]);
    let bytes = bench.group.encode();
    let context = Context {
        now: bench.now,
        settings: &bench.settings,
    };
    for end in 0..bytes.len() {
        let error = Group::decode(&bytes[..end], context).unwrap_err();
        assert_eq!(error, StoredGroupError::CutShort, "{end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        Group::decode(&longer, context).unwrap_err(),
        StoredGroupError::TooLong
    );
}

#[test]
fn contradictions_are_noticed() {
    let mut bench = Bench::new();
    bench.completing(&["a"]);
    let context = Context {
        now: bench.now,
        settings: &bench.settings,
    };
    for (position, byte) in [(1, 0), (1, 3), (2, 0x80)] {
        let mut bytes = bench.group.encode().to_vec();
        bytes[position] = byte;
        let error = Group::decode(&bytes, context).unwrap_err();
        assert_eq!(error, StoredGroupError::Contradiction, "{position}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::scale::cases(256)))]

    #[test]
    fn hostile_bytes_are_refused_or_read_but_never_break_anything(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let bench = Bench::stable(&["a", "b", "c"]);
        let mut bytes = bench.group.encode().to_vec();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let context = Context { now: bench.now, settings: &bench.settings };
        if let Ok(group) = Group::decode(&bytes, context) {
            let mut bench = Bench { group, ..bench };
            bench.join(asks(""));
            bench.pass(Duration::from_secs(120));
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bench = Bench::new();
        let context = Context { now: bench.now, settings: &bench.settings };
        prop_assert!(Group::decode(&bytes, context).is_err());
    }
}
