//! Starts one life of a broker of the cluster: the real log with `shared` durability, the real groups, and its membership.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_coordinator::Groups;
use streamhouse_coordinator::service::Shelves;
use streamhouse_log::Log;
use streamhouse_log::leading::SharedParts;
use streamhouse_metadata::store::MetadataStore;
use streamhouse_protocol::ids::TopicId;
use streamhouse_runtime::Clock;
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};

use super::membership::Membership;
use crate::broker::{Broker, CLUSTER, Ground, SHARDS, group_settings};
use crate::world::Life;

/// The pause before a start tries again what failed.
const AGAIN: Duration = Duration::from_millis(40);

/// Starts. It goes on trying while the database fails; a process that is to end is ended by others.
pub(super) async fn start(ground: Ground, life: Arc<Life>, number: i32) -> Arc<Broker> {
    let world = ground.world.clone();
    let store = ground.database.for_life(&life, &ground.bucket);
    let membership = Arc::new(Membership::new(&world, &life, store.clone(), number));
    membership.join().await;
    let log = loop {
        match Log::open_shared(parts(&ground, &life, &membership)).await {
            Ok(log) => break log,
            Err(_) => world.clock.sleep(AGAIN).await,
        }
    };
    let shelves = Shelves {
        groups: Arc::new(store.clone()),
    };
    let groups = Groups::start(shelves, world.ambient_of(&life), group_settings(), SHARDS);
    let broker = Arc::new(Broker {
        life: Arc::clone(&life),
        log,
        groups,
        store,
        world: world.clone(),
        setup: ground.setup,
        topics: Mutex::new(BTreeSet::<TopicId>::new()),
        membership: Some(Arc::clone(&membership)),
    });
    life.opened();
    let tasks = world.ambient_of(&life).tasks;
    tasks.spawn("heartbeats", Arc::clone(&membership).keep_alive());
    let placed = Membership::keep_placed(Arc::clone(&broker), membership);
    tasks.spawn("placement", placed);
    tasks.spawn("background", Arc::clone(&broker).keep());
    broker
}

fn parts(ground: &Ground, life: &Arc<Life>, membership: &Membership) -> SharedParts {
    let ambient = ground.world.ambient_of(life);
    let objects = ground
        .bucket
        .for_life(&ground.world, life, &ground.database);
    let cache = BlockCacheSettings {
        capacity_bytes: ground.setup.cache_bytes,
        block_bytes: 64 * 1024,
        ..BlockCacheSettings::default()
    };
    let store = ground.database.for_life(life, &ground.bucket);
    SharedParts {
        cache: BlockCache::new(objects.clone(), ambient.clone(), cache),
        objects,
        store: Arc::new(store) as Arc<dyn MetadataStore>,
        cluster: CLUSTER,
        incarnation: membership.incarnation,
        settings: ground.setup.log.clone(),
        shared: ground.setup.shared,
        ambient,
    }
}
