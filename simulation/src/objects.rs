//! The object store as one life of the broker sees it: slow, failing, and at every request a place to die.
//!
//! The objects themselves are in a [`Bucket`], which outlives every broker and can be looked at by the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use parking_lot::Mutex;
use streamhouse_runtime::{Chance, Clock};
use streamhouse_storage::objects::{Fault, FaultStore, Faults, Objects};

use crate::database::Database;
use crate::encounters::Encounter;
use crate::executor::CLIENTS;
use crate::sites::{Moment, Site};
use crate::world::{Life, World};

/// Small, so that most flushes go up in one piece and large ones in several.
const PART_BYTES: usize = 6 * 1024;

/// What really is in the object store.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    truth: Arc<InMemory>,
    faulty: Arc<FaultStore>,
    faults: Faults,
    health: Arc<Mutex<Health>>,
    /// When each object was stored, by the world's clock.
    stored_ms: Arc<Mutex<BTreeMap<String, i64>>>,
    /// Damaged objects, and what they were.
    rotten: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Checkpoints that were spoiled on their way when they were read last: the next answer is right.
    spoiled: Arc<Mutex<BTreeSet<String>>>,
    /// Spoils one answer as it is told to.
    spoiler: Arc<FaultStore>,
    spoils: Faults,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    ill_per_mille: u64,
    is_down: bool,
}

impl Bucket {
    pub(crate) fn new(world: &World) -> Self {
        let truth = Arc::new(InMemory::new());
        let inner = Arc::clone(&truth) as Arc<dyn ObjectStore>;
        let (faulty, faults) = FaultStore::new(Arc::clone(&inner), world.ambient(CLIENTS));
        let (spoiler, spoils) = FaultStore::new(inner, world.ambient(CLIENTS));
        Self {
            truth,
            faulty: Arc::new(faulty),
            faults,
            health: Arc::default(),
            stored_ms: Arc::default(),
            rotten: Arc::default(),
            spoiled: Arc::default(),
            spoiler: Arc::new(spoiler),
            spoils,
        }
    }

    /// Of a thousand requests this many fail.
    pub(crate) fn set_ill(&self, per_mille: u64) {
        self.faults.draw(per_mille);
        self.health.lock().ill_per_mille = per_mille;
    }

    /// Whether the store is out of reach.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.faults.set_down(is_down);
        self.health.lock().is_down = is_down;
    }

    fn is_down(&self) -> bool {
        self.health.lock().is_down
    }

    fn ill_per_mille(&self) -> u64 {
        self.health.lock().ill_per_mille
    }

    /// The bytes of an object; none if it is not there.
    pub(crate) fn bytes(&self, key: &str) -> Option<Bytes> {
        let path = Path::from(key);
        // In memory nothing waits.
        let got = self.truth.get(&path).now_or_never()?.ok()?;
        got.bytes().now_or_never()?.ok()
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut listing = self.truth.list(None);
        let mut keys = Vec::new();
        while let Some(Some(Ok(meta))) = listing.next().now_or_never() {
            keys.push(meta.location.to_string());
        }
        keys
    }

    /// Damages a bit of an object for good. False if it is not there, or damaged already.
    pub(crate) fn rot(&self, key: &str, chance: &dyn Chance) -> bool {
        let Some(whole) = self.bytes(key).filter(|bytes| !bytes.is_empty()) else {
            return false;
        };
        if self.is_rotten(key) {
            return false;
        }
        let bit = usize::try_from(chance.below(whole.len() as u64 * 8)).unwrap_or(0);
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.rotten.lock().insert(key.to_owned(), whole);
        self.replace(key, bytes.into());
        true
    }

    /// Brings all damaged objects back that were not deleted meanwhile.
    pub(crate) fn mend(&self) {
        for (key, whole) in std::mem::take(&mut *self.rotten.lock()) {
            if self.bytes(&key).is_some() {
                self.replace(&key, whole);
            }
        }
    }

    pub(crate) fn is_rotten(&self, key: &str) -> bool {
        self.rotten.lock().contains_key(key)
    }

    pub(crate) fn has_rot(&self) -> bool {
        !self.rotten.lock().is_empty()
    }

    fn replace(&self, key: &str, bytes: Bytes) {
        let path = Path::from(key);
        let put = self.truth.put(&path, bytes.into()).now_or_never();
        put.expect("memory does not wait")
            .expect("memory takes every object");
    }

    /// How the next answer with this checkpoint is spoiled; never twice in a row.
    fn spoil(&self, location: &Path, chance: &dyn Chance) -> Option<Fault> {
        let mut spoiled = self.spoiled.lock();
        if spoiled.remove(location.as_ref()) || chance.below(1000) >= 2 * self.ill_per_mille() {
            return None;
        }
        spoiled.insert(location.to_string());
        let kinds = [Fault::WrongBytes, Fault::Truncate, Fault::NotFound];
        kinds
            .get(usize::try_from(chance.below(3)).unwrap_or(0))
            .copied()
    }

    /// The store as a process uses it.
    pub(crate) fn for_life(&self, world: &World, life: &Arc<Life>, database: &Database) -> Objects {
        let store = SiteStore {
            bucket: self.clone(),
            world: world.clone(),
            life: Arc::clone(life),
            database: database.clone(),
        };
        Objects::in_parts(Arc::new(store), world.ambient_of(life), PART_BYTES)
    }
}

