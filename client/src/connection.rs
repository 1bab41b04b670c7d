//! One connection to one broker: requests go out in order, answers come back in order, many may be on the way.
//!
//! Two tasks own the stream, one writes and one reads; callers hand requests to the first and wait for the second.
//! What is on the way is bounded by [`ConnectionOptions::in_flight_max`]: further callers wait.
//!
//! Invariants: the correlation id is given when a request is written, so ids rise in the order of the wire, and an
//! answer with another id than the oldest request's ends the connection. A request that was never written fails with
//! `NotSent`, one that was written and not answered with `Lost`. Dropping the [`Connection`] closes the stream.

mod versions;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use streamhouse_protocol::Request;
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::request::{EncodeError, encode_request};
use streamhouse_protocol::response::decode_response;
use streamhouse_runtime::{Ambient, Monotonic, deadline};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::versions::Versions;
use self::wire::{Outgoing, Pending, Reading, Waiter, Writing};
use crate::connector::Stream;
use crate::error::CallError;

/// The bytes in front of a request that are written anew for every sending: size, API, version, correlation id.
const HEAD_BYTES: usize = 12;

/// Requests that may wait to be written, beside those on the way.
const QUEUE_MAX: usize = 64;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// What this client calls itself.
    pub client_id: Arc<str>,
    /// The most requests on the way; at least 1.
    pub in_flight_max: usize,
    /// The largest answer that is read, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: Arc::from("streamhouse"),
            in_flight_max: 5,
            answer_bytes_max: 256 << 20,
        }
    }
}

/// A request in the bytes of one version, ready to be sent any number of times without copying.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(crate) api_key: ApiKey,
    pub(crate) version: i16,
    /// What follows the correlation id.
    pub(crate) rest: Bytes,
}

impl Encoded {
    /// Encodes a request.
    ///
    /// # Errors
    /// [`EncodeError`] if the request has no form in this version.
    pub fn new<R: Request>(
        client_id: &str,
        version: i16,
        request: &R,
    ) -> Result<Self, EncodeError> {
        let frame = encode_request(0, client_id, version, request)?;
        Ok(Self {
            api_key: ApiKey::try_from(R::KEY)
                .expect("every request type belongs to an API of its own crate"),
            version,
            rest: frame.slice(HEAD_BYTES..),
        })
    }

    /// The bytes that go over the wire each time it is sent.
    #[must_use]
    pub const fn wire_bytes(&self) -> usize {
        HEAD_BYTES + self.rest.len()
    }

    fn name(&self) -> &'static str {
        api_key::name(self.api_key)
    }
}

/// An open connection to a broker. Clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    broker: Arc<str>,
    client_id: Arc<str>,
    versions: Versions,
    requests: mpsc::Sender<Outgoing>,
    permits: Arc<Semaphore>,
    pending: Arc<Mutex<Pending>>,
    ambient: Ambient,
}

impl Connection {
    /// Takes a fresh stream to `broker` and agrees on versions until `limit`.
    ///
    /// # Errors
    /// [`CallError`] if the broker does not answer ApiVersions, or with something else.
    pub async fn open(
        stream: Box<dyn Stream>,
        broker: &str,
        options: &ConnectionOptions,
        ambient: &Ambient,
        limit: Monotonic,
    ) -> Result<Self, CallError> {
        let (read, write) = tokio::io::split(stream);
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let pending = Arc::new(Mutex::new(Pending::default()));
        let ended = CancellationToken::new();
        let writing = Writing::new(Arc::clone(&pending), ended.clone());
        let reading = Reading::new(Arc::clone(&pending), ended, options.answer_bytes_max);
        ambient
            .tasks
            .spawn("client-write", writing.run(write, queue));
        ambient.tasks.spawn("client-read", reading.run(read));
        let mut connection = Self {
            broker: Arc::from(broker),
            client_id: Arc::clone(&options.client_id),
            versions: Versions::default(),
            requests,
            permits: Arc::new(Semaphore::new(options.in_flight_max.max(1))),
            pending,
            ambient: ambient.clone(),
        };
        connection.versions = versions::agree(&connection, limit).await?;
        Ok(connection)
    }

    /// The broker as it was addressed.
    #[must_use]
    pub const fn broker(&self) -> &Arc<str> {
        &self.broker
    }

