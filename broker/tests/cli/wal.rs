//! A database that somebody brought back from a copy, as its operator meets it.

use std::path::Path;

use crate::broker::{Dev, complained, run, said};

fn copy_database(data: &Path, from: &str, to: &str) {
    for ending in ["", "-wal"] {
        let (from, to) = (
            data.join(format!("{from}{ending}")),
            data.join(format!("{to}{ending}")),
        );
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn an_older_database_is_refused_with_its_remedy_and_accepted_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let path = data.to_str().unwrap();
    let broker = Dev::start(data);
    said(&broker.fed(&["produce", "t"], "a\n"));
    assert_eq!(broker.stop(), Some(0));
    copy_database(data, "metadata.db", "copy.db");
    let broker = Dev::start(data);
    said(&broker.fed(&["produce", "t"], "b\n"));
    assert_eq!(broker.stop(), Some(0));
    copy_database(data, "copy.db", "metadata.db");
    let refused = complained(&run(&["dev", "--port", "0", "--data", path]), 65);
    assert!(refused.contains("metadata_regression"), "{refused}");
    assert!(
        refused.contains("streamhouse wal accept-loss --database"),
        "{refused}"
    );
    let accept = ["wal", "accept-loss", "--data", path];
    let said_only = said(&run(&accept));
    assert!(said_only.contains("--database") && said_only.contains("nothing was changed"));
    complained(&run(&[&accept[..], &["--shard", "1"]].concat()), 2);
    let nothing = [&accept[..], &["--shard", "1", "--range", "8..16"]].concat();
    complained(&run(&nothing), 65);
    said(&run(&[&accept[..], &["--database"]].concat()));
    let broker = Dev::start(data);
    let topics = said(&broker.tool(&["topic", "list"]));
    assert!(topics.contains('t'), "{topics}");
    assert_eq!(broker.stop(), Some(0));
    let nowhere = data.join("nowhere");
    let nowhere = ["wal", "accept-loss", "--data", nowhere.to_str().unwrap()];
    complained(&run(&[&nowhere[..], &["--database"]].concat()), 73);
}
