//! What a broker answers to the command line, whatever broker that is.
//!
//! The client comes back from every question with an answer or an error, in memory in proportion to what it was sent.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use streamhouse_client::address::BrokerAddress;
use streamhouse_client::connector::{Connect, Stream};
use streamhouse_client::{Client, Options};
use streamhouse_protocol::Request;
use streamhouse_protocol::messages::{
    ApiVersionsRequest, DescribeConfigsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    ListGroupsRequest, MetadataRequest, OffsetFetchRequest,
};
use streamhouse_runtime::{Ambient, Clock, ManualClock, Monotonic, SeededChance, Tasks};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::corpus;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "hostile_broker",
    reads: "a conversation with a broker, as a client",
    executions: 15_000,
    length_max: 16 << 10,
    // Each connection has a buffer of 64 KiB to read into.
    memory: Memory {
        per_byte: 128,
        free: 4 << 20,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

/// Answers of Kafka in the order in which the client asks. Each has its length (two bytes) in front.
fn seeds() -> Vec<Vec<u8>> {
    let recorded = corpus::exchanges();
    let of = |key: i16, version: Option<i16>, skip: usize| {
        let of_api = recorded
            .iter()
            .filter(|exchange| exchange.api as i16 == key);
        let versions =
            of_api.filter(|exchange| version.is_none_or(|version| version == exchange.version));
        let mut chosen: Vec<_> = versions.collect();
        chosen.sort_by_key(|exchange| std::cmp::Reverse(exchange.version));
        let answer = chosen
            .get(skip)
            .or(chosen.first())
            .map(|exchange| exchange.response.clone());
        let answer = answer.unwrap_or_default();
        let length = u16::try_from(answer.len()).unwrap_or(0);
        [&length.to_be_bytes()[..], &answer].concat()
    };
    let hello = || of(ApiVersionsRequest::KEY, None, 0);
    let metadata = |skip| of(MetadataRequest::KEY, None, skip);
    let coordinator = || of(FindCoordinatorRequest::KEY, None, 0);
    let mut seeds = Vec::new();
    for skip in 0..6 {
        seeds.push([hello(), metadata(skip), metadata(0)].concat());
        seeds.push([hello(), metadata(0), hello(), metadata(skip)].concat());
        for after in [
            ListGroupsRequest::KEY,
            DescribeGroupsRequest::KEY,
            OffsetFetchRequest::KEY,
            DescribeConfigsRequest::KEY,
        ] {
            let answer = of(after, None, skip);
            let same = [
                hello(),
                metadata(0),
                metadata(0),
                coordinator(),
                answer.clone(),
                answer.clone(),
            ];
            let another = [
                hello(),
                metadata(0),
                hello(),
                metadata(0),
                coordinator(),
                answer,
            ];
            seeds.extend([same.concat(), another.concat()]);
        }
    }
    seeds.retain(|seed| check(seed) == Verdict::Accepted);
    seeds
}

fn check(input: &[u8]) -> Verdict {
    let mut answers = VecDeque::new();
    let mut rest = input;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (answer, behind) = behind.split_at(length);
        answers.push_back(Bytes::copy_from_slice(answer));
        rest = behind;
    }
    let script = Script {
        answers: Arc::new(Mutex::new(answers)),
    };
    super::block_on(converse(script))
}

async fn converse(script: Script) -> Verdict {
    let ambient = Ambient {
        clock: Arc::new(Eager::default()),
        chance: Arc::new(SeededChance::new(1)),
        tasks: Tasks::new(),
    };
    let options = Options {
        patience: Duration::from_millis(200),
        ..Options::default()
    };
    let broker = vec![BrokerAddress::new("broker", 9092)];
    let Ok(client) = Client::open_through(Arc::new(script), broker, options, ambient).await else {
        return Verdict::Refused;
    };
    // Each is asked until the answers are used up; all must come back.
    let _ = client.topic("data").await;
    let _ = client.describe_group("members").await;
    let _ = client.list_groups().await;
    let _ = client.topic_configs("data").await;
    let _ = client.bytes_of_topic("data").await;
    Verdict::Accepted
}

/// Answers that are given one for each request, over all connections.
#[derive(Clone, Debug)]
struct Script {
    answers: Arc<Mutex<VecDeque<Bytes>>>,
}

impl Connect for Script {
    fn connect<'a>(
        &'a self,
        _address: &'a BrokerAddress,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let peer = Peer {
            script: self.clone(),
            asked: 0,
            answered: 0,
            ready: Vec::new(),
            reader: None,
        };
        Box::pin(async move {
            let stream: Box<dyn Stream> = Box::new(peer);
            Ok(stream)
        })
    }
}

/// A connection on which an answer follows a request.
#[derive(Debug)]
struct Peer {
    script: Script,
    asked: i32,
    answered: i32,
    ready: Vec<u8>,
    reader: Option<Waker>,
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    /// The client flushes behind each request.
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.asked += 1;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.is_empty() {
            if self.answered == self.asked {
                self.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            self.answered += 1;
            let answer = self
                .script
                .answers
                .lock()
                .ok()
                .and_then(|mut answers| answers.pop_front());
            let Some(answer) = answer else {
                return Poll::Ready(Ok(()));
            };
            // The number is that of the request: with another one the client looks no further.
            let size = i32::try_from(answer.len()).unwrap_or(0);
            let number = self.answered.to_be_bytes();
            let head = [size.to_be_bytes(), number].concat();
            self.ready = [&head, answer.get(4..).unwrap_or_default()].concat();
        }
        let count = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// Pauses pass at once, deadlines do not come: every answer does.
#[derive(Debug, Default)]
struct Eager {
    clock: ManualClock,
}

impl Clock for Eager {
    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        let left = deadline - self.clock.monotonic();
        if left > Duration::from_secs(2) {
            return Box::pin(std::future::pending());
        }
        self.clock.advance(left);
        Box::pin(tokio::task::yield_now())
    }
}
