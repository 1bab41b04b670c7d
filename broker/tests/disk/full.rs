//! A full disk: producers are refused and nothing else happens; when there is room again, the broker goes on by itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use streamhouse_runtime::{Clock, SystemClock};

use crate::broker::Broker;
use crate::capabilities;
use crate::disk::{Disk, Filler};
use crate::history::{Outcome, Producer};
use crate::ledger::{Ledger, NO_ROOM};
use crate::load::produce;
use crate::power::expect_nothing;
use crate::wire::Connection;

/// Nothing leaves the WAL, so it needs new files.
const NO_FLUSH: &[&str] = &[
    "wal.file_bytes=4MiB",
    "wal.max_bytes=64MiB",
    // The fewest: a full disk must not refuse records for ever for want of a third spare.
    "wal.pool_files=2",
    "log.flush_bytes=1GiB",
    "log.flush_interval=1h",
    "metadata.shards=4",
];

/// From the room to the first acknowledgement.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_full_disk_refuses_producers_until_there_is_room() {
    if !capabilities::are_there("a full disk") {
        return;
    }
    let disk = Disk::ext4(128);
    let mut broker = Broker::start(&disk.data(), NO_FLUSH, &[], disk.scratch()).unwrap();
    let mut ledger = Ledger::open(&broker);
    let filler = Filler::fill(&disk.point());
    produce(&mut ledger, &broker, u64::MAX, |_| {});
    for producer in &ledger.producers {
        let first = producer.sent.iter().map(|sent| sent.outcome);
        let first = first.filter(|outcome| !matches!(outcome, Outcome::Acknowledged(_)));
        let first = first.take(1).collect::<Vec<_>>();
        assert_eq!(
            first,
            [Outcome::Refused(NO_ROOM)],
            "{}",
            broker.last_words()
        );
    }
    // Consumers read on while it is full.
    let mut connection = Connection::open(broker.port).unwrap();
    expect_nothing("while full", &ledger.compare(&mut connection));

    drop(filler);
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + RECOVERS_WITHIN;
    while produce_a_little(&mut ledger, &broker) == 0 {
        assert!(
            clock.monotonic() < deadline,
            "there is room, and producers are refused: {:?}, {}",
            ledger
                .producers
                .iter()
                .map(|producer| producer.sent.last())
                .collect::<Vec<_>>(),
            broker.last_words()
        );
    }
    broker.kill();
    let again = Broker::start(&disk.data(), NO_FLUSH, &[], disk.scratch()).unwrap();
    expect_nothing("after it was full", &ledger.audit(&again));
    again.stop();
}

/// Lets the producers try again; how many batches were acknowledged.
fn produce_a_little(ledger: &mut Ledger, broker: &Broker) -> u64 {
    let before = acknowledged(&ledger.producers);
    produce(ledger, broker, 20, |must_stop| {
        must_stop.store(true, Ordering::Relaxed);
    });
    acknowledged(&ledger.producers) - before
}

fn acknowledged(producers: &[Producer]) -> u64 {
    let sent = producers.iter().flat_map(|producer| &producer.sent);
    let acknowledged = sent.filter(|sent| matches!(sent.outcome, Outcome::Acknowledged(_)));
    u64::try_from(acknowledged.count()).unwrap()
}
