//! Keys keep their spelling and spread over the shards.

use proptest::prelude::*;

use super::{KEY_SHARDS, ObjectId, ObjectKey, ObjectKind};

#[test]
fn a_key_has_the_documented_spelling() {
    let id = ObjectId {
        incarnation: 0xc0_ffee,
        seq: 42,
        attempt: 1,
    };
    let spelled = id.key(ObjectKind::L0).to_string();
    // On disk: another hash would hide every object written before.
    assert_eq!(
        spelled,
        "1e/00000000000000000000000000c0ffee/000000000000002a-00000001.l0"
    );
}

#[test]
fn consecutive_objects_spread_over_all_shards() {
    let mut counts = vec![0_u32; usize::from(KEY_SHARDS)];
    for seq in 0..25_600 {
        let id = ObjectId {
            incarnation: 0x1234_5678_9abc_def0,
            seq,
            attempt: 0,
        };
        counts[usize::from(id.key_shard())] += 1;
    }
    assert!(
        counts.iter().all(|count| (50..=200).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn paths_that_are_not_keys_are_refused() {
    let id = ObjectId {
        incarnation: 0xab,
        seq: 1,
        attempt: 0,
    };
    let good = id.key(ObjectKind::Checkpoint).to_string();
    let shard = &good[..2];
    let other_shard = if shard == "00" { "01" } else { "00" };
    for bad in [
        String::new(),
        "lost+found".to_owned(),
        good.to_uppercase(),
        format!("{good}#1"),
        format!("{good}/x"),
        format!("/{good}"),
        good.replacen(shard, other_shard, 1),
        good.replace("checkpoint", "unknown"),
        good.replace("-0", "-+0"),
    ] {
        assert!(ObjectKey::parse(&bad).is_err(), "{bad}");
    }
    assert!(ObjectKey::parse(&good).is_ok());
}

proptest! {
    #[test]
    fn every_key_reads_back(incarnation: u128, seq: u64, attempt: u32, kind in 0..ObjectKind::ALL.len()) {
        let key = ObjectId { incarnation, seq, attempt }.key(ObjectKind::ALL[kind]);
        prop_assert_eq!(ObjectKey::parse(&key.to_string()), Ok(key));
        let path = key.path();
        prop_assert_eq!(path.as_ref(), key.to_string());
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,120}") {
        if let Ok(key) = ObjectKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}
