//! Single values: sizes, durations, addresses, listeners, the list of brokers to begin with.
//!
//! What was read is written so that it is read again as the same.

use std::time::Duration;

use streamhouse_client::address::parse_bootstrap;
use streamhouse_config::value::Value;
use streamhouse_config::{ByteSize, HostPort, Listener, ListenerProtocol};

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "values",
    reads: "sizes, durations, addresses, listeners",
    executions: 200_000,
    length_max: 512,
    memory: Memory {
        per_byte: 512,
        free: 16 << 10,
    },
    words: &[
        "KiB",
        "MiB",
        "GiB",
        "TiB",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "_",
        " ",
        ",",
        ":",
        "://",
        "[",
        "]",
        "[::1]",
        "%eth0",
        "localhost",
        "PLAINTEXT",
        "SASL_SSL",
        "0",
        "65535",
        "65536",
        "18446744073709551615",
        "-",
        "+",
        "é",
        "127.0.0.1",
    ],
    seeds,
    repair: None,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "64MiB",
        "1_000",
        "250ms",
        "7d",
        "localhost:9092",
        "[::1]:9092",
        "a.example:1,b.example:2",
        "PLAINTEXT://localhost:9092,SSL://[::]:9093",
        "PLAINTEXT:PLAINTEXT,SSL:SSL",
        "1.5",
        "-3",
        "true",
    ];
    seeds.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Whether `text` is a `T`; that it comes back is demanded.
fn is<T: Value + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    let Ok(value) = T::read(text) else {
        return false;
    };
    let written = value.write();
    assert_eq!(
        T::read(&written).as_ref(),
        Ok(&value),
        "{text:?} is written as {written:?}"
    );
    true
}

fn check(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else {
        return Verdict::Refused;
    };
    let bootstrap = parse_bootstrap(text);
    if let Ok(addresses) = &bootstrap {
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(parse_bootstrap(&shown.join(",")).as_ref(), Ok(addresses));
    }
    let taken = [
        is::<ByteSize>(text),
        is::<Duration>(text),
        is::<Option<HostPort>>(text),
        is::<Vec<Listener>>(text),
        is::<Vec<ListenerProtocol>>(text),
        is::<bool>(text),
        is::<f64>(text),
        is::<i32>(text),
        is::<u64>(text),
        bootstrap.is_ok(),
    ];
    if taken.contains(&true) {
        Verdict::Accepted
    } else {
        Verdict::Refused
    }
}
