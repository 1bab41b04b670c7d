//! One connection: reads ahead, starts requests in order, completes them beside each other, answers in order.
//!
//! ```text
//! socket -> Incoming -> frames -> stage -> pending -> write -> socket
//!           (memory)              (order)             (order)
//! ```
//!
//! The three parts run in one task. Every frame holds a ticket until its answer is written, and the number of tickets
//! bounds both queues. When nothing more is read (the peer closed, a limit, shutdown), what was accepted is still
//! carried out and answered, for a bounded time. A connection that breaks a rule takes nothing with it but itself.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use streamhouse_protocol::rope::Rope;
use streamhouse_runtime::Ambient;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::api::{Answer, Lane, Peer, Reply};

use super::closing::CloseReason;
use super::in_flight::{InFlight, Ticket};
use super::incoming::{Frame, Incoming};
use super::limits::Limits;
use super::memory::RequestMemory;
use super::outgoing::Outgoing;
use super::pace::BlockedWrite;
use super::queue::Queue;

/// What a connection does with a frame.
pub trait Service: fmt::Debug + Send + Sync + 'static {
    /// Reads the header of `frame` (without its size) and says how to run it, or why the connection closes.
    fn call(&self, peer: &Arc<Peer>, frame: Bytes) -> Result<Call, CloseReason>;

    /// Says that a Produce request has begun to arrive, until what this returns is dropped: whoever gathers records for
    /// one write may wait for it. None if nobody wants to know.
    fn arriving(&self) -> Option<Arriving>;
}

/// A Produce request that has begun to arrive and has not appended yet.
pub type Arriving = Box<dyn fmt::Debug + Send + Sync>;

/// A request that is ready to run.
pub struct Call {
    /// How it follows the other requests of its connection.
    pub lane: Lane,
    /// Runs it up to its reply.
    pub run: BoxFuture<'static, Reply<Rope>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// What the connections of one broker share.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Carries requests out.
    pub service: Arc<dyn Service>,
    /// Clock and tasks.
    pub ambient: Ambient,
    /// What a connection may take.
    pub limits: Limits,
    /// The memory of incoming frames.
    pub memory: RequestMemory,
}

impl Connections {
    /// Serves one connection until it ends and says why it did.
    pub async fn serve<S>(&self, stream: S, peer: Arc<Peer>) -> CloseReason
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let connection = Connection::new(self, peer);
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            // Dropping the parts drops requests that are under way; both arms end the connection.
            () = connection.run(reader, writer) => {}
            () = connection.drain_expired() => {}
        }
        connection
            .in_flight
            .end_reason()
            .unwrap_or(CloseReason::PeerClosed)
    }
}

/// An answer that is there or will come, with the ticket of its request.
enum Pending {
    Now(Ticket, Complete),
    Later(BoxFuture<'static, (Ticket, Complete)>),
}

/// An answer that is there, counted until it is written.
type Complete = Answer<(Rope, Ticket)>;

struct Connection<'a> {
    shared: &'a Connections,
    peer: Arc<Peer>,
    in_flight: Arc<InFlight>,
    frames: Queue<Frame>,
    pending: Queue<Pending>,
}

impl<'a> Connection<'a> {
    fn new(shared: &'a Connections, peer: Arc<Peer>) -> Self {
        let in_flight = InFlight::new(shared.limits);
        Self {
            shared,
            peer,
            in_flight,
            frames: Queue::new(),
            pending: Queue::new(),
        }
    }

    async fn run<S>(&self, reader: ReadHalf<S>, writer: WriteHalf<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tokio::join!(self.read(reader), self.stage(), self.write(writer));
    }

    /// Completes when what was accepted has had its time after the connection stopped reading.
    async fn drain_expired(&self) {
        self.in_flight.ended().await;
        self.shared
            .ambient
            .clock
            .sleep(self.shared.limits.drain)
            .await;
    }

    async fn read<R: AsyncRead + Unpin>(&self, reader: R) {
        let mut incoming = Incoming::new(reader, self.shared, Arc::clone(&self.in_flight));
        loop {
            let frame = tokio::select! {
                // A frame that is only half there when another arm wins was not accepted; the connection ends.
                biased;
                () = self.in_flight.ended() => break,
                () = self.shared.ambient.tasks.shutdown_requested() => Err(CloseReason::ShuttingDown),
                frame = incoming.next() => frame,
            };
            match frame {
                Ok(frame) => self.frames.push(frame),
                Err(reason) => {
                    self.in_flight.end(reason);
                    break;
                }
            }
        }
        self.frames.close();
    }

    /// Starts requests in the order in which they came.
    async fn stage(&self) {
        while let Some(frame) = self.frames.pop().await {
            self.admit_start().await;
            let call = match self.shared.service.call(&self.peer, frame.bytes) {
                Ok(call) => call,
                Err(reason) => {
                    self.pending
                        .push(Pending::Now(frame.request, Answer::Close(reason)));
                    break;
                }
            };
            let parked = match call.lane {
                Lane::Parked => Some(self.in_flight.admit_parked().await),
                Lane::Ordered | Lane::Pipelined => None,
            };
            let reply = match (call.run.await, call.lane) {
                (Reply::Later(later), Lane::Ordered) => Reply::Now(later.await),
                (reply, Lane::Ordered | Lane::Pipelined | Lane::Parked) => reply,
            };
            drop(frame.arriving);
            let memory = match call.lane {
                Lane::Pipelined => Some(frame.memory),
                Lane::Ordered | Lane::Parked => None,
            };
            match reply {
                Reply::Now(answer) => {
                    let closes = matches!(answer, Answer::Close(_));
                    let complete = complete(&self.in_flight, self.shared, answer);
                    self.pending.push(Pending::Now(frame.request, complete));
                    if closes {
                        break;
                    }
                }
                Reply::Later(later) => {
                    let (in_flight, shared) = (Arc::clone(&self.in_flight), self.shared.clone());
                    let request = frame.request;
                    let later = Box::pin(async move {
                        let answer = later.await;
                        drop((memory, parked));
                        (request, complete(&in_flight, &shared, answer))
                    });
                    self.pending.push(Pending::Later(later));
                }
            }
        }
        self.pending.close();
    }

