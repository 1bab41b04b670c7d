//! A data folder keeps its identity and refuses what is not its own.

use streamhouse_runtime::SeededChance;

use super::{DataDir, DataDirError};

#[test]
fn a_folder_keeps_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let chance = SeededChance::new(1);
    let first = DataDir::open(folder.path(), None, &chance).unwrap();
    let (cluster_id, wal_dir) = (first.cluster_id.clone(), first.wal_dir);
    assert_eq!(cluster_id.len(), 22, "as Kafka's");
    drop(first);
    let again = DataDir::open(folder.path(), None, &chance).unwrap();
    assert_eq!((again.cluster_id, again.wal_dir), (cluster_id, wal_dir));
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let chance = SeededChance::new(1);
    let _first = DataDir::open(folder.path(), None, &chance).unwrap();
    let second = DataDir::open(folder.path(), None, &chance).unwrap_err();
    assert!(matches!(second, DataDirError::InUse { .. }), "{second}");
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "dear").unwrap();
    let error = DataDir::open(folder.path(), None, &SeededChance::new(1)).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert!(!folder.path().join("meta.properties").exists());
}

#[test]
fn another_version_and_another_cluster_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let chance = SeededChance::new(1);
    drop(DataDir::open(folder.path(), Some("one"), &chance).unwrap());
    let other = DataDir::open(folder.path(), Some("two"), &chance)
        .unwrap_err()
        .to_string();
    assert!(other.contains("belongs to cluster one"), "{other}");
    let meta = folder.path().join("meta.properties");
    let text = std::fs::read_to_string(&meta)
        .unwrap()
        .replace("version=1", "version=9");
    std::fs::write(&meta, text).unwrap();
    let newer = DataDir::open(folder.path(), None, &chance)
        .unwrap_err()
        .to_string();
    assert!(
        newer.contains("version 9") && newer.contains("start the release that wrote it"),
        "{newer}"
    );
}

#[test]
fn a_part_that_was_there_once_is_missed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let chance = SeededChance::new(1);
    let open = || DataDir::open(folder.path(), None, &chance);
    let identity = |opened: &DataDir| (opened.cluster_id.clone(), opened.wal_dir);
    let first = identity(&open().unwrap());
    // A first start that was cut off anywhere is simply repeated.
    for part in super::PARTS {
        assert_eq!(identity(&open().unwrap()), first);
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    let mut opened = open().unwrap();
    opened.complete().unwrap();
    drop(opened);
    for part in super::PARTS {
        let aside = folder.path().join("aside");
        std::fs::rename(folder.path().join(part), &aside).unwrap();
        let error = open().unwrap_err();
        assert!(
            error.to_string().contains(&format!("lacks {part}")),
            "{error}"
        );
        std::fs::rename(&aside, folder.path().join(part)).unwrap();
        assert_eq!(identity(&open().unwrap()), first);
    }
}

#[test]
fn the_newest_file_of_the_wal_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let chance = SeededChance::new(1);
    let open = || DataDir::open(folder.path(), None, &chance);
    drop(open().unwrap());
    for part in super::PARTS {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    for number in [1_u64, 7] {
        let mut opened = open().unwrap();
        let file = folder.path().join(format!("wal/{number:020}.wal"));
        std::fs::write(file, "").unwrap();
        opened.complete().unwrap();
        drop(opened);
        assert_eq!(open().unwrap().wal_file, number);
    }
    let meta = folder.path().join("meta.properties");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("wal.file=7\n", "")).unwrap();
    assert_eq!(open().unwrap().wal_file, 0, "as earlier releases wrote it");
    for wrong in ["", "x", "-1", "18446744073709551615"] {
        std::fs::write(
            &meta,
            text.replace("wal.file=7", &format!("wal.file={wrong}")),
        )
        .unwrap();
        let refused = open().unwrap_err().to_string();
        assert!(refused.contains("wal.file"), "{refused}");
    }
}

#[test]
fn an_unwritable_place_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = DataDir::open(&file, None, &SeededChance::new(1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be used"), "{error}");
}
