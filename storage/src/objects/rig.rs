//! What the tests of this room share: a seeded world whose clock runs by itself, and stores in it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use crate::s3_server::S3Server;

use super::{
    FaultStore, Faults, ListedObject, ObjectId, ObjectKey, ObjectKind, Objects, S3Limits, S3Place,
    s3,
};

/// A world whose time passes when nothing else can go on.
pub(crate) struct World {
    pub(crate) ambient: Ambient,
    clock: ManualClock,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let ambient = Ambient {
            clock: Arc::new(clock.clone()),
            chance: Arc::new(SeededChance::new(seed)),
            tasks: Tasks::new(),
        };
        Self { ambient, clock }
    }

    /// Runs `work` to its end, moving the clock whenever nothing else can go on.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                biased;
                done = work => done,
                () = self.turn() => unreachable!("the clock turns for ever"),
            }
        })
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn turn(&self) {
        loop {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_millis(100));
        }
    }
}

/// A store in memory with faults, in a world of its own.
pub(crate) struct Rig {
    pub(crate) objects: Objects,
    /// The same store without the faults: what really is there.
    pub(crate) truth: Objects,
    pub(crate) faults: Faults,
    pub(crate) ambient: Ambient,
    pub(crate) world: World,
}

impl Rig {
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let ambient = world.ambient.clone();
        let memory = Arc::new(InMemory::new());
        let truth = Objects::new(Arc::clone(&memory) as _, ambient.clone());
        let (store, faults) = FaultStore::new(memory, ambient.clone());
        let objects = Objects::new(Arc::new(store), ambient.clone());
        Self {
            objects,
            truth,
            faults,
            ambient,
            world,
        }
    }

    /// As [`World::run`].
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.world.run(work)
    }
}

/// A bucket of a server that speaks S3, in a world of its own.
pub(crate) struct S3Rig {
    pub(crate) objects: Objects,
    pub(crate) server: S3Server,
    pub(crate) world: World,
}

impl S3Rig {
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let server = S3Server::new("events", "key-id", world.ambient.clone());
        let objects = Objects::on_s3_server(&server, world.ambient.clone()).expect("opened");
        Self {
            objects,
            server,
            world,
        }
    }

    /// What the server really holds under `key`.
    pub(crate) fn truth(&self, key: &ObjectKey) -> Option<Bytes> {
        self.server.bytes(&format!("streamhouse/test/{key}"))
    }
}

/// The bucket `events` of the server that listens at `endpoint`, asked over the network.
pub(crate) fn over_tcp(endpoint: String, ambient: Ambient) -> Objects {
    let mut place = S3Place::parse("s3://events/cluster").expect("a bucket");
    place.endpoint = Some(endpoint);
    let environment = [
        ("AWS_ACCESS_KEY_ID".to_owned(), "key-id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
    ];
    let limits = S3Limits::default();
    let objects =
        Objects::open_s3_over(&place, limits, &environment.into(), s3::network(), ambient);
    objects.expect("opened")
}

/// Lets tasks that were started run until they rest.
pub(crate) async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn key(seq: u64) -> ObjectKey {
    ObjectId {
        incarnation: 0xabcd,
        seq,
        attempt: 0,
    }
    .key(ObjectKind::L0)
}

/// Bytes that differ everywhere, so that a misplaced slice shows.
pub(crate) fn pattern(len: usize, salt: u64) -> Bytes {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(step)
        .take(len.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(len);
    bytes.into()
}

pub(crate) async fn listed(objects: &Objects) -> Vec<ListedObject> {
    objects
        .list(None, super::ObjectClass::Garbage)
        .try_collect()
        .await
        .expect("the listing works")
}

/// How much more of everything to try: `STREAMHOUSE_TEST_SCALE`, 1 by default.
pub(crate) fn scale() -> u64 {
    std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|scale| scale.parse().ok())
        .unwrap_or(1)
}
