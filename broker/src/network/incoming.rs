//! Frames on their way from the socket: length first, memory second, body third.
//!
//! Invariants: nothing is allocated for a frame before its length was judged; what is allocated is paid for in the
//! request memory; an idle connection holds eight bytes; a frame that was begun keeps a minimum rate, or the connection
//! closes.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::frame::{FrameLimit, PREFIX_BYTES};
use streamhouse_runtime::Clock;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::closing::CloseReason;
use super::connection::{Arriving, Connections, Service};
use super::in_flight::{InFlight, Ticket};
use super::limits::Limits;
use super::memory::{RequestMemory, Reservation};
use super::pace::{Pace, patiently};

/// The size of a frame, its API key and its version: what is read before memory is taken.
const HEAD_BYTES: usize = 8;

/// What a frame pays for at first. Then 32 times what it has, so that growing moves three percent of its bytes, and
/// who wants to hold a megabyte without sending it has to send 32 KiB of it.
const FIRST_STEP_BYTES: usize = 32 * 1024;
const GROWTH: usize = 32;

/// A frame that arrived whole, and what is released when it is no longer needed.
#[derive(Debug)]
pub(super) struct Frame {
    /// Without its size.
    pub(super) bytes: Bytes,
    /// Counts it as a request of its connection until it is answered.
    pub(super) request: Ticket,
    /// Its memory, until nothing refers to its bytes.
    pub(super) memory: FrameMemory,
    /// Announces what it may append, until it was appended.
    pub(super) arriving: Option<Arriving>,
}

/// What the bytes of a frame cost, in the pool and in the connection's own count.
#[derive(Debug)]
pub(super) struct FrameMemory {
    _reservation: Reservation,
    _bytes: Ticket,
}

