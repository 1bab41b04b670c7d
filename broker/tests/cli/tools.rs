//! The tools against a broker: topics from birth to death, records as they were written, groups, benchmarks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::broker::{Dev, complained, said, streamhouse};

fn json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many bytes of a partition `topic describe` shows in a folder of the broker.
fn bytes_in(partition: &Value, data: &Path, folder: &str) -> Option<i64> {
    let folder = data.join(folder);
    let places = partition["bytes"].as_array().unwrap().iter();
    let mut found = places.filter(|place| place["place"] == folder.to_str().unwrap());
    found.next()?["bytes"].as_i64()
}

#[test]
fn describe_tells_when_records_have_moved_from_the_wal_to_objects() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start_with(data.path(), &["log.flush_interval=10ms"]);
    said(&broker.tool(&["topic", "create", "t"]));
    said(&broker.fed(&["produce", "t"], "a\nb\n"));
    let describe = ["topic", "describe", "t", "--json"];
    let moved = (0..200).find_map(|_| {
        let described = json(&said(&broker.tool(&describe))).remove(0);
        let partition = &described["partitions"][0];
        let places = ["wal", "objects"].map(|place| bytes_in(partition, data.path(), place));
        (places[0].is_none() && places[1] > Some(0)).then_some(())
    });
    assert!(moved.is_some(), "the records stay in the WAL");
    let shown = said(&broker.tool(&["topic", "describe", "t"]));
    let place = format!("in {} (broker 1)", data.path().join("objects").display());
    assert!(shown.contains(&place), "{shown}");
}

#[test]
fn operators_are_told_over_http() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let address = broker.banner.split_whitespace().find_map(|word| {
        let address = word.strip_prefix("http://")?;
        address.strip_suffix("/metrics")
    });
    let get = |path: &str| {
        let mut socket = TcpStream::connect(address.expect("the banner names it")).unwrap();
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in ["/livez", "/readyz"] {
        assert!(get(path).starts_with("HTTP/1.0 200"), "{}", get(path));
    }
    said(&broker.fed(&["produce", "t"], "a\n"));
    let metrics = get("/metrics");
    for series in [
        "streamhouse_storage_object_requests_total{class=\"catch_up_read\"} 0",
        "streamhouse_storage_cache_hits_total 0",
        "streamhouse_log_partitions 1",
        "streamhouse_broker_request_seconds_bucket{api=\"Produce\",le=\"0.005\"}",
    ] {
        assert!(metrics.contains(series), "{series} is not in {metrics}");
    }
}

#[test]
fn a_topic_lives_from_create_to_delete() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.tool(&[
        "topic",
        "create",
        "t",
        "-p",
        "2",
        "-c",
        "retention.ms=60000",
    ]));
    let exists = complained(&broker.tool(&["topic", "create", "t"]), 1);
    assert!(exists.contains("TOPIC_ALREADY_EXISTS"), "{exists}");
    said(&broker.tool(&["topic", "create", "t", "--if-not-exists"]));
    let listed = json(&said(&broker.tool(&["topic", "list", "--json"])));
    assert_eq!(
        (&listed[0]["topic"], &listed[0]["partitions"]),
        (&Value::from("t"), &Value::from(2))
    );

    said(&broker.fed(&["produce", "t", "-p", "1"], "a\nb\n"));
    said(&broker.tool(&[
        "topic",
        "alter",
        "t",
        "-p",
        "3",
        "-c",
        "retention.bytes=1000",
        "--reset",
        "retention.ms",
    ]));
    let described = json(&said(&broker.tool(&["topic", "describe", "t", "--json"]))).remove(0);
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    let partition = &described["partitions"][1];
    assert_eq!(
        (&partition["log_start_offset"], &partition["high_watermark"]),
        (&Value::from(0), &Value::from(2))
    );
    // Nothing was written to objects yet.
    let [in_wal, in_objects] =
        ["wal", "objects"].map(|place| bytes_in(partition, data.path(), place));
    assert!(in_wal > Some(0) && in_objects == Some(0), "{partition}");
    let configs = described["configs"].as_array().unwrap();
    assert_eq!(configs.len(), 1, "{configs:?}");
    assert_eq!(
        (&configs[0]["name"], &configs[0]["value"]),
        (&Value::from("retention.bytes"), &Value::from("1000"))
    );
    let shown = said(&broker.tool(&["topic", "describe", "t"]));
    assert!(shown.starts_with("Topic       t\n"), "{shown}");

    let shrunk = complained(&broker.tool(&["topic", "alter", "t", "-p", "1"]), 1);
    assert!(shrunk.contains("INVALID_PARTITIONS"), "{shrunk}");
    said(&broker.tool(&["topic", "delete", "t"]));
    let gone = complained(&broker.tool(&["topic", "describe", "t"]), 1);
    assert!(gone.contains("\"t\": it does not exist"), "{gone}");
    complained(&broker.tool(&["topic", "delete", "t"]), 1);
    said(&broker.tool(&["topic", "delete", "t", "--if-exists"]));
}

