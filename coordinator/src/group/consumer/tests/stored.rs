//! The stored form: what comes back, and what is refused.

use proptest::prelude::*;

use super::super::super::classic::StoredGroupError;
use super::*;
use crate::scale::cases;

fn stored() -> (Bench, Bytes) {
    let mut bench = Bench::with(&[("a", 1, 3), ("b", 2, 2)]);
    let full = ConsumerHeartbeat {
        instance: Some("i".into()),
        rack: Some("r".into()),
        regex: Some("b".into()),
        assignor: Some("range".into()),
        ..join("m", &["a", "none"])
    };
    bench.beat(&full).unwrap();
    bench.beat(&join("n", &["a"])).unwrap();
    bench.beat(&beat("m", 1)).unwrap();
    let bytes = bench.group.encode();
    (bench, bytes)
}

#[test]
fn what_is_stored_comes_back_as_it_was() {
    let (bench, bytes) = stored();
    assert!(is_consumer_group(&bytes));
    let back = ConsumerGroup::decode(&bytes, bench.now, &bench.settings.consumer).unwrap();
    assert_eq!(back.encode(), bytes);
    assert_eq!(
        back.describe(&bench.settings),
        bench.group.describe(&bench.settings)
    );
    assert_eq!(back.state(), bench.group.state());
}

#[test]
fn sessions_and_revocations_start_afresh() {
    let (mut bench, bytes) = stored();
    bench.disk = Some(bytes);
    bench.pass(Duration::from_secs(40));
    bench.restart();
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.group.member_count(), 2);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.group.member_count(), 0);
}

#[test]
fn the_format_stays_as_it_is() {
    let mut bench = Bench::of(1);
    bench.beat(&join("m", &["a"])).unwrap();
    let bytes = bench.group.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "81",                                       // version
        "0000000100000001",                         // epochs
        "HASH",                                     // topics hash
        "00000000000003e8",                         // empty since
        "0000000100000000000000000000000000000001", // topic ids
        "000000010000000161",                       // texts
        "00000000",                                 // resolutions
        "00000001000000016d",                       // members: m
        "ffffffffffffffff",                         // instance, rack
        "00000006636c69656e74",                     // client id
        "0000000a2f3132372e302e302e31",             // client host
        "0000ea60",                                 // rebalance timeout
        "0000000100000000",                         // names
        "ffffffff00",                               // regex, assignor
        "000000010000000000",                       // epochs, state
        "00000001000000000000000100000000",         // assigned
        "00000000",                                 // revoking
        "00000001000000000000000100000000",         // target
    );
    let hash = format!("{:016x}", bench.group.topics_hash);
    assert_eq!(hex, expected.replace("HASH", &hash));
}

#[test]
fn classic_groups_and_later_formats_are_told_apart() {
    assert!(!is_consumer_group(&[1]));
    assert!(!is_consumer_group(&[]));
    let (bench, bytes) = stored();
    let mut later = bytes.to_vec();
    later[0] = 131;
    let read = ConsumerGroup::decode(&later, bench.now, &bench.settings.consumer);
    assert_eq!(read.unwrap_err(), StoredGroupError::UnknownVersion(131));
}

#[test]
fn every_cut_is_noticed() {
    let (bench, bytes) = stored();
    for end in 0..bytes.len() {
        let read = ConsumerGroup::decode(&bytes[..end], bench.now, &bench.settings.consumer);
        assert!(read.is_err(), "{end}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    let read = ConsumerGroup::decode(&longer, bench.now, &bench.settings.consumer);
    assert_eq!(read.unwrap_err(), StoredGroupError::TooLong);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(512)))]

    #[test]
    fn damaged_bytes_are_refused_or_make_a_sound_group(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (mut bench, bytes) = stored();
        let mut damaged = bytes.to_vec();
        let place = place.index(damaged.len());
        damaged[place] = byte;
        if let Ok(group) = ConsumerGroup::decode(&damaged, bench.now, &bench.settings.consumer) {
            bench.group = group;
            // Regexes and names may be others; what counts must not be.
            let members: Vec<MemberId> = bench.group.members.keys().cloned().collect();
            for member in members {
                let _ = bench.group.remove(&member);
            }
            prop_assert!(bench.group.owners.is_empty());
        }
    }
}
