//! The laws of the object store, for every store. Each law is named once in [`conformance`] and becomes one test per
//! store.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;

use super::rig::{key, listed, pattern, settle};
use super::{CreateError, GetError, ObjectClass, ObjectId, ObjectKind, Objects};

const MIB: usize = 1024 * 1024;
const CLASS: ObjectClass = ObjectClass::Flush;

/// One test per law; `$open` gives an empty store and whatever must live as long as it.
macro_rules! conformance {
    ($open:path) => {
        $crate::objects::conformance::conformance! { @laws $open;
            a_stored_object_is_read_and_listed_at_once
            an_object_of_pieces_is_their_sum
            an_empty_object_is_an_object
            every_range_is_exact
            a_range_behind_the_end_is_short
            the_end_of_an_object_is_read_with_its_size
            a_missing_object_is_not_found
            a_streamed_object_is_whole_at_every_size
            an_unfinished_object_is_invisible
            an_aborted_object_is_invisible
            storing_the_same_again_changes_nothing
            of_many_that_create_an_object_one_succeeds
            deleting_twice_succeeds
            a_listing_is_complete_and_in_order_of_keys
            a_listing_of_an_incarnation_holds_only_its_objects
        }
    };
    (@laws $open:path; $($law:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $law() {
            let (objects, _alive) = $open();
            $crate::objects::conformance::$law(objects).await;
        })*
    };
}
pub(super) use conformance;

pub(super) async fn a_stored_object_is_read_and_listed_at_once(objects: Objects) {
    let body = pattern(100_000, 1);
    objects
        .put(&key(1), CLASS, vec![body.clone()])
        .await
        .expect("stored");
    assert_eq!(
        objects
            .get_range(&key(1), 0..100_000, CLASS)
            .await
            .expect("read"),
        body
    );
    assert_eq!(objects.size(&key(1), CLASS).await.expect("size"), 100_000);
    let found = listed(&objects).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key, found[0].bytes), (key(1), 100_000));
    assert!(
        found[0].modified_ms > 1_600_000_000_000,
        "{}",
        found[0].modified_ms
    );
}

pub(super) async fn the_end_of_an_object_is_read_with_its_size(objects: Objects) {
    let body = pattern(100_000, 3);
    let stored = objects.put(&key(1), CLASS, vec![body.clone()]).await;
    stored.expect("stored");
    for wanted in [1, 99_999, 100_000, 100_001, 10_000_000] {
        let tail = objects
            .get_tail(&key(1), wanted, CLASS)
            .await
            .expect("read");
        let start = 100_000_u64.saturating_sub(wanted);
        assert_eq!((tail.object_bytes, tail.start()), (100_000, start));
        assert_eq!(
            tail.bytes,
            body.slice(usize::try_from(start).expect("small")..)
        );
    }
    let missing = objects.get_tail(&key(2), 10, CLASS).await;
    assert!(
        matches!(missing, Err(GetError::NotFound { .. })),
        "{missing:?}"
    );
    objects.put(&key(3), CLASS, vec![]).await.expect("stored");
    let empty = objects.get_tail(&key(3), 10, CLASS).await;
    assert!(matches!(empty, Err(GetError::Short { .. })), "{empty:?}");
}

pub(super) async fn an_object_of_pieces_is_their_sum(objects: Objects) {
    let body = pattern(1_000, 2);
    let pieces = vec![
        body.slice(..1),
        Bytes::new(),
        body.slice(1..500),
        body.slice(500..),
    ];
    objects.put(&key(1), CLASS, pieces).await.expect("stored");
    assert_eq!(
        objects
            .get_range(&key(1), 0..1_000, CLASS)
            .await
            .expect("read"),
        body
    );
}

pub(super) async fn an_empty_object_is_an_object(objects: Objects) {
    objects
        .put(&key(1), CLASS, Vec::new())
        .await
        .expect("stored");
    assert_eq!(
        objects
            .writer(&key(2), CLASS)
            .finish()
            .await
            .expect("stored"),
        0
    );
    assert_eq!(objects.size(&key(1), CLASS).await.expect("size"), 0);
    assert_eq!(listed(&objects).await.len(), 2);
}

pub(super) async fn every_range_is_exact(objects: Objects) {
    let body = pattern(64, 3);
    objects
        .put(&key(1), CLASS, vec![body.clone()])
        .await
        .expect("stored");
    for start in 0..=64_usize {
        for end in start..=64_usize {
            let range = start as u64..end as u64;
            let read = objects
                .get_range(&key(1), range, CLASS)
                .await
                .expect("read");
            assert_eq!(read, body.slice(start..end), "{start}..{end}");
        }
    }
}

pub(super) async fn a_range_behind_the_end_is_short(objects: Objects) {
    objects
        .put(&key(1), CLASS, vec![pattern(64, 4)])
        .await
        .expect("stored");
    let beyond = objects.get_range(&key(1), 60..70, CLASS).await;
    assert!(
        matches!(
            beyond,
            Err(GetError::Short {
                wanted: 10,
                got: 4,
                ..
            })
        ),
        "{beyond:?}"
    );
}

pub(super) async fn a_missing_object_is_not_found(objects: Objects) {
    let read = objects.get_range(&key(1), 0..1, CLASS).await;
    assert!(matches!(read, Err(GetError::NotFound { .. })), "{read:?}");
    let size = objects.size(&key(1), CLASS).await;
    assert!(matches!(size, Err(GetError::NotFound { .. })), "{size:?}");
    assert_eq!(listed(&objects).await, []);
}

