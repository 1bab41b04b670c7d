//! Behaviour of one connection over an in-memory stream, with a service whose requests do what their bytes say.
//!
//! The version of a request chooses its lane, the first byte of its body what becomes of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use parking_lot::Mutex;
use streamhouse_protocol::rope::Rope;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Call, CloseReason, Connections, Service};
use crate::api::{Answer, Lane, Peer, Reply};
use crate::network::{Limits, RequestMemory};
use crate::security::Principal;

const PRODUCE: i16 = 0;
const OTHER: i16 = 3;

const ORDERED: i16 = 0;
const PIPELINED: i16 = 1;
const PARKED: i16 = 2;

/// Answer at once with the request's own bytes.
const ECHO: u8 = 0;
/// Answer when the test says so.
const WAIT: u8 = 1;
const SILENT: u8 = 2;
const CLOSE: u8 = 3;
const MALFORMED: u8 = 4;
const MUTE: u8 = 5;
/// Answer with 1 MiB.
const LARGE: u8 = 6;

#[derive(Debug, Default)]
struct Script {
    started: Mutex<Vec<u8>>,
    waiting: Mutex<BTreeMap<u8, oneshot::Sender<()>>>,
}

impl Script {
    fn complete(&self, id: u8) {
        self.waiting
            .lock()
            .remove(&id)
            .expect("the request has started")
            .send(())
            .unwrap();
    }

    fn started(&self) -> Vec<u8> {
        self.started.lock().clone()
    }
}

impl Service for Arc<Script> {
    fn call(&self, _: &Arc<Peer>, frame: Bytes) -> Result<Call, CloseReason> {
        let lane = match frame[3] {
            0 => Lane::Ordered,
            1 => Lane::Pipelined,
            _ => Lane::Parked,
        };
        let (verb, id) = (frame[8], frame[9]);
        if verb == MALFORMED {
            return Err(CloseReason::Unsupported {
                key: -1,
                version: -1,
            });
        }
        let script = Arc::clone(self);
        let run = async move {
            script.started.lock().push(id);
            let answer = frame.slice(8..);
            match verb {
                ECHO => Reply::now(prefixed(&answer)),
                WAIT => {
                    let (complete, completed) = oneshot::channel();
                    script.waiting.lock().insert(id, complete);
                    Reply::later(completed.map(move |_| prefixed(&answer)))
                }
                SILENT => Reply::Now(Answer::Silent),
                MUTE => Reply::Now(Answer::Respond {
                    response: prefixed(&answer),
                    mute: Duration::from_secs(1),
                }),
                LARGE => Reply::now(prefixed(&vec![id; 1024 * 1024])),
                _ => Reply::Now(Answer::Close(CloseReason::Unanswerable("told to"))),
            }
        };
        Ok(Call {
            lane,
            run: run.boxed(),
        })
    }
}

fn prefixed(bytes: &[u8]) -> Rope {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(bytes.len()).unwrap());
    frame.put_slice(bytes);
    Rope::from(frame.freeze())
}

fn request(key: i16, lane: i16, verb: u8, id: u8, padding: usize) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(10 + padding).unwrap());
    frame.put_i16(key);
    frame.put_i16(lane);
    frame.put_i32(0);
    frame.put_u8(verb);
    frame.put_u8(id);
    frame.put_bytes(7, padding);
    frame.to_vec()
}

struct Bench {
    script: Arc<Script>,
    clock: ManualClock,
    tasks: Tasks,
    connections: Connections,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with_memory(limits, RequestMemory::new(1 << 20, 1 << 22, 1 << 20))
    }

    fn with_memory(limits: Limits, memory: RequestMemory) -> Self {
        let script = Arc::<Script>::default();
        let clock = ManualClock::new(0);
        let tasks = Tasks::new();
        let ambient = Ambient {
            clock: Arc::new(clock.clone()),
            chance: Arc::new(SeededChance::new(1)),
            tasks: tasks.clone(),
        };
        let service = Arc::new(Arc::clone(&script));
        let connections = Connections {
            service,
            ambient,
            limits,
            memory,
        };
        Self {
            script,
            clock,
            tasks,
            connections,
        }
    }

    fn connect(&self) -> Client {
        let (stream, served) = tokio::io::duplex(64 * 1024);
        let peer = Arc::new(Peer {
            connection: 1,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: "PLAINTEXT".into(),
            principal: Principal::anonymous(),
        });
        let connections = self.connections.clone();
        let ended = Arc::new(Mutex::new(None));
        let told = Arc::clone(&ended);
        let serving = self.tasks.spawn("connection", async move {
            let reason = connections.serve(served, peer).await;
            *told.lock() = Some(reason);
        });
        Client {
            stream,
            serving,
            ended,
        }
    }

    /// Lets every task run until all of them wait.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, time: Duration) {
        self.settle().await;
        self.clock.advance(time);
        self.settle().await;
    }
}

