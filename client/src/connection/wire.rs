//! The two tasks of a connection: one writes requests, one reads answers and gives each to whom it belongs.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Encoded, HEAD_BYTES};
use crate::connector::Stream;

/// Requests that are written with one system call.
const WRITE_TOGETHER_MAX: usize = 32;

/// The least room for answers that the reader makes, in bytes.
const READ_ROOM: usize = 64 << 10;

/// What a frame begins with, in bytes: its size.
const PREFIX_BYTES: usize = 4;

type AnswerSender = oneshot::Sender<Result<Bytes, Arc<str>>>;
type WrittenSender = oneshot::Sender<Result<(), Arc<str>>>;

/// A request on its way to the writer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Encoded,
    pub(super) waiter: Waiter,
}

/// Who waits for what. A waiter that is dropped learns that its request was not sent.
#[derive(Debug)]
pub(super) enum Waiter {
    /// For the answer; the request takes a place among those on the way until it comes.
    ForAnswer(AnswerSender, OwnedSemaphorePermit),
    /// Until the request is written: there will be no answer.
    ForWrite(WrittenSender),
}

/// Requests that were written and not answered. The lock is held for a push or a pop, never over an await. Bounded by
/// the permits that its entries hold.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: VecDeque<(i32, AnswerSender, OwnedSemaphorePermit)>,
    closed: Option<Arc<str>>,
}

impl Pending {
    pub(super) const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Why the connection ended.
    pub(super) fn reason(&self) -> Arc<str> {
        self.closed
            .clone()
            .unwrap_or_else(|| Arc::from("it was closed"))
    }

    fn close(&mut self, reason: &str) {
        if self.closed.is_none() {
            self.closed = Some(Arc::from(reason));
        }
        let reason = self.reason();
        for (_, answer, _) in self.waiting.drain(..) {
            // Whoever no longer waits does not need to know.
            let _ = answer.send(Err(Arc::clone(&reason)));
        }
    }
}

/// The writing task.
#[derive(Debug)]
pub(super) struct Writing {
    pending: Arc<Mutex<Pending>>,
    ended: CancellationToken,
    next_correlation_id: i32,
}

impl Writing {
    pub(super) const fn new(pending: Arc<Mutex<Pending>>, ended: CancellationToken) -> Self {
        Self {
            pending,
            ended,
            next_correlation_id: 1,
        }
    }

    /// Writes what is queued until nobody can queue any more, or the connection ends.
    pub(super) async fn run(
        mut self,
        mut stream: WriteHalf<Box<dyn Stream>>,
        mut queue: mpsc::Receiver<Outgoing>,
    ) {
        let mut together = Vec::with_capacity(WRITE_TOGETHER_MAX);
        loop {
            // Both arms are cancel-safe: recv_many takes nothing unless it completes, the token keeps its state.
            let taken = tokio::select! {
                taken = queue.recv_many(&mut together, WRITE_TOGETHER_MAX) => taken,
                () = self.ended.cancelled() => 0,
            };
            if taken == 0 {
                break;
            }
            let mut written = Vec::new();
            let Some(pieces) = self.number(&mut together, &mut written) else {
                break;
            };
            // A request that was written in part may have been written as a whole: that it failed is not certain.
            let outcome = write_all(&mut stream, pieces).await.map_err(|error| {
                let mut pending = self.pending.lock();
                pending.close(&error.to_string());
                pending.reason()
            });
            for waiter in written {
                // Whoever no longer waits does not need to know.
                let _ = waiter.send(outcome.clone());
            }
            if outcome.is_err() {
                break;
            }
        }
        queue.close();
        self.ended.cancel();
        // The peer may be gone already; then there is nothing to end.
        let _ = stream.shutdown().await;
    }

    /// Gives each request its correlation id and enters who waits for it in one list or the other. `None` if the connection
    /// has ended: then nobody is entered and their senders are dropped, which means not sent.
    fn number(
        &mut self,
        together: &mut Vec<Outgoing>,
        written: &mut Vec<WrittenSender>,
    ) -> Option<VecDeque<Bytes>> {
        let mut pieces = VecDeque::with_capacity(together.len() * 2);
        let mut pending = self.pending.lock();
        if pending.is_closed() {
            return None;
        }
        for Outgoing { request, waiter } in together.drain(..) {
            let id = self.next_correlation_id;
            self.next_correlation_id = id.wrapping_add(1);
            pieces.push_back(head(&request, id));
            pieces.push_back(request.rest);
            match waiter {
                Waiter::ForAnswer(answer, permit) => {
                    pending.waiting.push_back((id, answer, permit))
                }
                Waiter::ForWrite(waiter) => written.push(waiter),
            }
        }
        Some(pieces)
    }
}