    /// Waits while the peer does not read its answers, and while it is throttled.
    async fn admit_start(&self) {
        self.in_flight.admit_start().await;
        if let Some(until) = self.in_flight.muted_until() {
            self.shared.ambient.clock.sleep_until(until).await;
        }
    }

    /// Writes answers in the order of their requests.
    async fn write<S>(&self, mut writer: WriteHalf<S>)
    where
        S: AsyncWrite + Unpin,
    {
        if let Err(reason) = self.write_answers(&mut writer).await {
            self.in_flight.end(reason);
        }
        // Whatever still runs may finish, but nobody is left to tell.
        self.pending.abandon();
        self.in_flight.end(CloseReason::PeerClosed);
        // The peer may be gone already; there is nothing to do about it.
        let _ = writer.shutdown().await;
    }

    async fn write_answers<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
    ) -> Result<(), CloseReason> {
        let clock = &*self.shared.ambient.clock;
        let mut later: FuturesOrdered<BoxFuture<'static, (Ticket, Complete)>> =
            FuturesOrdered::new();
        let mut outgoing = Outgoing::default();
        let mut closing = None;
        let mut is_open = true;
        let mut blocked: Option<BlockedWrite> = None;
        loop {
            let look = blocked.as_ref().map(BlockedWrite::next_look);
            tokio::select! {
                // Whatever is complete goes into one write, so completions come first. Every arm is cancel-safe: a
                // queue, a stream of futures that stay where they are, a write that happened or did not, a timer.
                biased;
                Some((ticket, answer)) = later.next(), if closing.is_none() && !later.is_empty() => {
                    closing = accept(&mut outgoing, ticket, answer);
                }
                pending = self.pending.pop(), if closing.is_none() && is_open => match pending {
                    Some(Pending::Now(ticket, answer)) if later.is_empty() => {
                        closing = accept(&mut outgoing, ticket, answer);
                    }
                    Some(Pending::Now(ticket, answer)) => {
                        later.push_back(Box::pin(std::future::ready((ticket, answer))));
                    }
                    Some(Pending::Later(answer)) => later.push_back(answer),
                    None => is_open = false,
                },
                written = outgoing.write_some(writer), if !outgoing.is_empty() => {
                    let written = written.map_err(|error| CloseReason::Socket(error.kind()))?;
                    if outgoing.is_empty() {
                        blocked = None;
                    } else if let Some(blocked) = &mut blocked {
                        blocked.wrote(written);
                    }
                }
                () = stalled(clock, look), if !outgoing.is_empty() => {
                    self.look_at_reader(&mut blocked)?;
                }
                else => break,
            }
        }
        closing.map_or(Ok(()), Err)
    }

    /// Begins to watch a reader that does not keep up, or says that it is too slow.
    fn look_at_reader(&self, blocked: &mut Option<BlockedWrite>) -> Result<(), CloseReason> {
        let (limits, reader) = (&self.shared.limits, &*self.peer.fetch_reader);
        let now = self.shared.ambient.clock.monotonic();
        let Some(blocked) = blocked else {
            *blocked = Some(BlockedWrite::new(now, limits, reader));
            return Ok(());
        };
        if blocked.is_too_slow(now, limits, reader) {
            return Err(CloseReason::SlowReader);
        }
        Ok(())
    }
}

/// Completes at `deadline`; at once if there is none yet, which is how a write that blocks gets one.
async fn stalled(
    clock: &dyn streamhouse_runtime::Clock,
    deadline: Option<streamhouse_runtime::Monotonic>,
) {
    if let Some(deadline) = deadline {
        clock.sleep_until(deadline).await;
    }
}

/// Counts a complete answer and starts the throttling that it announces.
fn complete(in_flight: &Arc<InFlight>, shared: &Connections, answer: Answer<Rope>) -> Complete {
    match answer {
        Answer::Respond { response, mute } => {
            if !mute.is_zero() {
                in_flight.mute(shared.ambient.clock.monotonic() + mute);
            }
            let ticket = in_flight.hold_answer(response.len());
            Answer::Respond {
                response: (response, ticket),
                mute,
            }
        }
        Answer::Silent => Answer::Silent,
        Answer::Close(reason) => Answer::Close(reason),
    }
}

/// Queues a complete answer for writing, or says why the connection closes instead.
fn accept(outgoing: &mut Outgoing, request: Ticket, answer: Complete) -> Option<CloseReason> {
    match answer {
        Answer::Respond {
            response: (rope, counted),
            ..
        } => {
            outgoing.push(rope, [request, counted]);
            None
        }
        Answer::Silent => None,
        Answer::Close(reason) => Some(reason),
    }
}

#[cfg(test)]
mod tests;