struct Client {
    stream: DuplexStream,
    serving: JoinHandle<()>,
    ended: Arc<Mutex<Option<CloseReason>>>,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn answer(&mut self) -> Vec<u8> {
        let size = self.stream.read_u32().await.unwrap();
        let mut body = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        body
    }

    /// The ids of the next answers.
    async fn answers(&mut self, count: usize) -> Vec<u8> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.answer().await[1]);
        }
        ids
    }

    async fn closed(self) -> CloseReason {
        self.serving.await.unwrap();
        self.ended.lock().take().unwrap()
    }

    fn is_closed(&self) -> bool {
        self.ended.lock().is_some()
    }
}

#[tokio::test]
async fn pipelined_requests_start_in_order_and_are_answered_in_order() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    for id in 1..=3 {
        client.send(&request(PRODUCE, PIPELINED, WAIT, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3]);
    bench.script.complete(3);
    bench.script.complete(2);
    bench.settle().await;
    assert!(
        client.stream.read_u8().now_or_never().is_none(),
        "2 and 3 wait for 1"
    );
    bench.script.complete(1);
    assert_eq!(client.answers(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_ordered_request_is_answered_before_the_next_one_starts() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, ORDERED, WAIT, 1, 0)).await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.script.complete(1);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn a_parked_request_holds_no_memory_and_lets_others_start() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 100_000)).await;
    client
        .send(&request(PRODUCE, PIPELINED, WAIT, 2, 1000))
        .await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2]);
    assert_eq!(
        bench.connections.memory.used_bytes(),
        1010,
        "the pipelined one still counts"
    );
    bench.script.complete(2);
    bench.settle().await;
    assert_eq!(bench.connections.memory.used_bytes(), 0);
    bench.script.complete(1);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn one_request_parks_at_a_time() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    client.send(&request(OTHER, PARKED, WAIT, 2, 0)).await;
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.script.complete(1);
    bench.settle().await;
    bench.script.complete(2);
    assert_eq!(client.answers(2).await, [1, 2]);
}

#[tokio::test]
async fn a_silent_request_gets_no_answer_and_the_next_one_does() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 1, 0))
        .await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(client.answers(1).await, [2]);
}

#[tokio::test]
async fn a_close_comes_after_the_answers_before_it() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(PRODUCE, PIPELINED, WAIT, 1, 0)).await;
    client.send(&request(PRODUCE, PIPELINED, CLOSE, 2, 0)).await;
    client.send(&request(PRODUCE, PIPELINED, ECHO, 3, 0)).await;
    bench.settle().await;
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(
        bench.script.started(),
        [1, 2],
        "nothing starts after a close"
    );
    assert_eq!(client.closed().await, CloseReason::Unanswerable("told to"));
}

#[tokio::test]
async fn a_malformed_request_closes_only_its_own_connection() {
    let bench = Bench::new(Limits::default());
    let (mut bad, mut good) = (bench.connect(), bench.connect());
    bad.send(&request(OTHER, ORDERED, MALFORMED, 1, 0)).await;
    assert_eq!(
        bad.closed().await,
        CloseReason::Unsupported {
            key: -1,
            version: -1
        }
    );
    good.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(good.answers(1).await, [2]);
}

