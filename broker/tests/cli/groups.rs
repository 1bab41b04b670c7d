//! `streamhouse group` against a broker: offsets are moved, lag is shown, groups are deleted.

use serde_json::{Value, json};

use crate::broker::{Dev, complained, said};

impl Dev {
    /// What a command with `--json` wrote.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let text = said(&self.tool(&[arguments, &["--json"]].concat()));
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Partition, offset before and offset after of a seek.
    fn moved(&self, arguments: &[&str]) -> Vec<[Value; 3]> {
        let moved = self.json(&[&["group", "seek"], arguments].concat());
        let fields = ["partition", "before", "after"];
        moved
            .iter()
            .map(|one| fields.map(|field| one[field].clone()))
            .collect()
    }
}

fn line(partition: i64, before: Option<i64>, after: i64) -> [Value; 3] {
    [json!(partition), json!(before), json!(after)]
}

#[test]
fn offsets_of_a_group_are_moved_and_its_lag_follows() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.tool(&["topic", "create", "t", "-p", "2"]));
    said(&broker.fed(&["produce", "t", "-p", "0"], "a\nb\nc\n"));

    let nothing = complained(&broker.tool(&["group", "seek", "g", "--to-latest"]), 1);
    assert!(nothing.contains("GROUP_ID_NOT_FOUND"), "{nothing}");
    let to_one = ["g", "-t", "t", "--to-offset", "1"];
    let planned = broker.moved(&[&to_one[..], &["--dry-run"]].concat());
    assert_eq!(planned, [line(0, None, 1), line(1, None, 0)]);
    assert!(
        broker.json(&["group", "list"]).is_empty(),
        "it was a rehearsal"
    );
    assert_eq!(broker.moved(&to_one), planned);

    let lag = broker.json(&["group", "lag", "g"]);
    assert_eq!((&lag[0]["lag"], &lag[1]["lag"]), (&json!(2), &json!(0)));
    assert!(lag[0]["lag_seconds"].as_f64().unwrap() < 3_600.0, "{lag:?}");
    assert_eq!(lag[1]["lag_seconds"], json!(0.0));
    assert_eq!(broker.json(&["group", "lag"]).len(), 2, "all groups");

    let shifted = broker.moved(&["g", "--shift-by", "-5"]);
    assert_eq!(shifted, [line(0, Some(1), 0), line(1, Some(0), 0)]);
    let latest = broker.moved(&["g", "-t", "t:0", "--to-latest"]);
    assert_eq!(latest, [line(0, Some(0), 3)]);
    let lag = broker.json(&["group", "lag", "g"]);
    assert_eq!(
        (&lag[0]["lag"], &lag[0]["lag_seconds"]),
        (&json!(0), &json!(0.0))
    );
    let ago = broker.moved(&["g", "-t", "t:0", "--to-timestamp", "1d"]);
    assert_eq!(ago, [line(0, Some(3), 0)]);
    let shown = said(&broker.tool(&["group", "seek", "g", "-t", "t:0", "--to-earliest"]));
    assert_eq!(
        shown,
        "TOPIC  PARTITION  BEFORE  AFTER\nt              0       0      0\n"
    );
    let wrong = complained(
        &broker.tool(&["group", "seek", "g", "-t", "t:7", "--to-latest"]),
        2,
    );
    assert!(wrong.contains("it has 0 to 1"), "{wrong}");
    complained(&broker.tool(&["group", "seek", "g"]), 2);
}

#[test]
fn groups_are_deleted_with_their_offsets() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.tool(&["topic", "create", "t"]));
    for group in ["g", "h"] {
        said(&broker.tool(&["group", "seek", group, "-t", "t", "--to-latest"]));
    }
    assert_eq!(broker.json(&["group", "list"]).len(), 2);
    let deleted = said(&broker.tool(&["group", "delete", "g", "h"]));
    assert_eq!(deleted, "group g deleted\ngroup h deleted\n");
    assert!(broker.json(&["group", "list"]).is_empty());
    let gone = complained(&broker.tool(&["group", "delete", "g"]), 1);
    assert!(
        gone.contains("GROUP_ID_NOT_FOUND") && gone.contains("group list"),
        "{gone}"
    );
    said(&broker.tool(&["group", "delete", "g", "--if-exists"]));
}
