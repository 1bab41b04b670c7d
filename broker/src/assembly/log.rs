//! Opening the log: over the WAL of the data folder with `local` durability, in memory with `shared`.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::Settings;
use streamhouse_log::append::producers::ProducerBounds;
use streamhouse_log::flush::shared::SharedSettings;
use streamhouse_log::leading::SharedParts;
use streamhouse_log::open::LogParts;
use streamhouse_log::recovery::Recovered;
use streamhouse_log::{Log, LogSettings};
use streamhouse_metadata::Incarnation;
use streamhouse_runtime::Ambient;
use streamhouse_storage::wal::{EXIT_WAL_FAILED, SystemIo, WalFailure, WalSettings};

use super::home::Home;
use super::stores::Stores;
use super::{StartError, WAL_FOLDER, wal_loss};
use crate::data_dir::DataDir;

/// Opens the log. With `shared` durability it leads no shard yet, so that nothing is recovered.
pub(super) async fn open(
    settings: &Settings,
    home: &Home,
    ambient: &Ambient,
    stores: &Stores,
    incarnation: Incarnation,
) -> Result<(Log, Option<Recovered>), StartError> {
    let (log, recovered) = match home {
        Home::Folder(folder) => {
            let parts = log_parts(settings, folder, ambient, stores)?;
            let parts = wal_loss::with_accepted(parts, folder).await?;
            let opened = Log::open(parts).await;
            let (log, recovered) =
                opened.map_err(|error| StartError::of_log(error, &folder.path))?;
            (log, Some(recovered))
        }
        Home::Nowhere => {
            let parts = shared_parts(settings, ambient, stores, incarnation);
            (Log::open_shared(parts).await?, None)
        }
    };
    log.bound_producers(ProducerBounds {
        per_partition: settings.log.producers_per_partition_max as usize,
        per_shard: settings.log.producers_per_shard_max as usize,
    });
    Ok((log, recovered))
}

/// What the log over a data folder is made of.
pub(super) fn log_parts(
    settings: &Settings,
    data_dir: &DataDir,
    ambient: &Ambient,
    stores: &Stores,
) -> Result<LogParts, StartError> {
    let path = data_dir.path.join(WAL_FOLDER);
    let wal_io = SystemIo::open(&path).map_err(|source| StartError::WalDir {
        path: path.clone(),
        source,
    })?;
    let wal = &settings.wal;
    let wal_settings = WalSettings {
        file_bytes: wal.file_bytes.bytes(),
        cap_bytes: wal.max_bytes.bytes(),
        entries_max: u64::from(wal.max_entries),
        pool_files: wal.pool_files as usize,
        group_bytes_max: wal.group_bytes.as_usize(),
        seal_after: wal.seal_after,
        ..WalSettings::new(path)
    };
    Ok(LogParts {
        ambient: ambient.clone(),
        store: Arc::clone(&stores.metadata),
        objects: stores.objects.clone(),
        cache: stores.cache.clone(),
        wal_io: Arc::new(wal_io),
        wal_settings,
        cluster: stores.cluster,
        wal_dir: data_dir.wal_dir,
        incarnation: Incarnation(ambient.chance.next_u128()),
        settings: LogSettings {
            flush_bytes: settings.log.flush_bytes.bytes(),
            flush_interval: settings.log.flush_interval,
            ..log_settings(settings, LOCAL_GRACE)
        },
        on_wal_failure: Box::new(end_process),
    })
}

fn shared_parts(
    settings: &Settings,
    ambient: &Ambient,
    stores: &Stores,
    incarnation: Incarnation,
) -> SharedParts {
    let shared = &settings.shared;
    SharedParts {
        ambient: ambient.clone(),
        store: Arc::clone(&stores.metadata),
        objects: stores.objects.clone(),
        cache: stores.cache.clone(),
        cluster: stores.cluster,
        incarnation,
        settings: LogSettings {
            flush_bytes: shared.flush_bytes.bytes(),
            flush_interval: shared.flush_interval,
            ..log_settings(settings, SHARED_GRACE)
        },
        shared: SharedSettings {
            staging_bytes: shared.staging_bytes.bytes(),
            uploads: usize::from(shared.uploads),
            early_uploads_per_second: f64::from(shared.early_uploads_per_second),
            early_uploads_burst: f64::from(shared.early_uploads_burst),
            early_upload_bytes: shared.early_upload_bytes.bytes(),
            hedged_share: f64::from(shared.hedged_percent) / 100.0,
        },
    }
}

/// How long objects that nobody needs are kept, unless the settings say: with a data folder the database and the objects
/// are one; elsewhere the database may be restored from a copy of the day before, which names them still.
const LOCAL_GRACE: Duration = Duration::from_secs(300);
const SHARED_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

fn log_settings(settings: &Settings, grace: Duration) -> LogSettings {
    let log = &settings.log;
    LogSettings {
        tail_bytes: log.hot_tail_bytes.as_usize(),
        checkpoint_manifests: u64::from(log.checkpoint_manifests),
        checkpoint_bytes: log.checkpoint_bytes.bytes(),
        object_grace: settings.storage.object_grace.unwrap_or(grace),
        ..LogSettings::default()
    }
}

/// After a failed write or fsync of the WAL nothing may be acknowledged any more, and no second try may be believed:
/// only a new process, which reads the disk again, knows what is durable.
fn end_process(failure: &WalFailure) {
    tracing::error!(%failure, "the write-ahead log failed; the broker ends, and what was not acknowledged may be lost");
    std::process::exit(EXIT_WAL_FAILED);
}
