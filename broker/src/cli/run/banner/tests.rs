//! What a broker says when it serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use streamhouse_log::recovery::Recovered;

use super::text;
use crate::assembly::{Mode, Ready};

fn ready(port: u16, recovered: Recovered) -> Ready {
    Ready {
        addresses: vec![
            SocketAddr::from(([127, 0, 0, 1], port)),
            format!("[::1]:{port}").parse().unwrap(),
        ],
        ports: BTreeMap::new(),
        metrics_address: Some(SocketAddr::from(([127, 0, 0, 1], 9644))),
        data: "/data".to_owned(),
        recovered: Some(recovered),
        took: Duration::from_millis(212),
    }
}

#[test]
fn dev_says_where_it_is_what_it_found_and_what_to_try() {
    let shown = text(&ready(9092, Recovered::default()), Mode::Dev);
    let expected = concat!(
        "StreamHouse ",
        env!("CARGO_PKG_VERSION"),
        " is ready in 212 ms\n",
        "  Kafka      127.0.0.1:9092\n",
        "  Kafka      [::1]:9092\n",
        "  Metrics    http://127.0.0.1:9644/metrics\n",
        "  Data       /data\n",
        "  Recovered  nothing: the folder holds no records yet\n",
        "  Try        echo hello | streamhouse produce greetings\n",
        "             streamhouse consume greetings --from-beginning\n",
        "  Stop       Ctrl-C; data is kept\n",
    );
    assert_eq!(shown, expected);
}

#[test]
fn another_port_is_part_of_the_line_to_try() {
    assert!(
        text(&ready(4001, Recovered::default()), Mode::Dev)
            .contains("produce greetings -b localhost:4001\n")
    );
}

#[test]
fn serve_counts_what_it_recovered_and_gives_no_lessons() {
    let recovered = Recovered {
        partitions: 3,
        manifests: 4,
        wal_records: 120,
        wal_bytes: 3 << 20,
    };
    let shown = text(&ready(9092, recovered), Mode::Serve);
    assert!(shown.contains(
        "  Recovered  3 partitions; 120 entries of the WAL (3.0 MiB) that no object holds yet\n"
    ));
    assert!(!shown.contains("Try"));
}
