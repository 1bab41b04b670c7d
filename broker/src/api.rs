//! What a Kafka API is to this broker: a typed handler in one file, and its row in the one table of APIs.
//!
//! Invariants: an API is advertised if and only if its row is in [`crate::handlers::APIS`], in exactly the versions of
//! the row; dispatch, ApiVersions, metric labels, the reference page and the tests read that table and nothing else.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::request::decode_request;
use streamhouse_protocol::response::{ResponseBody, encode_response};
use streamhouse_protocol::rope::Rope;
use streamhouse_protocol::{Request, StrBytes};

use crate::fetch_memory::FetchReader;
use crate::network::CloseReason;
use crate::reach::{Broker, Reach};
use crate::security::{Operation, Principal, ResourceKind};

/// How the requests of one connection follow each other. Answers are always sent in the order of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Answered before the next request of the connection starts.
    Ordered,
    /// [`Handler::handle`] runs in order, what it returns as [`Reply::Later`] completes beside later requests. The
    /// bytes of the request count as used until then. Produce.
    Pipelined,
    /// As [`Lane::Pipelined`], for requests that wait for something to happen: the bytes of the request are free again
    /// as soon as the handler has returned. Fetch, JoinGroup, SyncGroup.
    Parked,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Answer<R> {
    /// Send `response`, then start no further request of this connection for `mute` (KIP-219).
    Respond {
        /// The response.
        response: R,
        /// The throttle time that the response announces; usually zero.
        mute: Duration,
    },
    /// Send nothing: the request asked for no answer (acks=0).
    Silent,
    /// Close the connection after the answers before this one.
    Close(CloseReason),
}

impl<R> Answer<R> {
    /// `response`, without throttling.
    #[must_use]
    pub const fn respond(response: R) -> Self {
        Self::Respond {
            response,
            mute: Duration::ZERO,
        }
    }

    fn try_map<T>(self, map: impl FnOnce(R) -> Result<T, CloseReason>) -> Answer<T> {
        match self {
            Self::Respond { response, mute } => match map(response) {
                Ok(response) => Answer::Respond { response, mute },
                Err(reason) => Answer::Close(reason),
            },
            Self::Silent => Answer::Silent,
            Self::Close(reason) => Answer::Close(reason),
        }
    }
}

/// What a handler returns.
pub enum Reply<R> {
    /// The request is done.
    Now(Answer<R>),
    /// The part of the request whose order matters is done; the rest completes by itself.
    Later(BoxFuture<'static, Answer<R>>),
}

impl<R> Reply<R> {
    /// `response`, at once and without throttling.
    #[must_use]
    pub const fn now(response: R) -> Self {
        Self::Now(Answer::respond(response))
    }

    /// The response that `future` ends with.
    #[must_use]
    pub fn later(future: impl Future<Output = R> + Send + 'static) -> Self {
        Self::Later(Box::pin(async move { Answer::respond(future.await) }))
    }
}

impl<R: fmt::Debug> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The number of the connection, unique in this process.
    pub connection: u64,
    /// The address that the client connects from.
    pub host: IpAddr,
    /// The name of the listener that it connected to.
    pub listener: Arc<str>,
    /// Who it is.
    pub principal: Principal,
    /// What its answers hold of the memory for records that are not in the hot tail.
    pub fetch_reader: Arc<FetchReader>,
}

/// Who asks, and how: everything about a request but its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The connection.
    pub peer: Arc<Peer>,
    /// The client id, empty if the client sent none. Chosen by the client; identifies nobody.
    pub client_id: StrBytes,
    /// The number that the answer repeats.
    pub correlation_id: i32,
    /// The version of the request, and of its answer.
    pub api_version: i16,
    /// The size of the whole request, which any slice of it keeps in memory.
    pub request_bytes: usize,
}

/// One Kafka API.
///
/// `handle` validates, authorizes per resource, calls one function of the domain, translates its error and answers. It
/// may be dropped when the broker shuts down, at no other time.
pub trait Handler: 'static {
    /// Which API. The request type is of the same API.
    const KEY: ApiKey;
    /// The versions that are served, each of them completely.
    const VERSIONS: RangeInclusive<i16>;
    /// How its requests follow each other.
    const LANE: Lane;
    /// What an asker must be allowed to do, to which kind of resource; `None` if everybody may ask.
    const OPERATION: Option<(Operation, ResourceKind)>;
    /// All that this API may touch.
    type Reach: Reach;
    /// The request.
    type Request: Request + Send;
    /// The response: the request's, or what is written as such.
    type Response: ResponseBody<Request = Self::Request> + Send + 'static;

    /// Answers one request.
    fn handle(
        reach: &Self::Reach,
        cx: &RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Reply<Self::Response>> + Send;
}

/// Decodes, handles and encodes one request, whatever its type. Takes the body without header.
type Run = fn(Arc<Broker>, RequestContext, Bytes) -> BoxFuture<'static, Reply<Rope>>;

/// A row of the table of APIs.
#[derive(Clone, Debug)]
pub struct Api {
    /// Which API.
    pub key: ApiKey,
    /// Kafka's name of the API; the value of metric labels.
    pub name: &'static str,
    /// The versions that are served.
    pub versions: RangeInclusive<i16>,
    /// How its requests follow each other.
    pub lane: Lane,
    /// What an asker must be allowed to do.
    pub operation: Option<(Operation, ResourceKind)>,
    /// Whether its answers are sent only if the lease of this broker holds after they were built: those that state the end
    /// of a log, a committed offset, an assignment, or who leads. A write needs no lease, as its commit is fenced.
    pub is_under_lease: bool,
    run: Run,
}

impl Api {
    /// The row of a handler.
    #[must_use]
    pub const fn of<H: Handler>() -> Self {
        Self {
            key: H::KEY,
            name: api_key::name(H::KEY),
            versions: H::VERSIONS,
            lane: H::LANE,
            operation: H::OPERATION,
            is_under_lease: false,
            run: run::<H>,
        }
    }

    /// The row of a handler whose answers are sent only while the lease holds.
    #[must_use]
    pub const fn under_lease<H: Handler>() -> Self {
        let mut row = Self::of::<H>();
        row.is_under_lease = true;
        row
    }

    /// Runs a request of this API: `body` is a frame without its header, `cx.api_version` one of [`Api::versions`].
    #[must_use]
    pub fn run(
        &self,
        broker: Arc<Broker>,
        cx: RequestContext,
        body: Bytes,
    ) -> BoxFuture<'static, Reply<Rope>> {
        (self.run)(broker, cx, body)
    }
}

fn run<H: Handler>(
    broker: Arc<Broker>,
    cx: RequestContext,
    body: Bytes,
) -> BoxFuture<'static, Reply<Rope>> {
    Box::pin(async move {
        let (correlation_id, version) = (cx.correlation_id, cx.api_version);
        let request = match decode_request::<H::Request>(body, version) {
            Ok(request) => request,
            Err(error) => return Reply::Now(Answer::Close(CloseReason::Malformed(error))),
        };
        let encode = move |answer: Answer<H::Response>| {
            answer.try_map(|response| {
                encode_response::<H::Request>(correlation_id, version, &response)
                    .map_err(CloseReason::Unencodable)
            })
        };
        match H::handle(H::Reach::of(&broker), &cx, request).await {
            Reply::Now(answer) => Reply::Now(encode(answer)),
            Reply::Later(later) => Reply::Later(Box::pin(async move { encode(later.await) })),
        }
    })
}
