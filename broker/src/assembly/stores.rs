//! The durable parts of a broker: the metadata, and the objects with the cache over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use streamhouse_config::{Settings, StorageUrl};
use streamhouse_metadata::postgres::{PostgresSettings, PostgresStore};
use streamhouse_metadata::sqlite::SqliteStore;
use streamhouse_metadata::{Durability, MetadataStore, NewCluster};
use streamhouse_runtime::{Ambient, Tasks};
use streamhouse_storage::cache::{BlockCache, BlockCacheSettings};
use streamhouse_storage::objects::Objects;

use super::{OBJECTS_FOLDER, StartError};
use crate::data_dir::DataDir;

/// The durable parts of a broker.
pub(super) struct Stores {
    pub(super) metadata: Arc<dyn MetadataStore>,
    pub(super) objects: Objects,
    pub(super) cache: BlockCache,
    pub(super) cluster: u128,
    /// The id of the cluster, as clients see it.
    pub(super) cluster_id: String,
    pub(super) shards: u32,
}

impl Stores {
    pub(super) async fn open(
        settings: &Settings,
        folder: Option<&DataDir>,
        ambient: &Ambient,
    ) -> Result<Self, StartError> {
        let metadata = open_metadata(settings, folder, ambient).await?;
        let wanted = u32::from(settings.metadata.shards);
        let durability = match folder {
            Some(_) => Durability::Local,
            None => Durability::Shared,
        };
        let cluster = NewCluster {
            cluster_id: new_cluster_id(settings, folder, ambient),
            shards: wanted,
            durability,
        };
        let cluster = metadata.initialise(cluster).await?;
        if cluster.shards != wanted {
            return Err(StartError::Shards {
                wanted,
                found: cluster.shards,
            });
        }
        let cluster_id = match folder {
            Some(folder) => folder.cluster_id.clone(),
            None => shown(cluster.cluster_id),
        };
        check_cluster_id(settings, &cluster_id)?;
        let objects = open_objects(settings, folder, ambient, &cluster_id).await?;
        let cache_settings = BlockCacheSettings {
            capacity_bytes: settings.storage.block_cache_bytes.bytes(),
            ..BlockCacheSettings::default()
        };
        Ok(Self {
            metadata,
            cache: BlockCache::new(objects.clone(), ambient.clone(), cache_settings),
            objects,
            cluster: cluster.cluster_id,
            cluster_id,
            shards: cluster.shards,
        })
    }

    /// Where data is kept, for the start message.
    pub(super) fn place(&self, folder: Option<&DataDir>) -> String {
        match folder {
            Some(folder) => folder.path.display().to_string(),
            None => format!("PostgreSQL and {}", self.objects.place()),
        }
    }
}

async fn open_metadata(
    settings: &Settings,
    folder: Option<&DataDir>,
    ambient: &Ambient,
) -> Result<Arc<dyn MetadataStore>, StartError> {
    if let Some(folder) = folder {
        let store = SqliteStore::open(&folder.path.join("metadata.db"), ambient.clone())?;
        return Ok(Arc::new(store));
    }
    let from = &settings.metadata;
    let to = PostgresSettings {
        schema: from.schema.clone(),
        connections: usize::from(from.connections),
        acquire_limit: from.acquire_timeout,
        connect_limit: from.connect_timeout,
        statement_limit: from.statement_timeout,
        lock_limit: from.lock_timeout,
        request_limit: from.request_timeout,
        migration_limit: from.migration_timeout,
        ..PostgresSettings::new(from.url.reveal().unwrap_or_default())
    };
    // Its connections live until it is closed, which is when all other tasks have ended: they are not waited for with them.
    let own = Ambient {
        tasks: Tasks::new(),
        ..ambient.clone()
    };
    Ok(Arc::new(PostgresStore::open(to, own).await?))
}

async fn open_objects(
    settings: &Settings,
    folder: Option<&DataDir>,
    ambient: &Ambient,
    cluster_id: &str,
) -> Result<Objects, StartError> {
    let url = &settings.storage.url;
    let is_bucket = matches!(url, StorageUrl::S3 { .. });
    if folder.is_none() && !is_bucket {
        return Err(StartError::ObjectsNotShared);
    }
    let in_data_dir = match folder {
        Some(folder) => folder.path.join(OBJECTS_FOLDER),
        None => PathBuf::new(),
    };
    let objects = Objects::open(url, &settings.s3, &in_data_dir, ambient.clone())?;
    if *url != StorageUrl::DataDir {
        objects.probe().await?;
        objects.claim(cluster_id).await?;
    }
    if let (Some(_), true) = (folder, is_bucket) {
        keep_part(&in_data_dir);
    }
    Ok(objects)
}

/// The data folder has a folder for objects also while they are elsewhere: a folder without it lacks a part.
fn keep_part(path: &Path) {
    if let Err(error) = std::fs::create_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "the empty folder of objects was not made");
    }
}

/// With a data folder clients see the folder's own id; the database's is for objects alone.
fn new_cluster_id(settings: &Settings, folder: Option<&DataDir>, ambient: &Ambient) -> u128 {
    let wanted = settings.broker.cluster_id.as_deref();
    let wanted = wanted.filter(|_| folder.is_none()).and_then(number);
    wanted.unwrap_or_else(|| ambient.chance.next_u128())
}

fn check_cluster_id(settings: &Settings, found: &str) -> Result<(), StartError> {
    match &settings.broker.cluster_id {
        Some(wanted) if wanted != found => Err(StartError::OtherCluster {
            wanted: wanted.clone(),
            found: found.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The id of a cluster as Kafka shows it: 22 characters of base64.
fn shown(cluster: u128) -> String {
    URL_SAFE_NO_PAD.encode(cluster.to_be_bytes())
}

fn number(shown: &str) -> Option<u128> {
    let bytes = URL_SAFE_NO_PAD.decode(shown).ok()?;
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}
