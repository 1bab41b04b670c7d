//! The floor: the smallest broker that acknowledges only what is on disk. It shows what a machine allows a Kafka broker
//! that shares its cores with its clients; it is a yardstick and no product.
//!
//! `streamhouse-floor HOST:PORT WAL_FILE` answers ApiVersions, Metadata, CreateTopics, InitProducerId and Produce, each in one
//! version. A Produce request is parsed, the CRC of its batch is checked, the batch gets its offset, everything that
//! waits is written with one call and one `fdatasync`, and then the answers go out. Nothing is indexed, read back or
//! recovered, producers are not told apart, and the WAL is a ring of zeroes that is written over and over.
//!
//! Invariants: an answer leaves only after the `fdatasync` that covers its batch; what waits is bounded by
//! [`IN_FLIGHT_MAX`] requests a connection.

mod wal;
mod wire;

use std::collections::HashMap;
use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::wal::Wal;
use crate::wire::{Answer, Malformed, Request};

/// Requests of one connection that may wait for the disk; further ones stay in the socket.
const IN_FLIGHT_MAX: usize = 64;

/// The largest request that is read.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// The least room that a read is given.
const READ_BYTES_MIN: usize = 64 << 10;

/// What an answer waits for when it waits for nothing.
const NOTHING: u64 = 0;

/// Topics by name: the next offset of each partition. Held for a lookup and a count, never across a wait.
type Topics = Mutex<HashMap<String, Vec<i64>>>;

struct Floor {
    host: String,
    port: u16,
    topics: Topics,
    wal: Wal,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, wal_file] = arguments.as_slice() else {
        return failed("usage: streamhouse-floor HOST:PORT WAL_FILE");
    };
    match serve(address, wal_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("floor on {address} with {wal_file}: {error}")),
    }
}

fn failed(text: &str) -> ExitCode {
    // If standard error is closed, nobody listens.
    let _ = writeln!(io::stderr(), "error: {text}");
    ExitCode::FAILURE
}

fn serve(address: &str, wal_file: &str) -> io::Result<()> {
    let wal = Wal::open(wal_file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        writeln!(io::stdout(), "ready on {bound}")?;
        let floor = Arc::new(Floor {
            host: bound.ip().to_string(),
            port: bound.port(),
            topics: Topics::default(),
            wal,
        });
        loop {
            let (stream, _) = listener.accept().await?;
            runtime.spawn(connection(Arc::clone(&floor), stream));
        }
    })
}

/// Reads requests here and writes answers in a task of their own. A connection that breaks is forgotten.
async fn connection(floor: Arc<Floor>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (read, write) = stream.into_split();
    let (answers, queue) = mpsc::channel(IN_FLIGHT_MAX);
    let durable = floor.wal.durable();
    // The end of a stream, a broken one, and a request that cannot be read end a connection alike.
    Handle::current().spawn(async move {
        let _ = write_answers(write, queue, durable).await;
    });
    let _ = read_requests(&floor, read, answers).await;
}

async fn read_requests(
    floor: &Floor,
    mut read: OwnedReadHalf,
    answers: mpsc::Sender<(u64, Bytes)>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = next_frame(&mut buffer)? {
            let (after, answer) = floor.answer(frame)?;
            if answers.send((after, answer)).await.is_err() {
                return Ok(());
            }
        }
        let whole = frame_bytes(&buffer)?.unwrap_or(0);
        buffer.reserve(whole.saturating_sub(buffer.len()).max(READ_BYTES_MIN));
        if read.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The size of the frame at the beginning of `buffer`, its length included.
fn frame_bytes(buffer: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = buffer.first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > REQUEST_BYTES_MAX {
        return Err(Malformed.into());
    }
    Ok(Some(4 + length))
}

fn next_frame(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    match frame_bytes(buffer)? {
        Some(whole) if buffer.len() >= whole => {
            let mut frame = buffer.split_to(whole).freeze();
            frame.advance(4);
            Ok(Some(frame))
        }
        Some(_) | None => Ok(None),
    }
}

/// Writes answers in the order of their requests, all that the disk allows at once.
async fn write_answers(
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<(u64, Bytes)>,
    mut durable: wal::Durable,
) -> io::Result<()> {
    let mut ready = BytesMut::new();
    let mut next = queue.recv().await;
    while let Some((after, answer)) = next.take() {
        let reached = durable.reached(after).await?;
        ready.extend_from_slice(&answer);
        while let Ok((after, answer)) = queue.try_recv() {
            if after > reached {
                next = Some((after, answer));
                break;
            }
            ready.extend_from_slice(&answer);
        }
        write.write_all(&ready).await?;
        ready.clear();
        if next.is_none() {
            next = queue.recv().await;
        }
    }
    Ok(())
}

impl Floor {
    /// The answer to a request, and the place in the WAL that must be durable before it may leave.
    fn answer(&self, frame: Bytes) -> Result<(u64, Bytes), Malformed> {
        let (head, request) = wire::read(frame)?;
        let mut answer = Answer::new(head);
        let after = match request {
            Request::Unknown => {
                answer.api_versions(wire::UNSUPPORTED_VERSION);
                NOTHING
            }
            Request::ApiVersions => {
                answer.api_versions(wire::NONE);
                NOTHING
            }
            Request::Metadata { topics } => {
                let known = self.topics();
                let topics: Vec<(&str, usize)> = topics
                    .iter()
                    .map(|name| (name.as_str(), known.get(name).map_or(0, Vec::len)))
                    .collect();
                answer.metadata(&self.host, self.port, &topics);
                NOTHING
            }
            Request::CreateTopics { topics } => {
                let mut known = self.topics();
                for (name, partitions) in &topics {
                    let all = known.entry(name.clone());
                    all.or_insert_with(|| vec![0; (*partitions).max(1)]);
                }
                answer.create_topics(&topics);
                NOTHING
            }
            Request::InitProducerId => {
                answer.init_producer_id();
                NOTHING
            }
            Request::Produce {
                topic,
                partition,
                batch,
            } => {
                let records = wire::checked_records(&batch)?;
                let base_offset = self.offset(&topic, partition, records)?;
                answer.produce(&topic, partition, base_offset);
                self.wal.append(batch)
            }
        };
        Ok((after, answer.finish()))
    }

    fn offset(&self, topic: &str, partition: usize, records: i64) -> Result<i64, Malformed> {
        let mut topics = self.topics();
        let next = topics
            .get_mut(topic)
            .and_then(|partitions| partitions.get_mut(partition))
            .ok_or(Malformed)?;
        let base = *next;
        *next += records;
        Ok(base)
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Vec<i64>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