#[derive(Clone, Debug)]
struct SiteStore {
    bucket: Bucket,
    world: World,
    life: Arc<Life>,
    database: Database,
}

impl fmt::Display for SiteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteStore")
    }
}

fn out_of_reach() -> object_store::Error {
    object_store::Error::Generic {
        store: "simulation",
        source: "out of reach on purpose".into(),
    }
}

fn is_checkpoint(location: &Path) -> bool {
    location.as_ref().ends_with(".checkpoint")
}

impl SiteStore {
    /// Carries out a request, unless the process dies; a dead process hears no answer.
    async fn at<T>(&self, site: Site, request: impl Future<Output = T>) -> T {
        self.world.dawdle().await;
        if !self.world.pass(&self.life, site, Moment::Before).await {
            return std::future::pending().await;
        }
        let answer = request.await;
        self.world.dawdle().await;
        if !self.world.pass(&self.life, site, Moment::After).await {
            return std::future::pending().await;
        }
        answer
    }

    /// Fails if this machine is cut off.
    async fn reach(&self) -> object_store::Result<()> {
        if !self.life.machine.is_cut_from_objects() {
            return Ok(());
        }
        let pause = self.world.chance.micros(1_000, 50_000);
        self.world.clock.sleep(pause).await;
        Err(out_of_reach())
    }

    fn stored(&self, location: &Path) {
        let now = self.world.clock.wall_ms();
        let mut stored = self.bucket.stored_ms.lock();
        stored.insert(location.to_string(), now);
    }

    /// Whether an object is there. The store may not answer; it never denies what is there.
    async fn head(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let is_ill = self.bucket.is_down() || self.world.chance.hits(self.bucket.ill_per_mille());
        let head = async {
            if is_ill {
                return Err(out_of_reach());
            }
            self.bucket.truth.get_opts(location, options).await
        };
        self.at(Site::Read, head).await
    }

    /// A checkpoint can be out of reach, and wrong once; wrong twice would stop the shard, and rightly so.
    async fn get_checkpoint(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let is_ill = self.bucket.is_down() || self.world.chance.hits(self.bucket.ill_per_mille());
        let get = async {
            if is_ill {
                return Err(out_of_reach());
            }
            let spoil = self.bucket.spoil(location, &*self.world.chance);
            if let Some(spoil) = spoil {
                self.world.tell(|| format!("  {location}: {spoil:?}"));
                if !self.bucket.is_rotten(location.as_ref()) {
                    self.world.met(Encounter::CheckpointReadWrongOnce);
                }
            }
            self.bucket.spoils.script([spoil]);
            self.bucket.spoiler.get_opts(location, options).await
        };
        self.at(Site::RecoveryCheckpoint, get).await
    }
}

#[async_trait::async_trait]
impl ObjectStore for SiteStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        let site = if is_checkpoint(location) {
            Site::CheckpointPut
        } else {
            Site::FlushPut
        };
        self.reach().await?;
        self.stored(location);
        if self.life.is_zombie() {
            self.world.met(Encounter::ZombieUpload);
        }
        self.at(site, self.bucket.faulty.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.reach().await?;
        self.stored(location);
        let begin = self.bucket.faulty.put_multipart_opts(location, opts);
        let upload = self.at(Site::FlushPartsBegin, begin).await?;
        Ok(Box::new(SiteUpload {
            upload,
            store: self.clone(),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.reach().await?;
        if is_checkpoint(location) {
            return self.get_checkpoint(location, options).await;
        }
        if options.head {
            return self.head(location, options).await;
        }
        let get = self.bucket.faulty.get_opts(location, options);
        self.at(Site::Read, get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.reach().await?;
                    store.database.bytes_deleted(location.as_ref());
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let mut deleted = store.bucket.faulty.delete_stream(one);
                    let done = store.at(Site::SweepDelete, deleted.next()).await;
                    done.unwrap_or(Ok(location))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let stored = Arc::clone(&self.bucket.stored_ms);
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            if let Err(error) = store.reach().await {
                return stream::iter([Err(error)]).boxed();
            }
            let listed = async { store.bucket.faulty.list(prefix.as_ref()) };
            store.at(Site::OrphansList, listed).await
        };
        listed
            .flatten_stream()
            .map(move |meta| {
                let mut meta = meta?;
                let at_ms = stored.lock().get(meta.location.as_ref()).copied();
                let at_ms = u64::try_from(at_ms.unwrap_or(0)).unwrap_or(0);
                meta.last_modified = (UNIX_EPOCH + Duration::from_millis(at_ms)).into();
                Ok(meta)
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.bucket.faulty.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.bucket.faulty.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct SiteUpload {
    upload: Box<dyn MultipartUpload>,
    store: SiteStore,
}

#[async_trait::async_trait]
impl MultipartUpload for SiteUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, store) = (self.upload.put_part(data), self.store.clone());
        async move { store.at(Site::FlushPart, part).await }.boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.store
            .at(Site::FlushComplete, self.upload.complete())
            .await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.upload.abort().await
    }
}