#[test]
fn records_come_back_as_they_were_written() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("t-{compression}");
        let produce = [
            "produce",
            &topic,
            "-K",
            ":",
            "-H",
            "h=1",
            "-H",
            "n",
            "-Z",
            "-z",
            compression,
        ];
        said(&broker.fed(
            &produce,
            "k:v\n:no key\nplain\ntomb:\nlast without line feed",
        ));
        let format = "%k|%v|%K|%S|%h\\n";
        let read = said(&broker.tool(&[
            "consume",
            &topic,
            "--from-beginning",
            "-e",
            "-f",
            format,
            "--null",
            "NULL",
        ]));
        assert_eq!(
            read,
            "k|v|1|1|h=1,n=NULL\n\
             NULL|no key|-1|6|h=1,n=NULL\n\
             NULL|plain|-1|5|h=1,n=NULL\n\
             tomb|NULL|4|-1|h=1,n=NULL\n\
             NULL|last without line feed|-1|22|h=1,n=NULL\n"
        );
    }
}

#[test]
fn consuming_begins_and_ends_where_it_is_told() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let input: String = (0..10).map(|number| format!("{number}\n")).collect();
    said(&broker.fed(&["produce", "t"], &input));
    let read = |arguments: &[&str]| {
        said(&broker.tool(&[&["consume", "t"], arguments].concat())).replace('\n', "")
    };
    assert_eq!(read(&["--from-beginning", "-n", "3"]), "012");
    assert_eq!(read(&["--offset", "7", "--exit"]), "789");
    assert_eq!(read(&["--offset", "-2", "--exit"]), "89");
    assert_eq!(read(&["--offset", "-100", "-n", "1"]), "0");
    assert_eq!(read(&["--exit"]), "", "from the end to the end");
    assert_eq!(read(&["--timestamp", "0", "-n", "2"]), "01");
    assert_eq!(read(&["--timestamp", "1h", "-n", "2"]), "01");
    assert_eq!(
        read(&["--timestamp", "99999999999999", "--exit"]),
        "",
        "no record is that late"
    );
    let beyond = complained(
        &broker.tool(&["consume", "t", "--offset", "11", "-n", "1"]),
        1,
    );
    assert!(
        beyond.contains("OFFSET_OUT_OF_RANGE") && beyond.contains("--from-beginning"),
        "{beyond}"
    );
    let partition = complained(
        &broker.tool(&["consume", "t", "--partition", "5", "--exit"]),
        2,
    );
    assert!(partition.contains("no partition 5"), "{partition}");
    let absent = complained(&broker.tool(&["consume", "nosuch", "--exit"]), 1);
    assert!(absent.contains("it does not exist"), "{absent}");
}

#[test]
fn a_waiting_consumer_shows_what_is_written_later() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.tool(&["topic", "create", "t", "-p", "1"]));
    let arguments = [
        "consume",
        "t",
        "--offset",
        "0",
        "-n",
        "2",
        "-b",
        &broker.bootstrap,
    ];
    let consumer = streamhouse(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    said(&broker.fed(&["produce", "t", "--acks", "1"], "first\n"));
    said(&broker.fed(&["produce", "t", "--no-idempotence"], "second\n"));
    assert_eq!(
        said(&consumer.wait_with_output().unwrap()),
        "first\nsecond\n"
    );
}

#[test]
fn records_without_acknowledgement_are_written_before_the_command_ends() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let input: String = (0..5000).map(|number| format!("{number}\n")).collect();
    said(&broker.tool(&["topic", "create", "t", "-p", "1"]));
    said(&broker.fed(
        &["produce", "t", "--acks", "0", "--batch-bytes", "1000"],
        &input,
    ));
    let read = said(&broker.tool(&["consume", "t", "--from-beginning", "-n", "5000"]));
    assert_eq!(read, input);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let input: String = (0..100_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    said(&broker.fed(&["produce", "t"], &input));
    let arguments = ["consume", "t", "--from-beginning", "-b", &broker.bootstrap];
    let mut consumer = streamhouse(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 7];
    consumer
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"line 0\n");
    let output = consumer.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[test]
fn groups_are_listed_and_unknown_ones_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    assert_eq!(
        said(&broker.tool(&["group", "list"])),
        "GROUP  STATE  PROTOCOL TYPE\n"
    );
    let unknown = complained(&broker.tool(&["group", "describe", "nosuch"]), 1);
    assert!(
        unknown.contains("GROUP_ID_NOT_FOUND") && unknown.contains("group list"),
        "{unknown}"
    );
}

#[test]
fn benchmarks_count_what_they_moved() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    let closed = [
        "bench",
        "produce",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--connections",
        "2",
        "--json",
    ];
    let produced = json(&said(&broker.tool(&closed))).remove(0);
    let records = produced["records"].as_u64().unwrap();
    assert!(records > 0);
    let consumed = json(&said(&broker.tool(&[
        "bench",
        "consume",
        "--connections",
        "2",
        "--json",
    ])))
    .remove(0);
    assert_eq!(
        (&consumed["records"], &consumed["batch_bytes"]),
        (&produced["records"], &produced["batch_bytes"])
    );

    let open = [
        "bench",
        "produce",
        "--topic",
        "open",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--rate",
        "50",
        "--batch-size",
        "1",
        "--json",
    ];
    let produced = json(&said(&broker.tool(&open))).remove(0);
    assert_eq!(
        (&produced["requests"], &produced["records"]),
        (&Value::from(50), &Value::from(50))
    );
}