/// Reads frames from one connection.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: R,
    head: [u8; HEAD_BYTES],
    /// How much of `head` is there: the read of a body takes along what follows it.
    head_filled: usize,
    clock: Arc<dyn Clock>,
    limits: Limits,
    memory: RequestMemory,
    service: Arc<dyn Service>,
    in_flight: Arc<InFlight>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(super) fn new(reader: R, shared: &Connections, in_flight: Arc<InFlight>) -> Self {
        Self {
            reader,
            head: [0; HEAD_BYTES],
            head_filled: 0,
            clock: Arc::clone(&shared.ambient.clock),
            limits: shared.limits,
            memory: shared.memory.clone(),
            service: Arc::clone(&shared.service),
            in_flight,
        }
    }

    /// The next frame. Not cancel-safe: an interrupted read leaves the connection in the middle of a frame, so drop it
    /// only to close the connection.
    pub(super) async fn next(&mut self) -> Result<Frame, CloseReason> {
        if self.head_filled == 0 {
            self.wait_for_first_byte().await?;
        }
        let mut pace = self.pace();
        while self.head_filled < HEAD_BYTES {
            let read = self.reader.read(&mut self.head[self.head_filled..]);
            let limit = pace.deadline(self.head_filled);
            let read = patiently(&*self.clock, limit, read).await;
            self.head_filled += bytes_read(read.ok_or(CloseReason::SlowSender)?)?;
            // The size is judged as soon as it is there: nobody waits for the rest of what is refused.
            self.frame_bytes()?;
        }
        let frame_bytes = self.frame_bytes()?.unwrap_or(0);
        let asked = self.clock.monotonic();
        let request = self.in_flight.admit_request().await;
        pace.pause(self.clock.monotonic() - asked);
        self.body(frame_bytes, pace, request).await
    }

    fn pace(&self) -> Pace {
        let limits = &self.limits;
        Pace::new(
            self.clock.monotonic(),
            limits.frame_grace,
            limits.bytes_per_second_min,
        )
    }

    /// The size of the frame, once it is there.
    fn frame_bytes(&self) -> Result<Option<usize>, CloseReason> {
        let size = self.head.first_chunk::<PREFIX_BYTES>();
        let (Some(size), true) = (size, self.head_filled >= PREFIX_BYTES) else {
            return Ok(None);
        };
        let limit = u32::try_from(self.limits.frame_bytes_max).unwrap_or(u32::MAX);
        FrameLimit::new(limit)
            .size(*size)
            .map(Some)
            .map_err(CloseReason::FrameLength)
    }

    /// Waits while the connection is idle. A request under way, or one that ended meanwhile, starts the wait again.
    async fn wait_for_first_byte(&mut self) -> Result<(), CloseReason> {
        loop {
            let limit = self.clock.monotonic() + self.limits.idle;
            let read = patiently(&*self.clock, limit, self.reader.read(&mut self.head)).await;
            if let Some(read) = read {
                self.head_filled = bytes_read(read)?;
                self.frame_bytes()?;
                return Ok(());
            }
            if !self.in_flight.take_activity() {
                return Err(CloseReason::Idle);
            }
        }
    }

    async fn body(
        &mut self,
        frame_bytes: usize,
        mut pace: Pace,
        request: Ticket,
    ) -> Result<Frame, CloseReason> {
        let is_produce =
            self.head[PREFIX_BYTES..PREFIX_BYTES + 2] == (ApiKey::Produce as i16).to_be_bytes();
        let mut reservation = self.memory.pool_of(is_produce, frame_bytes).reservation();
        let arriving = is_produce.then(|| self.service.arriving()).flatten();
        let held = self.in_flight.hold_bytes(frame_bytes);
        let mut frame = BytesMut::new();
        while frame.len() < frame_bytes {
            if frame.len() == reservation.held_bytes() {
                let step = next_step(frame.len(), frame_bytes);
                let asked = self.clock.monotonic();
                reservation.grow(step).await;
                pace.pause(self.clock.monotonic() - asked);
                let spare = if frame.len() + step == frame_bytes {
                    HEAD_BYTES
                } else {
                    0
                };
                let mut larger = BytesMut::with_capacity(frame.len() + step + spare);
                larger.put_slice(if frame.is_empty() {
                    &self.head[PREFIX_BYTES..]
                } else {
                    &frame
                });
                frame = larger;
                continue;
            }
            let paid = reservation.held_bytes();
            // The last read may run into the next frame's head: one system call less per request.
            let room = if paid == frame_bytes {
                paid + HEAD_BYTES
            } else {
                paid
            } - frame.len();
            self.read_more(&mut frame, room, &pace, &reservation)
                .await?;
        }
        self.head_filled = frame.len() - frame_bytes;
        self.head[..self.head_filled].copy_from_slice(&frame[frame_bytes..]);
        frame.truncate(frame_bytes);
        let memory = FrameMemory {
            _reservation: reservation,
            _bytes: held,
        };
        Ok(Frame {
            bytes: frame.freeze(),
            request,
            memory,
            arriving,
        })
    }

    async fn read_more(
        &mut self,
        frame: &mut BytesMut,
        room: usize,
        pace: &Pace,
        reservation: &Reservation,
    ) -> Result<(), CloseReason> {
        loop {
            let too_slow = pace.deadline(frame.len());
            let look = self.clock.monotonic() + self.limits.frame_stall_contended;
            let mut part = (&mut *frame).limit(room);
            let read = self.reader.read_buf(&mut part);
            if let Some(read) = patiently(&*self.clock, too_slow.min(look), read).await {
                bytes_read(read)?;
                return Ok(());
            }
            if self.clock.monotonic() >= too_slow || reservation.is_contended() {
                return Err(CloseReason::SlowSender);
            }
        }
    }
}

/// How much memory a frame takes next, having read `read` of `frame_bytes`.
fn next_step(read: usize, frame_bytes: usize) -> usize {
    read.saturating_mul(GROWTH - 1)
        .max(FIRST_STEP_BYTES)
        .min(frame_bytes - read)
}

fn bytes_read(read: io::Result<usize>) -> Result<usize, CloseReason> {
    match read {
        Ok(0) => Err(CloseReason::PeerClosed),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(CloseReason::Socket(error.kind())),
    }
}
