//! What a note says, and what it is held against.

use super::*;

fn seen() -> Seen {
    Seen {
        timeline: 1,
        revision: Revision {
            number: 20,
            tag: 0xfeed,
        },
        manifests: 300,
        epochs: 64,
        coordination: 5,
    }
}

#[test]
fn a_note_comes_back_and_none_is_none() {
    let note = seen().encode();
    assert_eq!(Seen::decode(note.clone()).unwrap(), Some(seen()));
    assert_eq!(Seen::decode(Bytes::new()).unwrap(), None);
    for cut in 1..note.len() {
        assert!(Seen::decode(note.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut longer = note.to_vec();
    longer.push(0);
    assert!(Seen::decode(longer.into()).is_err());
}

#[test]
fn a_note_of_a_newer_release_says_so() {
    let mut note = seen().encode().to_vec();
    note[0] = 2;
    assert!(matches!(
        Seen::decode(note.into()),
        Err(FormatError::Newer { needed: 2, .. })
    ));
}

#[test]
fn every_sum_that_went_back_is_named_and_growth_is_none_of_it() {
    assert_eq!(seen().lacks(&seen()), None);
    let grown = Seen {
        manifests: 301,
        epochs: 128,
        coordination: 6,
        ..seen()
    };
    assert_eq!(seen().lacks(&grown), None);
    let lacking = [
        Seen {
            manifests: 299,
            ..grown
        },
        Seen {
            epochs: 63,
            ..grown
        },
        Seen {
            coordination: 4,
            ..grown
        },
    ];
    let named = lacking.map(|now| match seen().lacks(&now) {
        Some(OlderDatabase::Fewer { what, .. }) => what,
        other => panic!("{now:?}: {other:?}"),
    });
    assert_eq!(named, ["manifests", "grants of shards", "writes of groups"]);
}
