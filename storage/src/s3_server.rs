//! A store that speaks S3 and fails as it is told to, for tests: what the client, the guard and the log make of a real
//! store's answers can be seen without one.
//!
//! [`S3Server`] holds one bucket in memory and answers what `object_store` asks: single and multipart uploads,
//! `If-None-Match: *`, ranges, heads, deletions and `ListObjectsV2` in pages. It is strict where Amazon is strict (parts
//! of at least 5 MiB, in order, each named with its ETag). Signatures are not verified; the key id in them is.
//!
//! It can be asked in two ways: in the same process without any socket ([`S3Server`] is a connector of the client), so
//! that a simulation owns its time; or over TCP ([`S3Server::listen`]), for brokers in processes of their own. The binary
//! `s3-server` is the latter as a process, which a second port steers ([`S3Server::listen_for_control`]).

mod bucket;
mod control;
mod front;
mod listen;
mod objects;
mod plan;
mod request;
mod uploads;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use streamhouse_runtime::Ambient;

use self::bucket::Bucket;
pub use self::listen::Listening;
use self::plan::Plan;
pub use self::plan::{Creates, Denial, S3Fault};
pub use self::request::S3Operation;
use self::request::{Asked, Target};

/// How many lines the access log keeps.
const LOG_LINES_MAX: usize = 10_000;

/// One line of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What was asked.
    pub operation: S3Operation,
    /// The key; the prefix for a listing.
    pub key: String,
    /// The status that was answered; 0 if there was no answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body; those of a look without a body are none.
    pub bytes_out: u64,
    /// The fault that it met.
    pub fault: Option<S3Fault>,
}

/// All requests for one operation since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct S3Totals {
    /// Requests that came in, whatever became of them.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
}

/// The server. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct S3Server {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bucket_name: String,
    key_id: String,
    ambient: Ambient,
    /// Held for one operation, so that each is one step; no other lock is taken under it.
    bucket: Mutex<Bucket>,
    /// Held for look-ups and settings only.
    plan: Mutex<Plan>,
    /// Held for one entry.
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<Access>,
    totals: BTreeMap<S3Operation, S3Totals>,
}

/// An answer on its way to the client.
#[derive(Clone, Debug)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// The connection breaks after this many bytes of the body.
    cut_after: Option<usize>,
}

impl Reply {
    fn bytes(&self) -> u64 {
        self.cut_after.unwrap_or(self.body.len()) as u64
    }
}

/// What happens instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoReply {
    /// Nobody listens.
    Refused,
    /// The client waits for ever.
    Silence,
}

impl S3Server {
    /// A server with the empty bucket `bucket_name`, for clients whose access key id is `key_id`.
    #[must_use]
    pub fn new(bucket_name: &str, key_id: &str, ambient: Ambient) -> Self {
        Self {
            inner: Arc::new(Inner {
                bucket_name: bucket_name.to_owned(),
                key_id: key_id.to_owned(),
                ambient,
                bucket: Mutex::default(),
                plan: Mutex::default(),
                log: Mutex::default(),
            }),
        }
    }

    /// The next requests for `operation` meet these faults, one each; `None` lets one pass.
    pub fn script(
        &self,
        operation: S3Operation,
        faults: impl IntoIterator<Item = Option<S3Fault>>,
    ) {
        self.inner.plan.lock().script(operation, faults);
    }

    /// Of a thousand requests that no script covers, this many meet a fault of a drawn kind.
    pub fn draw(&self, per_mille: u64) {
        self.inner.plan.lock().per_mille = per_mille;
    }

    /// An outage: while the server is down connections are refused, and those that exist break.
    pub fn set_down(&self, is_down: bool) {
        self.inner.plan.lock().is_down = is_down;
    }

    /// How the server treats creates that race.
    pub fn set_creates(&self, creates: Creates) {
        self.inner.plan.lock().creates = creates;
    }

