//! What a broker says when it serves: where, from which folder, what it found there, and a line to try.

use std::net::SocketAddr;

use streamhouse_log::recovery::Recovered;

use crate::assembly::{Mode, Ready};
use crate::cli::table;

/// The port that clients try when they are told none.
const DEFAULT_PORT: u16 = 9092;

/// The text, with a line break at its end. Its first line begins with `StreamHouse` and is written when clients are
/// served: scripts may wait for it.
pub(super) fn text(ready: &Ready, mode: Mode) -> String {
    let mut text = format!(
        "StreamHouse {} is ready in {} ms\n",
        env!("CARGO_PKG_VERSION"),
        ready.took.as_millis()
    );
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<10} {value}\n"));
    for address in &ready.addresses {
        line("Kafka", &address.to_string());
    }
    if let Some(address) = ready.metrics_address {
        line("Metrics", &format!("http://{address}/metrics"));
    }
    line("Data", &ready.data);
    if let Some(found) = &ready.recovered {
        line("Recovered", &recovered(found));
    }
    if mode == Mode::Dev {
        let bootstrap = bootstrap(&ready.addresses);
        line(
            "Try",
            &format!("echo hello | streamhouse produce greetings{bootstrap}"),
        );
        line(
            "",
            &format!("streamhouse consume greetings --from-beginning{bootstrap}"),
        );
        line("Stop", "Ctrl-C; data is kept");
    }
    text
}

fn recovered(found: &Recovered) -> String {
    if found.partitions == 0 {
        return "nothing: the folder holds no records yet".to_owned();
    }
    format!(
        "{} partitions; {} entries of the WAL ({}) that no object holds yet",
        found.partitions,
        found.wal_records,
        table::bytes(found.wal_bytes)
    )
}

/// What the tools have to be told to find the broker: nothing at the port that they try anyway.
fn bootstrap(addresses: &[SocketAddr]) -> String {
    match addresses.first() {
        Some(address) if address.port() != DEFAULT_PORT => {
            format!(" -b localhost:{}", address.port())
        }
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests;
