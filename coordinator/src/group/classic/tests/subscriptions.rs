//! What is read of the subscriptions of consumers, and what is not.

use super::*;

/// A subscription as Kafka's consumers write it, with `tail` behind what every version has.
fn subscription(topics: &[&str], tail: &[u8]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend(u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend(tail);
    bytes.into()
}

fn says(member: &str, metadata: Bytes) -> JoinRequest {
    JoinRequest {
        protocols: vec![Protocol {
            name: "range".into(),
            metadata,
        }],
        ..asks(member)
    }
}

fn topics(bench: &Bench) -> Vec<String> {
    let Subscriptions::Topics(topics) = bench.group.subscriptions() else {
        panic!("the topics can be told")
    };
    topics.iter().map(ToString::to_string).collect()
}

#[test]
fn the_topics_of_all_members_count_whatever_comes_behind_them() {
    let mut bench = Bench::new();
    assert_eq!(bench.group.subscriptions(), Subscriptions::Nobody);
    bench.join_as("a", says("", subscription(&["t", "u"], b"")));
    bench.join_as("b", says("", subscription(&["v", "u"], b"\0\0\0\x01junk")));
    assert_eq!(topics(&bench), ["t", "u", "v"]);
    bench.leave(&["a", "b"]);
    assert_eq!(bench.group.subscriptions(), Subscriptions::Nobody);
}

#[test]
fn a_subscription_that_is_cut_short_or_a_lie_is_unknown() {
    let whole = subscription(&["topic"], b"");
    let mut bad: Vec<Bytes> = (0..whole.len()).map(|end| whole.slice(..end)).collect();
    bad.push(Bytes::from_static(b"\0\0\xff\xff\xff\xff"));
    bad.push(Bytes::from_static(b"\0\0\x7f\xff\xff\xff\0\x01t"));
    bad.push(Bytes::from_static(b"\0\0\0\0\0\x01\xff\xff"));
    bad.push(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01\xff"));
    for metadata in bad {
        let mut bench = Bench::new();
        bench.join(says("", metadata.clone()));
        assert_eq!(
            bench.group.subscriptions(),
            Subscriptions::Unknown,
            "{metadata:?}"
        );
        assert!(bench.group.subscriptions().may_include("any"));
    }
}

#[test]
fn before_a_protocol_is_chosen_nothing_is_known() {
    let mut bench = Bench::with(GroupSettings {
        initial_rebalance_delay: DELAY,
        ..Default::default()
    });
    bench.join(says("", subscription(&["t"], b"")));
    assert_eq!(bench.group.subscriptions(), Subscriptions::Unknown);
}

#[test]
fn members_of_other_kinds_are_not_read() {
    let mut bench = Bench::new();
    bench.join(JoinRequest {
        protocol_type: "connect".into(),
        ..says("", subscription(&["t"], b""))
    });
    assert_eq!(bench.group.subscriptions(), Subscriptions::Foreign);
}
