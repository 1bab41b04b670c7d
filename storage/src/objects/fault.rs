//! A store that fails on purpose, for tests and simulation: every way in which a real store fails, by script or drawn
//! from the seeded chance, so that the same seed gives the same failures.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use parking_lot::Mutex;
use streamhouse_runtime::Ambient;

use super::s3::wire::Complaint;

/// One failure of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is refused: the request did not happen, and the caller can tell.
    Refuse,
    /// The store asks for fewer requests, and this one did not happen.
    SlowDown,
    /// An error comes back and the request did not happen.
    FailBefore,
    /// The request is carried out, then an error comes back.
    FailAfter,
    /// The request is carried out after a pause.
    Delay(Duration),
    /// A read gives only the first half of what was asked for; other requests are carried out.
    Truncate,
    /// A read gives bytes of which one bit is wrong; other requests are carried out.
    WrongBytes,
    /// A read or deletion says that the object does not exist; other requests are carried out.
    NotFound,
}

/// Tells a [`FaultStore`] what to do. Clones steer the same store.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: Arc<Mutex<Plan>>,
    ambient: Ambient,
}

#[derive(Debug, Default)]
struct Plan {
    script: VecDeque<Option<Fault>>,
    per_mille: u64,
    is_down: bool,
    requests: u64,
}

impl Faults {
    fn new(ambient: Ambient) -> Self {
        Self {
            inner: Arc::default(),
            ambient,
        }
    }

    /// The next requests meet these faults, one each; `None` lets one pass.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.inner.lock().script.extend(faults);
    }

    /// Of a thousand requests that no script covers, this many meet a fault of a drawn kind.
    pub fn draw(&self, per_mille: u64) {
        self.inner.lock().per_mille = per_mille;
    }

    /// While the store is down every request is refused.
    pub fn set_down(&self, is_down: bool) {
        self.inner.lock().is_down = is_down;
    }

    /// How many requests reached the store or were failed by it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.lock().requests
    }

    fn next(&self) -> Option<Fault> {
        let mut plan = self.inner.lock();
        plan.requests += 1;
        if plan.is_down {
            return Some(Fault::Refuse);
        }
        if let Some(scripted) = plan.script.pop_front() {
            return scripted;
        }
        let chance = &self.ambient.chance;
        if plan.per_mille == 0 || chance.below(1_000) >= plan.per_mille {
            return None;
        }
        Some(match chance.below(8) {
            0 => Fault::Refuse,
            1 => Fault::FailBefore,
            2 => Fault::FailAfter,
            3 => Fault::Truncate,
            4 => Fault::WrongBytes,
            5 => Fault::NotFound,
            6 => Fault::SlowDown,
            _ => Fault::Delay(Duration::from_millis(chance.below(10_000))),
        })
    }

    /// Carries out `request`, or not, as the plan says for a request that changes something.
    async fn change<T>(
        &self,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        match self.next() {
            Some(Fault::Refuse) => Err(refused()),
            Some(Fault::SlowDown) => Err(slow_down()),
            Some(Fault::FailBefore) => Err(failed()),
            Some(Fault::FailAfter) => request.await.and_then(|_| Err(failed())),
            Some(Fault::Delay(pause)) => {
                self.ambient.clock.sleep(pause).await;
                request.await
            }
            Some(Fault::Truncate | Fault::WrongBytes | Fault::NotFound) | None => request.await,
        }
    }
}

fn refused() -> object_store::Error {
    let source = io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "connection refused on purpose",
    );
    object_store::Error::Generic {
        store: "fault",
        source: Box::new(source),
    }
}

fn slow_down() -> object_store::Error {
    object_store::Error::Generic {
        store: "fault",
        source: Box::new(Complaint::SlowDown { status: 503 }),
    }
}

fn failed() -> object_store::Error {
    object_store::Error::Generic {
        store: "fault",
        source: "failed on purpose".into(),
    }
}

fn not_found(path: &Path) -> object_store::Error {
    object_store::Error::NotFound {
        path: path.to_string(),
        source: "not found on purpose".into(),
    }
}

/// Another store, with faults.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultStore {
    /// `inner` with the faults that the returned handle asks for; none at first.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, ambient: Ambient) -> (Self, Faults) {
        let faults = Faults::new(ambient);
        (
            Self {
                inner,
                faults: faults.clone(),
            },
            faults,
        )
    }

    /// An empty store in memory, with faults.
    #[must_use]
    pub fn in_memory(ambient: Ambient) -> (Self, Faults) {
        Self::new(Arc::new(object_store::memory::InMemory::new()), ambient)
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.faults
            .change(self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self
            .faults
            .change(self.inner.put_multipart_opts(location, opts))
            .await?;
        Ok(Box::new(FaultUpload {
            inner,
            faults: self.faults.clone(),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        match self.faults.next() {
            Some(Fault::Refuse) => return Err(refused()),
            Some(Fault::SlowDown) => return Err(slow_down()),
            Some(Fault::FailBefore | Fault::FailAfter) => return Err(failed()),
            Some(Fault::NotFound) => return Err(not_found(location)),
            Some(Fault::Delay(pause)) => self.faults.ambient.clock.sleep(pause).await,
            Some(Fault::Truncate) => {
                return spoil(self.inner.get_opts(location, options).await?, |bytes| {
                    bytes.truncate(bytes.len() / 2);
                })
                .await;
            }
            Some(Fault::WrongBytes) => {
                let chance = Arc::clone(&self.faults.ambient.chance);
                return spoil(
                    self.inner.get_opts(location, options).await?,
                    move |bytes| {
                        let bits = bytes.len() as u64 * 8;
                        let bit = usize::try_from(chance.below(bits)).unwrap_or(0);
                        if let Some(byte) = bytes.get_mut(bit / 8) {
                            *byte ^= 1 << (bit % 8);
                        }
                    },
                )
                .await;
            }
            None => {}
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (inner, faults) = (Arc::clone(&self.inner), self.faults.clone());
        locations
            .then(move |location| {
                let (inner, faults) = (Arc::clone(&inner), faults.clone());
                async move {
                    let location = location?;
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let delete = async move {
                        let mut deleted = inner.delete_stream(one);
                        deleted.next().await.unwrap_or(Ok(location))
                    };
                    faults.change(delete).await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listing = self.inner.list(prefix);
        let faults = self.faults.clone();
        async move {
            match faults.change(async { Ok(()) }).await {
                Ok(()) => listing,
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.faults
            .change(self.inner.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.faults
            .change(self.inner.copy_opts(from, to, options))
            .await
    }
}

/// The same answer with other bytes.
async fn spoil(
    answer: GetResult,
    change: impl FnOnce(&mut Vec<u8>),
) -> object_store::Result<GetResult> {
    let (meta, range) = (answer.meta.clone(), answer.range.clone());
    let (attributes, extensions) = (answer.attributes.clone(), answer.extensions.clone());
    let mut bytes = answer.bytes().await?.to_vec();
    change(&mut bytes);
    let payload = GetResultPayload::Stream(stream::iter([Ok(Bytes::from(bytes))]).boxed());
    Ok(GetResult {
        payload,
        meta,
        range,
        attributes,
        extensions,
    })
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Faults,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, faults) = (self.inner.put_part(data), self.faults.clone());
        async move { faults.change(part).await }.boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.faults.change(self.inner.complete()).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.faults.change(self.inner.abort()).await
    }
}
