//! What `group seek` reads and shows.

use super::{Moved, Selection, text};

#[test]
fn a_selection_is_a_topic_or_some_of_its_partitions() {
    let read = |text: &str| text.parse::<Selection>();
    let all = Selection {
        topic: "t".to_owned(),
        partitions: Vec::new(),
    };
    let some = Selection {
        partitions: vec![0, 12],
        ..all.clone()
    };
    assert_eq!(read("t"), Ok(all));
    assert_eq!(read("t:0,12"), Ok(some));
    for wrong in ["", ":0", "t:", "t:a", "t:-1", "t:1,,2", "t:1:2"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_was_committed_before_is_shown() {
    let moved = |partition, before, after| Moved {
        topic: "t".to_owned(),
        partition,
        before,
        after,
    };
    assert_eq!(
        text(&[moved(0, Some(7), 10), moved(1, None, 0)]),
        "TOPIC  PARTITION  BEFORE  AFTER\n\
         t              0       7     10\n\
         t              1       -      0\n"
    );
}
