//! What was acknowledged is there again after kill -9, with the same offsets, and the next record follows it.

use crate::broker::{Dev, said};

const EVERYTHING: &[&str] = &[
    "consume",
    "orders",
    "--from-beginning",
    "--exit",
    "--format",
    "%p %o %k=%v\\n",
];

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    assert!(
        broker
            .banner
            .contains("nothing: the folder holds no records yet"),
        "{}",
        broker.banner
    );
    said(&broker.tool(&["topic", "create", "orders", "--partitions", "3"]));
    let input: String = (0..1000)
        .map(|number| format!("key-{}:value-{number}\n", number % 17))
        .collect();
    said(&broker.fed(&["produce", "orders", "--key-separator", ":"], &input));
    let before = said(&broker.tool(EVERYTHING));
    assert_eq!(before.lines().count(), 1000);
    broker.kill();

    let broker = Dev::start(data.path());
    assert!(
        broker.banner.contains("Recovered  3 partitions"),
        "{}",
        broker.banner
    );
    let after = said(&broker.tool(EVERYTHING));
    assert_eq!(sorted(&after), sorted(&before));

    let acknowledged = said(&broker.fed(
        &["produce", "orders", "--partition", "0", "--json"],
        "one more\n",
    ));
    let acknowledged: serde_json::Value = serde_json::from_str(&acknowledged).unwrap();
    let ends = after.lines().filter(|line| line.starts_with("0 ")).count();
    assert_eq!(
        acknowledged["base_offset"], ends,
        "the log goes on where it ended"
    );
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_graceful_stop_keeps_everything_too() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.fed(&["produce", "greetings"], "hello\nworld\n"));
    assert_eq!(broker.stop(), Some(0));
    let broker = Dev::start(data.path());
    let read = said(&broker.tool(&["consume", "greetings", "--from-beginning", "--exit"]));
    assert_eq!(read, "hello\nworld\n");
}
