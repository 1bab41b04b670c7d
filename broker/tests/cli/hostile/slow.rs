//! Peers that ask and do not read, and peers that announce and do not send.
//!
//! Who goes on beside them reads at the end of the log, or from its beginning: records that come from the disk are read
//! into memory that all readers share (`listener.fetch_memory`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use streamhouse_protocol::request::encode_request;

use super::Bothered;
use super::honest::{FETCH, Honest, batch, create, fetching, produce};
use super::wire::Connection;

/// Consumers that read nothing.
const CONSUMERS: usize = 1_000;

/// Fetches that each of them sends ahead.
const ASKED: usize = 8;

/// What a consumer's system takes before the broker has to wait, in bytes: the least it lets us choose.
const RECEIVED_MAX: usize = 4096;

/// Bytes of records that lie in the topic that they ask for: more than the broker holds in memory.
const BATCHES: usize = 96;
const BATCH_BYTES: usize = 1_000_000;

/// Consumers of old records that read nothing, and such that read a byte now and then.
const IDLERS: usize = 48;
const DRIPPERS: usize = 16;

/// How long somebody waits at the end of the log while an old record is read, in milliseconds: far longer than the
/// reader of the old record waits, far shorter than a peer may stall whom nobody waits for.
const WATCH_MS: i32 = 10_000;

/// Answers without a record that a reader of old records may get one after the other.
const EMPTY_MAX: usize = 120;

/// Peers that announce a large frame and send its beginning.
const ANNOUNCERS: usize = 200;
const ANNOUNCED_BYTES: u32 = 31 << 20;

/// How much of it they send.
const BEGINNING_BYTES: usize = 10_000;

#[test]
fn a_thousand_consumers_that_read_nothing_cost_little_memory_and_stop_nobody() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Bothered::start(data.path());
    let port = broker.port();
    let mut honest = Honest::start(port);
    fill(port, "large");
    honest.goes_on(20);
    broker.watch();
    let mut slow = Vec::new();
    for consumer in 0..CONSUMERS {
        // From everywhere in the topic: the newest records are in memory, the older ones are read for each.
        slow.push(asks_and_reads_nothing(port, consumer % BATCHES));
        if consumer % 100 == 99 {
            honest.goes_on(10);
        }
    }
    honest.goes_on(100);
    broker.expect_little_growth("consumers that read nothing");
    drop(slow);
    honest.goes_on(10);
}

fn fill(port: u16, topic: &str) {
    create(port, topic, &[]);
    let mut connection = Connection::open(port).unwrap();
    let records = batch(&vec![b'v'; BATCH_BYTES]);
    for offset in 0..BATCHES {
        let appended = produce(&mut connection, topic, records.clone());
        assert_eq!(appended, (0, i64::try_from(offset).unwrap()));
    }
    // Read once, so that what is kept in memory is there before anybody watches.
    for offset in 0..BATCHES {
        let request = fetching(topic, i64::try_from(offset).unwrap(), 4 << 20);
        let answer = connection.ask(FETCH, &request).unwrap();
        let records = &answer.responses[0].partitions[0].records;
        assert!(records.as_ref().is_some_and(|records| !records.is_empty()));
    }
}

fn asks_and_reads_nothing(port: u16, offset: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(RECEIVED_MAX).unwrap();
    let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&broker.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    let request = fetching("large", i64::try_from(offset).unwrap(), 8 << 20);
    let frame = encode_request(1, "slow", FETCH, &request).unwrap();
    socket.write_all(&frame.repeat(ASKED)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[test]
fn consumers_of_old_records_that_do_not_read_stop_no_other_consumer_of_old_records() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Bothered::start(data.path());
    let port = broker.port();
    fill(port, "large");
    create(port, "silent", &[]);
    broker.watch();
    let old = BATCHES / 2;
    let mut slow = Vec::new();
    for consumer in 0..IDLERS + DRIPPERS {
        slow.push(asks_and_reads_nothing(port, consumer % old));
    }
    let mut honest = Connection::open(port).unwrap();
    let (mut next, mut empty) = (0, 0);
    while next < old {
        let watch = Watch::set(port);
        let request = fetching("large", i64::try_from(next).unwrap(), 1 << 20);
        let answer = honest.ask(FETCH, &request).unwrap();
        assert!(
            !watch.is_over(),
            "who waits half a second for batch {next} waits longer than {WATCH_MS} ms"
        );
        let records = &answer.responses[0].partitions[0].records;
        if records.as_ref().is_some_and(|records| !records.is_empty()) {
            (next, empty) = (next + 1, 0);
        } else {
            empty += 1;
            assert!(empty <= EMPTY_MAX, "batch {next} never comes");
        }
        for dripper in &mut slow[IDLERS..] {
            // There may be nothing to read yet, or nothing any more.
            let _ = dripper.read(&mut [0]);
        }
    }
    broker.expect_little_growth("consumers of old records that do not read");
}

/// A fetch that the broker answers after [`WATCH_MS`]: the clock of a test that asserts no time.
struct Watch(TcpStream);

impl Watch {
    fn set(port: u16) -> Self {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let request = fetching("silent", 0, 1).with_max_wait_ms(WATCH_MS);
        let frame = encode_request(1, "watch", FETCH, &request).unwrap();
        socket.write_all(&frame).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// Whether the broker has answered.
    fn is_over(&self) -> bool {
        match self.0.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[test]
fn peers_that_announce_large_frames_and_stall_cost_little_memory_and_stop_nobody() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = Bothered::start(data.path());
    let port = broker.port();
    let mut honest = Honest::start(port);
    let large_batches = [("max.message.bytes", "8000000")];
    create(port, "large", &large_batches);
    honest.goes_on(20);
    broker.watch();
    let mut announcers = Vec::new();
    for announcer in 0..ANNOUNCERS {
        announcers.push(announces_and_stalls(port));
        if announcer % 20 == 19 {
            honest.goes_on(10);
        }
    }
    honest.goes_on(100);
    // A large frame that does come passes those that do not.
    let mut connection = Connection::open(port).unwrap();
    for offset in 0..4 {
        let appended = produce(&mut connection, "large", batch(&vec![b'v'; 4_000_000]));
        assert_eq!(appended, (0, offset));
    }
    broker.expect_little_growth("large frames that do not come");
    drop(announcers);
    honest.goes_on(10);
}

/// A Produce request of 31 MiB, and then nothing.
fn announces_and_stalls(port: u16) -> TcpStream {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut beginning = ANNOUNCED_BYTES.to_be_bytes().to_vec();
    // API, version, correlation id, client id "a", no tagged fields, no transaction, acks=all, timeout.
    beginning.extend([
        0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0xff, 0xff, 0, 0, 0x75, 0x30,
    ]);
    beginning.resize(BEGINNING_BYTES, 0);
    socket.write_all(&beginning).unwrap();
    socket
}