fn head(request: &Encoded, correlation_id: i32) -> Bytes {
    let size = HEAD_BYTES - PREFIX_BYTES + request.rest.len();
    let size = i32::try_from(size).expect("the encoder refuses frames beyond 2 GiB");
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&size.to_be_bytes());
    head.extend_from_slice(&(request.api_key as i16).to_be_bytes());
    head.extend_from_slice(&request.version.to_be_bytes());
    head.extend_from_slice(&correlation_id.to_be_bytes());
    head.freeze()
}

async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut pieces: VecDeque<Bytes>,
) -> io::Result<()> {
    while let Some(first) = pieces.front() {
        if first.is_empty() {
            pieces.pop_front();
            continue;
        }
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut written = stream.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut() {
            let part = written.min(first.len());
            first.advance(part);
            written -= part;
            if !first.is_empty() {
                break;
            }
            pieces.pop_front();
        }
    }
    stream.flush().await
}

/// The reading task.
#[derive(Debug)]
pub(super) struct Reading {
    pending: Arc<Mutex<Pending>>,
    ended: CancellationToken,
    answer_bytes_max: usize,
}

impl Reading {
    pub(super) const fn new(
        pending: Arc<Mutex<Pending>>,
        ended: CancellationToken,
        answer_bytes_max: usize,
    ) -> Self {
        Self {
            pending,
            ended,
            answer_bytes_max,
        }
    }

    /// Reads answers until the connection ends, then tells everybody who waits.
    pub(super) async fn run(self, mut stream: ReadHalf<Box<dyn Stream>>) {
        let mut buffer = BytesMut::with_capacity(READ_ROOM);
        let reason = loop {
            let needed = match self.deliver(&mut buffer) {
                Ok(needed) => needed,
                Err(reason) => break reason,
            };
            buffer.reserve(needed.max(READ_ROOM));
            // Both arms are cancel-safe: read_buf reads nothing unless it completes, the token keeps its state.
            let read = tokio::select! {
                read = stream.read_buf(&mut buffer) => read,
                () = self.ended.cancelled() => break "it was closed by this client".to_owned(),
            };
            match read {
                Ok(0) => break "the broker closed it".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        self.pending.lock().close(&reason);
        self.ended.cancel();
    }

    /// Gives away every whole frame of the buffer; says how many bytes the next one still needs.
    fn deliver(&self, buffer: &mut BytesMut) -> Result<usize, String> {
        loop {
            let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
                return Ok(PREFIX_BYTES - buffer.len());
            };
            let size = i32::from_be_bytes(*prefix);
            let size = usize::try_from(size)
                .ok()
                .filter(|size| (PREFIX_BYTES..=self.answer_bytes_max).contains(size))
                .ok_or_else(|| {
                    format!("an answer of {size} bytes is none of the kafka protocol's")
                })?;
            let whole = PREFIX_BYTES + size;
            if buffer.len() < whole {
                return Ok(whole - buffer.len());
            }
            let mut frame = buffer.split_to(whole).freeze();
            frame.advance(PREFIX_BYTES);
            self.give(frame)?;
        }
    }

    fn give(&self, frame: Bytes) -> Result<(), String> {
        let id = frame.first_chunk().copied().map_or(0, i32::from_be_bytes);
        let oldest = self.pending.lock().waiting.pop_front();
        match oldest {
            Some((expected, answer, _permit)) if expected == id => {
                // Whoever no longer waits does not need the answer.
                let _ = answer.send(Ok(frame));
                Ok(())
            }
            Some((expected, answer, _)) => {
                let reason = format!("an answer has the number {id} instead of {expected}");
                // Whoever no longer waits does not need to know.
                let _ = answer.send(Err(Arc::from(reason.as_str())));
                Err(reason)
            }
            None => Err("an answer came that nobody asked for".to_owned()),
        }
    }
}
