//! A broker for tests that does what the test says, behind streams in memory, and a clock that does not keep tests waiting.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use streamhouse_protocol::Request;
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::messages::api_versions_response::ApiVersion;
use streamhouse_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestKind};
use streamhouse_protocol::request::{RequestHeader, decode};
use streamhouse_protocol::response::{ResponseBody, encode_response};
use streamhouse_runtime::{Ambient, Clock, ManualClock, Monotonic, SeededChance, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use crate::address::BrokerAddress;
use crate::connector::{Connect, Stream};

/// Sleeps of up to this pass at once; longer ones, which are deadlines, never come.
const SHORT: Duration = Duration::from_secs(2);

/// A clock for tests: pauses pass at once, deadlines do not come.
#[derive(Debug, Default)]
pub(crate) struct EagerClock {
    clock: ManualClock,
}

impl Clock for EagerClock {
    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let now = self.clock.monotonic();
        if deadline - now > SHORT {
            return Box::pin(std::future::pending());
        }
        self.clock.advance(deadline - now);
        Box::pin(tokio::task::yield_now())
    }
}

/// A world with an [`EagerClock`].
pub(crate) fn eager() -> Ambient {
    with_clock(Arc::new(EagerClock::default()))
}

/// A world with this clock.
pub(crate) fn with_clock(clock: Arc<dyn Clock>) -> Ambient {
    Ambient {
        clock,
        chance: Arc::new(SeededChance::new(7)),
        tasks: Tasks::new(),
    }
}

/// Opens streams in memory; the test gets the other ends. Addresses that were made unreachable refuse.
#[derive(Debug)]
pub(crate) struct Wires {
    accepted: mpsc::Sender<(BrokerAddress, Peer)>,
    unreachable: Mutex<Vec<BrokerAddress>>,
}

impl Wires {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<(BrokerAddress, Peer)>) {
        let (accepted, peers) = mpsc::channel(16);
        let wires = Self {
            accepted,
            unreachable: Mutex::default(),
        };
        (Arc::new(wires), peers)
    }

    pub(crate) fn refuse(&self, address: &BrokerAddress) {
        self.unreachable.lock().push(address.clone());
    }
}

impl Connect for Wires {
    fn connect<'a>(
        &'a self,
        address: &'a BrokerAddress,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            if self.unreachable.lock().contains(address) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let peer = Peer { stream: theirs };
            self.accepted
                .send((address.clone(), peer))
                .await
                .map_err(|_| io::ErrorKind::ConnectionRefused)?;
            let stream: Box<dyn Stream> = Box::new(ours);
            Ok(stream)
        })
    }
}

/// The broker's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
}

impl Peer {
    /// The next request; `None` when the client closed.
    pub(crate) async fn next(&mut self) -> Option<(RequestHeader, RequestKind)> {
        let size = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(decode(Bytes::from(frame)).unwrap())
    }

    /// Answers a request.
    pub(crate) async fn answer<R: Request>(
        &mut self,
        header: &RequestHeader,
        response: &R::Response,
    ) where
        R::Response: ResponseBody<Request = R>,
    {
        self.answer_as::<R>(header.correlation_id, header.api_version, response)
            .await;
    }

    /// Answers with any number and version.
    pub(crate) async fn answer_as<R: Request>(
        &mut self,
        correlation_id: i32,
        version: i16,
        response: &R::Response,
    ) where
        R::Response: ResponseBody<Request = R>,
    {
        let rope = encode_response::<R>(correlation_id, version, response).unwrap();
        // The client may have closed; a test that minds looks at what the client says.
        let _ = self.stream.write_all(&rope.into_bytes()).await;
    }

    /// Answers the ApiVersions request that opens a connection: everything that can be coded, up to `max` where named.
    pub(crate) async fn greet(&mut self, max: &BTreeMap<i16, i16>) {
        let (header, _) = self.next().await.unwrap();
        assert_eq!(header.api_key, ApiKey::ApiVersions);
        self.answer::<ApiVersionsRequest>(&header, &offer(max))
            .await;
    }
}

/// What a broker offers that knows everything, up to `max` where named.
pub(crate) fn offer(max: &BTreeMap<i16, i16>) -> ApiVersionsResponse {
    let keys = (0..100).filter_map(|key| ApiKey::try_from(key).ok());
    let keys = keys.map(|api| {
        let range = api_key::versions(api);
        let key = api as i16;
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(*range.start())
            .with_max_version(max.get(&key).copied().unwrap_or(*range.end()))
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