    /// How long every request takes besides what its fault says.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.plan.lock().latency = latency;
    }

    /// The region that requests must be signed for; any, at first.
    pub fn set_region(&self, region: &str) {
        self.inner.plan.lock().region = Some(region.to_owned());
    }

    /// How many keys a page of a listing holds; Amazon's 1,000 at first.
    pub fn set_page_keys(&self, keys: usize) {
        self.inner.bucket.lock().page_keys = keys.max(1);
    }

    /// How many requests for `operation` came in since the start, whatever became of them.
    #[must_use]
    pub fn count(&self, operation: S3Operation) -> u64 {
        self.totals(operation).requests
    }

    /// All requests for `operation` since the start.
    #[must_use]
    pub fn totals(&self, operation: S3Operation) -> S3Totals {
        let log = self.inner.log.lock();
        log.totals.get(&operation).copied().unwrap_or_default()
    }

    /// The last lines of the access log, oldest first; a client that went away before its answer leaves none.
    #[must_use]
    pub fn log(&self) -> Vec<Access> {
        self.inner.log.lock().lines.iter().cloned().collect()
    }

    /// The keys of all objects, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.inner.bucket.lock().keys()
    }

    /// The bytes of an object; none if it is not there.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        let bucket = self.inner.bucket.lock();
        bucket.get(key).map(|object| object.body.clone())
    }

    /// How many multipart uploads were begun and neither completed nor aborted.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.inner.bucket.lock().open_uploads()
    }

    fn is_down(&self) -> bool {
        self.inner.plan.lock().is_down
    }

    pub(crate) fn bucket_name(&self) -> &str {
        &self.inner.bucket_name
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.inner.key_id
    }

    /// Answers one request as the plan says, or never; none if the connection is refused.
    async fn answer(&self, asked: Asked) -> Option<Reply> {
        let target = Target::of(&asked, &self.inner.bucket_name);
        let (operation, key) = (target.operation(), target.key().to_owned());
        let bytes_in = asked.body.len() as u64;
        self.note_arrival(operation, bytes_in);
        let (fault, latency) = {
            let mut plan = self.inner.plan.lock();
            let fault = plan.next(operation, &*self.inner.ambient.chance);
            (fault, plan.latency)
        };
        if !latency.is_zero() {
            self.inner.ambient.clock.sleep(latency).await;
        }
        let reply = self.act(&asked, target, fault).await;
        let has_body = operation != S3Operation::Head;
        let bytes_out = reply.as_ref().map_or(0, Reply::bytes) * u64::from(has_body);
        self.note(Access {
            operation,
            key,
            status: reply.as_ref().map_or(0, |reply| reply.status),
            bytes_in,
            bytes_out,
            fault,
        });
        match reply {
            Ok(reply) => Some(reply),
            Err(NoReply::Refused) => None,
            Err(NoReply::Silence) => std::future::pending().await,
        }
    }

    fn note_arrival(&self, operation: S3Operation, bytes_in: u64) {
        let mut log = self.inner.log.lock();
        let totals = log.totals.entry(operation).or_default();
        totals.requests += 1;
        totals.bytes_in += bytes_in;
    }

    fn note(&self, access: Access) {
        let mut log = self.inner.log.lock();
        if log.lines.len() >= LOG_LINES_MAX {
            log.lines.pop_front();
        }
        log.totals.entry(access.operation).or_default().bytes_out += access.bytes_out;
        log.lines.push_back(access);
    }

    async fn act(
        &self,
        asked: &Asked,
        target: Target,
        fault: Option<S3Fault>,
    ) -> Result<Reply, NoReply> {
        match fault {
            Some(S3Fault::Refuse) => return Err(NoReply::Refused),
            Some(S3Fault::SlowDownBefore) => return Ok(slow_down()),
            Some(S3Fault::ErrorBefore) => return Ok(internal_error()),
            Some(S3Fault::SilenceBefore) => return Err(NoReply::Silence),
            Some(S3Fault::Deny(denial)) => {
                let (status, code) = denial.spelled();
                return Ok(error(status, code));
            }
            Some(S3Fault::Slow(pause)) => self.inner.ambient.clock.sleep(pause).await,
            Some(S3Fault::Late(pause)) => {
                self.carry_out_late(asked.clone(), target, pause);
                return Err(NoReply::Silence);
            }
            Some(S3Fault::Twice) => drop(self.carry_out(asked, target.clone()).await),
            Some(
                S3Fault::SlowDownAfter
                | S3Fault::ErrorAfter
                | S3Fault::SilenceAfter
                | S3Fault::Truncate
                | S3Fault::WrongBytes,
            )
            | None => {}
        }
        let mut reply = self.carry_out(asked, target).await;
        match fault {
            Some(S3Fault::SlowDownAfter) => Ok(slow_down()),
            Some(S3Fault::ErrorAfter) => Ok(internal_error()),
            Some(S3Fault::SilenceAfter) => Err(NoReply::Silence),
            Some(S3Fault::Truncate) => {
                reply.cut_after = Some(reply.body.len() / 2);
                Ok(reply)
            }
            Some(S3Fault::WrongBytes) => {
                reply.body = self.bent(&reply.body);
                Ok(reply)
            }
            Some(
                S3Fault::Refuse
                | S3Fault::SlowDownBefore
                | S3Fault::ErrorBefore
                | S3Fault::SilenceBefore
                | S3Fault::Deny(_)
                | S3Fault::Slow(_)
                | S3Fault::Late(_)
                | S3Fault::Twice,
            )
            | None => Ok(reply),
        }
    }

    fn carry_out_late(&self, asked: Asked, target: Target, pause: Duration) {
        let server = self.clone();
        let late = async move {
            server.inner.ambient.clock.sleep(pause).await;
            drop(server.carry_out(&asked, target).await);
        };
        drop(self.inner.ambient.tasks.spawn("s3-server-late", late));
    }

    /// `body` with one wrong bit.
    fn bent(&self, body: &Bytes) -> Bytes {
        let mut bytes = body.to_vec();
        let bit = self.inner.ambient.chance.below(bytes.len() as u64 * 8);
        let at = usize::try_from(bit / 8).unwrap_or(0);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        bytes.into()
    }

    async fn carry_out(&self, asked: &Asked, target: Target) -> Reply {
        let (creates, region) = {
            let plan = self.inner.plan.lock();
            (plan.creates, plan.region.clone())
        };
        match (asked.signer(), region) {
            (Some((key_id, _)), _) if key_id != self.inner.key_id => {
                return error(403, "InvalidAccessKeyId");
            }
            (Some((_, signed_for)), Some(region)) if signed_for != region => {
                return error(400, "AuthorizationHeaderMalformed");
            }
            (Some(_), _) => {}
            (None, _) => return error(403, "AccessDenied"),
        }
        if let (Target::Put { key }, Creates::CheckedBefore, true) =
            (&target, creates, asked.creates())
        {
            // The check and the write are two steps, and others run between them.
            let is_there = self.inner.bucket.lock().get(key).is_some();
            if is_there {
                return error(412, "PreconditionFailed");
            }
            tokio::task::yield_now().await;
        }
        let now_ms = self.inner.ambient.clock.wall_ms();
        let mut bucket = self.inner.bucket.lock();
        match target {
            Target::Put { key } => bucket.put(
                key,
                asked,
                creates == Creates::Right && asked.creates(),
                now_ms,
            ),
            Target::Get { key } => bucket.read(&key, |size| asked.range(size)),
            Target::Head { key } => bucket.head(&key),
            Target::Delete { key } => bucket.delete(&key),
            Target::List(page) => bucket.list(&self.inner.bucket_name, &page),
            Target::Begin { key } => bucket.begin_upload(key, asked),
            Target::Part { key, upload, part } => bucket.put_part(&key, upload, part, &asked.body),
            Target::Complete { key, upload } => {
                bucket.complete_upload(key, upload, &asked.body, now_ms)
            }
            Target::Abort { key, upload } => bucket.abort_upload(&key, upload),
            Target::NoBucket => error(404, "NoSuchBucket"),
            Target::NotUnderstood => error(501, "NotImplemented"),
        }
    }
}

fn reply(status: u16, mut headers: Vec<(&'static str, String)>, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    if headers.iter().all(|(name, _)| *name != "content-length") {
        headers.push(("content-length", body.len().to_string()));
    }
    Reply {
        status,
        headers,
        body,
        cut_after: None,
    }
}

/// An error as S3 spells it.
fn error(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    );
    reply(status, Vec::new(), body)
}

fn slow_down() -> Reply {
    error(503, "SlowDown")
}

fn internal_error() -> Reply {
    error(500, "InternalError")
}

#[cfg(test)]
mod tests;