pub(super) async fn a_streamed_object_is_whole_at_every_size(objects: Objects) {
    let part = objects.inner.part_bytes;
    for (seq, len) in (0..).zip([1, part - 1, part, part + 1, 2 * part + 77]) {
        let body = pattern(len, seq);
        let mut writer = objects.writer(&key(seq), CLASS);
        let mut rest = body.clone();
        // Small, odd and large pieces.
        for piece in [1, 4_095, 70_000, 900_001].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            writer
                .write(rest.split_to(piece.min(rest.len())))
                .await
                .expect("written");
        }
        assert_eq!(writer.written(), len as u64);
        assert_eq!(writer.finish().await.expect("finished"), len as u64);
        assert_eq!(
            objects
                .get_range(&key(seq), 0..len as u64, CLASS)
                .await
                .expect("read"),
            body
        );
    }
}

pub(super) async fn an_unfinished_object_is_invisible(objects: Objects) {
    let mut writer = objects.writer(&key(1), CLASS);
    for salt in 0..17 {
        writer.write(pattern(MIB, salt)).await.expect("written");
        assert_eq!(listed(&objects).await, []);
    }
    let size = objects.size(&key(1), CLASS).await;
    assert!(matches!(size, Err(GetError::NotFound { .. })), "{size:?}");
    drop(writer);
    settle().await;
    assert_eq!(listed(&objects).await, []);
}

pub(super) async fn an_aborted_object_is_invisible(objects: Objects) {
    let mut writer = objects.writer(&key(1), CLASS);
    for salt in 0..17 {
        writer.write(pattern(MIB, salt)).await.expect("written");
    }
    writer.abort().await;
    assert_eq!(listed(&objects).await, []);
    // The name is free for another try.
    objects
        .put(&key(1), CLASS, vec![pattern(9, 9)])
        .await
        .expect("stored");
    assert_eq!(objects.size(&key(1), CLASS).await.expect("size"), 9);
}

pub(super) async fn storing_the_same_again_changes_nothing(objects: Objects) {
    for _ in 0..2 {
        objects
            .put(&key(1), CLASS, vec![pattern(10, 5)])
            .await
            .expect("stored");
    }
    assert_eq!(
        objects
            .get_range(&key(1), 0..10, CLASS)
            .await
            .expect("read"),
        pattern(10, 5)
    );
    assert_eq!(listed(&objects).await.len(), 1);
}

pub(super) async fn of_many_that_create_an_object_one_succeeds(objects: Objects) {
    let create = |salt| {
        let (objects, key) = (&objects, key(1));
        async move { objects.create(&key, CLASS, vec![pattern(50, salt)]).await }
    };
    let outcomes = join_all((0..16).map(create)).await;
    let mut winners = Vec::new();
    for (salt, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(()) => winners.push(pattern(50, salt)),
            Err(error) => assert!(matches!(error, CreateError::Exists { .. }), "{error:?}"),
        }
    }
    let there = objects.get_range(&key(1), 0..50, CLASS).await;
    assert_eq!(winners, [there.expect("read")]);
}

pub(super) async fn deleting_twice_succeeds(objects: Objects) {
    objects.delete(&key(1)).await.expect("nothing to delete");
    objects
        .put(&key(1), CLASS, vec![pattern(10, 6)])
        .await
        .expect("stored");
    objects
        .put(&key(2), CLASS, vec![pattern(10, 7)])
        .await
        .expect("stored");
    for _ in 0..2 {
        objects.delete(&key(1)).await.expect("deleted");
        assert_eq!(listed(&objects).await.len(), 1);
    }
    let read = objects.get_range(&key(1), 0..10, CLASS).await;
    assert!(matches!(read, Err(GetError::NotFound { .. })), "{read:?}");
    assert_eq!(
        objects
            .get_range(&key(2), 0..10, CLASS)
            .await
            .expect("read"),
        pattern(10, 7)
    );
}

pub(super) async fn a_listing_is_complete_and_in_order_of_keys(objects: Objects) {
    let mut keys = Vec::new();
    for seq in (0..60_u64).rev() {
        for (attempt, kind) in (0..).zip(ObjectKind::ALL) {
            let incarnation = u128::from(seq % 2) << 100 | 5;
            keys.push(
                ObjectId {
                    incarnation,
                    seq,
                    attempt,
                }
                .key(kind),
            );
        }
    }
    for key in &keys {
        objects
            .put(key, CLASS, vec![pattern(3, 8)])
            .await
            .expect("stored");
    }
    let found: Vec<String> = listed(&objects)
        .await
        .iter()
        .map(|object| object.key.to_string())
        .collect();
    let mut expected: Vec<String> = keys.iter().map(ToString::to_string).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

pub(super) async fn a_listing_of_an_incarnation_holds_only_its_objects(objects: Objects) {
    for incarnation in [1, 2] {
        for seq in 0..20 {
            let key = ObjectId {
                incarnation,
                seq,
                attempt: 0,
            }
            .key(ObjectKind::L0);
            objects
                .put(&key, CLASS, vec![pattern(3, 8)])
                .await
                .expect("stored");
        }
    }
    let found: Vec<_> = objects
        .list(Some(2), CLASS)
        .try_collect()
        .await
        .expect("listed");
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|object| object.key.id().incarnation == 2));
}
