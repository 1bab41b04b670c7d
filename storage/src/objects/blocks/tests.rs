//! Blocks of a folder's file and of any other store: the same bytes, each block alone in its memory.

use streamhouse_runtime::Ambient;

use crate::objects::rig::{Rig, key, pattern};
use crate::objects::{GetError, ObjectClass, Objects};

async fn gives_blocks(objects: &Objects) {
    let stored = pattern(10_000, 3);
    objects
        .put(&key(1), ObjectClass::Flush, vec![stored.clone()])
        .await
        .expect("stored");
    let one = key(1);
    let get = |range, block| objects.get_blocks(&one, range, block, ObjectClass::CatchUpRead);
    for (range, block_bytes) in [
        (0..10_000, 4096),
        (4096..8192, 4096),
        (17..18, 4096),
        (9_000..10_000, 100),
        (0..10_000, u64::MAX),
        (5..5, 10),
    ] {
        let blocks = get(range.clone(), block_bytes).await.expect("read");
        let (start, end) = (range.start as usize, range.end as usize);
        assert!(blocks.concat() == stored[start..end], "{range:?}");
        let wanted = (range.end - range.start).div_ceil(block_bytes);
        assert_eq!(blocks.len() as u64, wanted, "{range:?}");
        let sizes = blocks.iter().rev().skip(1).map(|block| block.len() as u64);
        assert!(
            sizes.into_iter().all(|size| size == block_bytes),
            "{range:?}"
        );
        // Nothing else keeps this memory alive.
        assert!(
            blocks.into_iter().all(|block| block.is_unique())
                || range.end - range.start <= block_bytes
        );
    }
    let behind = get(9_000..10_001, 4096).await;
    assert!(matches!(behind, Err(GetError::Short { .. })), "{behind:?}");
    let missing = objects
        .get_blocks(&key(2), 0..10, 10, ObjectClass::CatchUpRead)
        .await;
    assert!(
        matches!(missing, Err(GetError::NotFound { .. })),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_folder_gives_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    gives_blocks(&Objects::open_folder(folder.path(), Ambient::system()).expect("opened")).await;
}

#[test]
fn any_other_store_gives_blocks() {
    let rig = Rig::new(1);
    rig.run(gives_blocks(&rig.objects));
}
