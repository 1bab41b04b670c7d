//! A connection over an in-memory stream, with a service whose requests do what their bytes say.
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

use super::super::{Arriving, Call, CloseReason, Connections, Service};
use crate::api::{Answer, Lane, Peer, Reply};
use crate::fetch_memory::FetchReader;
use crate::network::{Limits, RequestMemory};
use crate::security::Principal;

pub(super) const PRODUCE: i16 = 0;
pub(super) const OTHER: i16 = 3;

pub(super) const ORDERED: i16 = 0;
pub(super) const PIPELINED: i16 = 1;
pub(super) const PARKED: i16 = 2;

/// Answer at once with the request's own bytes.
pub(super) const ECHO: u8 = 0;
/// Answer when the test says so.
pub(super) const WAIT: u8 = 1;
pub(super) const SILENT: u8 = 2;
pub(super) const CLOSE: u8 = 3;
pub(super) const MALFORMED: u8 = 4;
pub(super) const MUTE: u8 = 5;
/// Answer with 1 MiB.
pub(super) const LARGE: u8 = 6;

#[derive(Debug, Default)]
pub(super) struct Script {
    /// One more than the announcements of Produce requests that are held.
    announced: Arc<()>,
    started: Mutex<Vec<u8>>,
    waiting: Mutex<BTreeMap<u8, oneshot::Sender<()>>>,
}

impl Script {
    pub(super) fn complete(&self, id: u8) {
        self.waiting
            .lock()
            .remove(&id)
            .expect("the request has started")
            .send(())
            .unwrap();
    }

    /// How many Produce requests have begun to arrive and have not started.
    pub(super) fn arriving(&self) -> usize {
        Arc::strong_count(&self.announced) - 1
    }

    pub(super) fn started(&self) -> Vec<u8> {
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

    fn arriving(&self) -> Option<Arriving> {
        Some(Box::new(Arc::clone(&self.announced)))
    }
}

pub(super) fn prefixed(bytes: &[u8]) -> Rope {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(bytes.len()).unwrap());
    frame.put_slice(bytes);
    Rope::from(frame.freeze())
}

pub(super) fn request(key: i16, lane: i16, verb: u8, id: u8, padding: usize) -> Vec<u8> {
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

pub(super) struct Bench {
    pub(super) script: Arc<Script>,
    pub(super) clock: ManualClock,
    pub(super) tasks: Tasks,
    pub(super) connections: Connections,
}

impl Bench {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_memory(limits, RequestMemory::new(1 << 20, 1 << 22, 1 << 20))
    }

    pub(super) fn with_memory(limits: Limits, memory: RequestMemory) -> Self {
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

    pub(super) fn connect(&self) -> Client {
        self.connect_as(Arc::default())
    }

    /// A connection whose answers may hold memory for records.
    pub(super) fn connect_as(&self, fetch_reader: Arc<FetchReader>) -> Client {
        let (stream, served) = tokio::io::duplex(64 * 1024);
        let peer = Arc::new(Peer {
            connection: 1,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: "PLAINTEXT".into(),
            principal: Principal::anonymous(),
            fetch_reader,
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
    pub(super) async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.settle().await;
        self.clock.advance(time);
        self.settle().await;
    }
}

pub(super) struct Client {
    pub(super) stream: DuplexStream,
    pub(super) serving: streamhouse_runtime::Running<()>,
    pub(super) ended: Arc<Mutex<Option<CloseReason>>>,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn answer(&mut self) -> Vec<u8> {
        let size = self.stream.read_u32().await.unwrap();
        let mut body = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        body
    }

    /// The ids of the next answers.
    pub(super) async fn answers(&mut self, count: usize) -> Vec<u8> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.answer().await[1]);
        }
        ids
    }

    pub(super) async fn closed(self) -> CloseReason {
        self.serving.await.unwrap();
        self.ended.lock().take().unwrap()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.ended.lock().is_some()
    }
}