    /// What this client calls itself.
    #[must_use]
    pub const fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// What the broker offers.
    #[must_use]
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Whether the connection has ended; open another one then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed() || self.pending.lock().is_closed()
    }

    /// The highest version of an API that both sides speak, `max` being the highest that the caller can fill.
    ///
    /// # Errors
    /// [`CallError::Unsupported`] if there is none.
    pub fn version<R: Request>(&self, max: i16) -> Result<i16, CallError> {
        let api = ApiKey::try_from(R::KEY)
            .expect("every request type belongs to an API of its own crate");
        let range = api_key::versions(api);
        let (min, max) = (*range.start(), *range.end().min(&max));
        let theirs = self.versions.of(api);
        let common = theirs.as_ref().map(|theirs| max.min(*theirs.end()));
        common
            .filter(|version| {
                *version >= min && theirs.is_some_and(|theirs| theirs.contains(version))
            })
            .ok_or_else(|| CallError::Unsupported {
                broker: Arc::clone(&self.broker),
                offered: self.versions.sentence(api),
                min,
                max,
            })
    }

    /// Sends a request in a version that was agreed and waits for its answer until `limit`.
    ///
    /// # Errors
    /// [`CallError`], which says whether the request may have taken effect.
    pub async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
        limit: Monotonic,
    ) -> Result<R::Response, CallError> {
        let encoded = Encoded::new(&self.client_id, version, request)?;
        let frame = self.exchange(&encoded, limit).await?;
        self.decode::<R>(version, frame)
    }

    /// Sends a request and gives the frame of its answer, if it comes until `limit`.
    ///
    /// # Errors
    /// [`CallError`], which says whether the request may have taken effect.
    pub async fn exchange(&self, request: &Encoded, limit: Monotonic) -> Result<Bytes, CallError> {
        let clock = Arc::clone(&self.ambient.clock);
        let begun = clock.monotonic();
        let answer = async { self.send(request).await?.frame().await };
        match deadline(&*clock, limit, answer).await {
            Some(answer) => answer,
            None => Err(CallError::TimedOut {
                broker: Arc::clone(&self.broker),
                api: request.name(),
                after: limit - begun,
            }),
        }
    }

    /// Sends a request and returns as soon as it is queued in order; the answer is waited for with
    /// [`Answer::frame`]. Waits while [`ConnectionOptions::in_flight_max`] requests are on the way.
    ///
    /// # Errors
    /// [`CallError::NotSent`] if the connection has ended.
    pub async fn send(&self, request: &Encoded) -> Result<Answer, CallError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the permits of a connection are never closed");
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing {
            request: request.clone(),
            waiter: Waiter::ForAnswer(answer, permit),
        };
        self.queue(outgoing).await?;
        Ok(Answer {
            broker: Arc::clone(&self.broker),
            api: request.name(),
            answered,
            pending: Arc::clone(&self.pending),
        })
    }

    /// Sends a request that has no answer, Produce with acks=0, and waits until the system has taken all of it.
    ///
    /// # Errors
    /// [`CallError::NotSent`] if the connection ended before, [`CallError::Lost`] if it ended while writing.
    pub async fn send_only(&self, request: &Encoded) -> Result<(), CallError> {
        let (written, was_written) = oneshot::channel();
        self.queue(Outgoing {
            request: request.clone(),
            waiter: Waiter::ForWrite(written),
        })
        .await?;
        match was_written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(CallError::Lost {
                broker: Arc::clone(&self.broker),
                api: request.name(),
                reason,
            }),
            Err(_) => Err(self.not_sent(request.name())),
        }
    }

    /// Decodes the frame of an answer.
    ///
    /// # Errors
    /// [`CallError::Decode`].
    pub fn decode<R: Request>(&self, version: i16, frame: Bytes) -> Result<R::Response, CallError> {
        decode_response::<R>(version, frame)
            .map(|(_, response)| response)
            .map_err(|source| CallError::Decode {
                broker: Arc::clone(&self.broker),
                source,
            })
    }

    async fn queue(&self, outgoing: Outgoing) -> Result<(), CallError> {
        let api = outgoing.request.name();
        let queued = self.requests.send(outgoing).await;
        queued.map_err(|_| self.not_sent(api))
    }

    fn not_sent(&self, api: &'static str) -> CallError {
        CallError::NotSent {
            broker: Arc::clone(&self.broker),
            api,
            reason: self.pending.lock().reason(),
        }
    }
}

/// The answer to a request that was sent. Dropping it leaves the connection usable: the answer is thrown away when it
/// comes.
#[derive(Debug)]
pub struct Answer {
    broker: Arc<str>,
    api: &'static str,
    answered: oneshot::Receiver<Result<Bytes, Arc<str>>>,
    pending: Arc<Mutex<Pending>>,
}

impl Answer {
    /// Waits for the frame. Has no deadline of its own; it ends at the latest with the connection.
    ///
    /// # Errors
    /// [`CallError::NotSent`] or [`CallError::Lost`].
    pub async fn frame(self) -> Result<Bytes, CallError> {
        let Self {
            broker,
            api,
            answered,
            pending,
        } = self;
        match answered.await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(reason)) => Err(CallError::Lost {
                broker,
                api,
                reason,
            }),
            Err(_) => Err(CallError::NotSent {
                broker,
                api,
                reason: pending.lock().reason(),
            }),
        }
    }
}

/// How long opening a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
