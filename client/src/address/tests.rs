//! What counts as the address of a broker.

use super::{BrokerAddress, parse_bootstrap};

#[test]
fn addresses_are_read_as_kafka_writes_them() {
    let read = |text: &str| {
        text.parse::<BrokerAddress>()
            .map(|address| address.to_string())
    };
    assert_eq!(read("localhost:9093").unwrap(), "localhost:9093");
    assert_eq!(read("broker-1.example").unwrap(), "broker-1.example:9092");
    assert_eq!(read("[::1]:9092").unwrap(), "[::1]:9092");
    assert_eq!(read("[::1]").unwrap(), "[::1]:9092");
}

#[test]
fn what_is_no_address_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "no host"),
        (":9092", "no host"),
        ("a b:1", "no host"),
        ("PLAINTEXT://localhost:9092", "brackets"),
        ("localhost:0", "1 to 65535"),
        ("localhost:99999", "1 to 65535"),
        ("localhost:x", "1 to 65535"),
        ("::1", "brackets"),
        ("[::1", "not closed"),
        ("[::1]9092", "follows"),
    ] {
        let error = text.parse::<BrokerAddress>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_list_ignores_blanks_and_needs_one_broker() {
    let list = parse_bootstrap("a:1, b ,,[::1]:3").unwrap();
    let shown: Vec<String> = list.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a:1", "b:9092", "[::1]:3"]);
    assert!(
        parse_bootstrap(" , ")
            .unwrap_err()
            .to_string()
            .contains("names no broker")
    );
}

/// Found by bending addresses: what was shown could not be read again.
#[test]
fn a_bracket_is_no_part_of_a_host() {
    for text in ["[[]", "[[]:9092", "a]:9092"] {
        assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
    }
}