#[tokio::test]
async fn sizes_that_are_none_close_the_connection_before_anything_is_reserved() {
    for size in [i32::MIN, -1, 0, 7, 2001, i32::MAX] {
        let limits = Limits {
            frame_bytes_max: 2000,
            ..Limits::default()
        };
        let bench = Bench::new(limits);
        let mut client = bench.connect();
        client.send(&size.to_be_bytes()).await;
        bench.settle().await;
        assert!(client.is_closed(), "{size}");
        assert!(
            matches!(client.closed().await, CloseReason::FrameLength(_)),
            "{size}"
        );
        assert_eq!(bench.connections.memory.used_bytes(), 0);
    }
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    let mut bytes = Vec::new();
    for (id, padding) in [
        (1, 0),
        (2, 1),
        (3, 40_000),
        (4, 32 * 1024 - 10),
        (5, 300_000),
        (6, 3),
    ] {
        bytes.extend(request(OTHER, ORDERED, ECHO, id, padding));
    }
    let mut received = Vec::new();
    for (index, cut) in bytes.chunks(7919).enumerate() {
        for part in cut.chunks(if index % 2 == 0 { 7919 } else { 1500 }) {
            client.send(part).await;
            bench.settle().await;
            while let Some(Ok(read)) = {
                let mut buffer = [0; 4096];
                let read = client.stream.read(&mut buffer).now_or_never();
                if let Some(Ok(read)) = read {
                    received.extend_from_slice(&buffer[..read]);
                }
                read
            } {
                assert!(read > 0);
                bench.settle().await;
            }
        }
    }
    let expected: Vec<u8> = [
        (1, 0),
        (2, 1),
        (3, 40_000),
        (4, 32 * 1024 - 10),
        (5, 300_000),
        (6, 3),
    ]
    .iter()
    .flat_map(|&(id, padding)| {
        prefixed(&request(OTHER, ORDERED, ECHO, id, padding)[12..]).into_bytes()
    })
    .collect();
    assert!(received == expected);
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn an_idle_connection_closes_and_a_busy_one_does_not() {
    let bench = Bench::new(Limits::default());
    let (idle, mut busy) = (bench.connect(), bench.connect());
    busy.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    bench.pass(Duration::from_secs(599)).await;
    assert!(!idle.is_closed());
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(idle.closed().await, CloseReason::Idle);
    assert!(!busy.is_closed());
    bench.script.complete(1);
    assert_eq!(busy.answers(1).await, [1]);
    bench.pass(Duration::from_secs(1201)).await;
    bench.pass(Duration::from_secs(601)).await;
    assert_eq!(busy.closed().await, CloseReason::Idle);
}

#[tokio::test]
async fn a_frame_that_stalls_closes_its_connection() {
    let limits = Limits::default();
    for sent in [1, 4, 8, 12, 500] {
        let bench = Bench::new(limits);
        let mut client = bench.connect();
        client
            .send(&request(PRODUCE, PIPELINED, ECHO, 1, 1000)[..sent])
            .await;
        bench.pass(Duration::from_secs(9)).await;
        assert!(!client.is_closed(), "{sent}");
        bench.pass(Duration::from_secs(2)).await;
        // The wait is looked at every two seconds.
        bench.pass(Duration::from_secs(2)).await;
        assert!(client.is_closed(), "{sent}");
        assert_eq!(client.closed().await, CloseReason::SlowSender);
        assert_eq!(bench.connections.memory.used_bytes(), 0);
    }
}

#[tokio::test]
async fn a_dripping_sender_runs_out_of_time() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    let frame = request(PRODUCE, PIPELINED, ECHO, 1, 1000);
    let mut sent = 0;
    while !client.is_closed() {
        assert!(sent < 20, "one byte a second is too slow");
        client.send(&frame[sent..=sent]).await;
        sent += 1;
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(client.closed().await, CloseReason::SlowSender);
}

#[tokio::test]
async fn sockets_that_announce_frames_and_stall_stop_nobody() {
    let produce_bytes = 256 * 1024;
    let memory = RequestMemory::new(produce_bytes, 1 << 20, 1 << 20);
    let bench = Bench::with_memory(Limits::default(), memory);
    let mut stallers = Vec::new();
    for _ in 0..200 {
        let mut staller = bench.connect();
        staller
            .send(&request(PRODUCE, PIPELINED, ECHO, 1, 1_000_000)[..1000])
            .await;
        stallers.push(staller);
    }
    bench.settle().await;
    let mut honest = bench.connect();
    honest
        .send(&request(PRODUCE, PIPELINED, ECHO, 9, 20_000))
        .await;
    let mut seconds = 0;
    while bench.script.started().is_empty() {
        seconds += 1;
        assert!(seconds < 60, "the honest producer starves");
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(honest.answers(1).await, [9]);
    // A heartbeat does not wait at all.
    let mut other = bench.connect();
    other.send(&request(OTHER, ORDERED, ECHO, 8, 0)).await;
    assert_eq!(other.answers(1).await, [8]);
}

#[tokio::test]
async fn half_read_frames_that_fill_the_pool_all_complete() {
    let memory = RequestMemory::new(100_000, 1 << 20, 1 << 20);
    let bench = Bench::with_memory(Limits::default(), memory);
    let frame = request(PRODUCE, PIPELINED, ECHO, 1, 120_000);
    let mut clients: Vec<Client> = (0..8).map(|_| bench.connect()).collect();
    for client in &mut clients {
        client.send(&frame[..33_000]).await;
    }
    bench.settle().await;
    let mut sent = vec![33_000; clients.len()];
    let mut answered = 0;
    while answered < clients.len() {
        answered = 0;
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            if let Some(Ok(more)) = client.stream.write(&frame[*sent..]).now_or_never() {
                *sent += more;
            }
            bench.settle().await;
            assert!(bench.connections.memory.used_bytes() <= 100_000 + frame.len());
            let mut buffer = vec![0; 32 * 1024];
            while let Some(Ok(read)) = client.stream.read(&mut buffer).now_or_never() {
                assert!(read > 0, "{:?}", client.ended.lock());
                bench.settle().await;
            }
            answered += usize::from(*sent == frame.len());
        }
    }
    bench.settle().await;
    assert_eq!(bench.script.started().len(), 8);
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn a_connection_has_a_bound_of_requests_in_flight() {
    let limits = Limits {
        requests_in_flight_max: 4,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    let mut client = bench.connect();
    for id in 1..=6 {
        client.send(&request(PRODUCE, PIPELINED, WAIT, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3, 4]);
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    bench.settle().await;
    assert_eq!(bench.script.started(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_holds_back_only_itself() {
    let limits = Limits {
        answer_bytes_waiting_max: 2 << 20,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    let (mut slow, mut other) = (bench.connect(), bench.connect());
    for id in 0..20 {
        slow.send(&request(OTHER, ORDERED, LARGE, id, 0)).await;
    }
    bench.settle().await;
    assert_eq!(bench.script.started().len(), 2, "2 MiB of answers wait");
    other.send(&request(OTHER, ORDERED, ECHO, 99, 0)).await;
    assert_eq!(other.answers(1).await, [99]);
    bench.pass(Duration::from_secs(29)).await;
    assert!(!slow.is_closed());
    bench.pass(Duration::from_secs(10)).await;
    bench.pass(Duration::from_secs(10)).await;
    assert_eq!(slow.closed().await, CloseReason::SlowReader);
}

#[tokio::test]
async fn a_throttled_connection_starts_nothing_until_its_time_is_over() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, ORDERED, MUTE, 1, 0)).await;
    client.send(&request(OTHER, ORDERED, ECHO, 2, 0)).await;
    assert_eq!(
        client.answers(1).await,
        [1],
        "the answer itself is not held back"
    );
    bench.settle().await;
    assert_eq!(bench.script.started(), [1]);
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(client.answers(1).await, [2]);
}

#[tokio::test]
async fn what_arrived_before_the_peer_closed_is_carried_out() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 1, 0))
        .await;
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 2, 0))
        .await;
    client
        .send(&request(PRODUCE, PIPELINED, SILENT, 3, 100)[..50])
        .await;
    drop(client.stream);
    client.serving.await.unwrap();
    assert_eq!(bench.script.started(), [1, 2]);
    assert_eq!(client.ended.lock().take(), Some(CloseReason::PeerClosed));
    assert_eq!(bench.connections.memory.used_bytes(), 0);
}

#[tokio::test]
async fn shutdown_answers_what_was_accepted_and_reads_nothing_more() {
    let bench = Bench::new(Limits::default());
    let (mut client, idle) = (bench.connect(), bench.connect());
    client.send(&request(PRODUCE, PIPELINED, WAIT, 1, 0)).await;
    bench.settle().await;
    bench.tasks.shut_down();
    bench.settle().await;
    assert_eq!(idle.closed().await, CloseReason::ShuttingDown);
    client.send(&request(PRODUCE, PIPELINED, ECHO, 2, 0)).await;
    bench.script.complete(1);
    assert_eq!(client.answers(1).await, [1]);
    assert_eq!(client.closed().await, CloseReason::ShuttingDown);
    assert_eq!(bench.script.started(), [1]);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.connect();
    client.send(&request(OTHER, PARKED, WAIT, 1, 0)).await;
    bench.settle().await;
    bench.tasks.shut_down();
    bench.pass(Duration::from_secs(9)).await;
    assert!(!client.is_closed());
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(client.closed().await, CloseReason::ShuttingDown);
}
