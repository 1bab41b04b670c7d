//! Assembly: the only file that chooses which store, which log and which network a broker is made of.
//!
//! Order: lock the data folder, bind the ports (a taken one is told before anything else happens), open the database,
//! the objects and the log (recovery), load the groups, and only then accept connections. Backwards at the end: stop
//! accepting, answer what was accepted, let the tasks end, close the WAL, close the database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::Loaded;
use streamhouse_log::Log;
use streamhouse_log::recovery::Recovered;
use streamhouse_metadata::MetadataStore;
use streamhouse_runtime::Ambient;
use tokio::signal::unix::{SignalKind, signal};

use crate::background::Background;
use crate::dispatch::Dispatch;
use crate::handlers::APIS;
use crate::loggers::Loggers;
use crate::membership::lease::Lease;
use crate::network::{ConnectionQuota, Connections, Limits, Listener, RequestMemory};
use crate::ops::{ConsumerLag, Metrics, Ops, Watched};
use crate::reach::{Broker, Parts};
use crate::running_settings::RunningSettings;

mod accept_loss;
mod home;
mod listen;
mod lives;
mod log;
mod parts;
mod place;
mod repair;
mod start_error;
mod stores;
mod wal_loss;

pub use accept_loss::{AcceptError, accept_loss};
use home::Home;
use listen::{bind_listeners, bind_ops};
use lives::{Chapter, Lives};
use place::Place;
pub use repair::{RepairMetadataError, repair_metadata};
pub use start_error::StartError;
use stores::Stores;
pub use wal_loss::{FoundDamage, accept_wal_damage, command as accept_loss_command, wal_damage};

/// The folders of the WAL and of the objects below the data folder.
const WAL_FOLDER: &str = "wal";
const OBJECTS_FOLDER: &str = "objects";

/// How the broker was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `streamhouse dev`.
    Dev,
    /// `streamhouse serve`.
    Serve,
}

/// What a started broker tells.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where clients connect, with the ports that were picked.
    pub addresses: Vec<SocketAddr>,
    /// The ports of the listeners, by their names.
    pub ports: BTreeMap<String, u16>,
    /// Where metrics and health are served.
    pub metrics_address: Option<SocketAddr>,
    /// Where data is kept.
    pub data: String,
    /// What was recovered; nothing with `shared` durability, where shards come and go.
    pub recovered: Option<Recovered>,
    /// How long the start took.
    pub took: Duration,
}

/// Runs a broker until SIGINT or SIGTERM, or until a task of it fails. `announce` is called once, when clients are
/// served. A member of a cluster whose life is over begins another one.
///
/// # Errors
/// See [`StartError`].
pub async fn serve(
    loaded: Loaded,
    mode: Mode,
    loggers: Loggers,
    announce: &mut (dyn FnMut(&Ready) + Send),
) -> Result<(), StartError> {
    // Heard from the first moment on, so that a stop during the start is a graceful one too.
    let mut stop = pin!(stop_signal().map_err(StartError::Signals)?);
    let metrics = Metrics::install();
    let mut lives = Lives::new(loaded);
    loop {
        let chapter = lives.chapter();
        let clock = Arc::clone(&chapter.ambient.clock);
        let (running, ready) = match start(&chapter, mode, (metrics.clone(), &loggers)).await {
            Ok(started) => started,
            Err(error) if lives.is_first() => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the next life of the broker did not begin; it is tried again");
                chapter.end().await;
                // Both arms may be dropped.
                tokio::select! {
                    _ = &mut stop => return Ok(()),
                    () = clock.sleep(lives::PAUSE) => continue,
                }
            }
        };
        if lives.is_first() {
            announce(&ready);
        }
        lives.began(&ready);
        // Every arm only waits.
        let goes_on = tokio::select! {
            name = &mut stop => {
                tracing::info!(signal = name, "stopping: answering what was accepted");
                running.place.leave(running.patience).await;
                false
            }
            () = chapter.ambient.tasks.shutdown_requested() => false,
            why = running.place.over() => why.is_followed(),
        };
        lives.ended(running.place.seen());
        running.stop().await;
        if chapter.ambient.tasks.has_failed() {
            return Err(StartError::TaskFailed);
        }
        if !goes_on {
            return Ok(());
        }
    }
}

fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// A broker that serves.
#[derive(Debug)]
struct Running {
    ambient: Ambient,
    ops: Ops,
    log: Log,
    store: Arc<dyn MetadataStore>,
    place: Place,
    /// How long a stop may take to record what was accepted.
    patience: Duration,
    _home: Home,
}

impl Running {
    async fn stop(self) {
        self.ops.set_ready(false);
        self.ambient.tasks.shut_down();
        self.ambient.tasks.finished().await;
        let log = self.log.clone();
        if self
            .ambient
            .tasks
            .blocking(move || log.close())
            .await
            .is_err()
        {
            tracing::error!(
                "closing the WAL failed; unrecorded records are replayed on the next start"
            );
        }
        self.store.close().await;
    }
}

async fn start(
    chapter: &Chapter,
    mode: Mode,
    (metrics, loggers): (Option<Metrics>, &Loggers),
) -> Result<(Running, Ready), StartError> {
    let Chapter {
        ambient,
        loaded,
        incarnation,
        seen,
    } = chapter;
    let began = ambient.clock.monotonic();
    let settings = &loaded.settings;
    let mut home = Home::open(settings, ambient)?;
    let listeners = bind_listeners(settings)?;
    let ops_socket = bind_ops(settings, mode).await?;
    let stores = Stores::open(settings, home.folder(), ambient).await?;
    let life = (*incarnation, *seen);
    let place = Place::take((settings, &home), ambient, &stores, &listeners, life).await?;
    let (log, recovered) = log::open(settings, &home, ambient, &stores, *incarnation).await?;
    home.complete()?;
    let watched = Watched {
        log: log.clone(),
        objects: stores.objects.clone(),
        cache: stores.cache.clone(),
        membership: place.membership.clone(),
    };
    let parts = parts::parts((loaded, loggers), &home, ambient, &stores, &log, &place).await?;
    let lag = ConsumerLag {
        groups: parts.groups.clone(),
        catalogue: Arc::clone(&parts.catalogue),
        log: log.clone(),
    };
    let ops = Ops::new(metrics, watched, lag, ambient.clone());
    place.lead(&log, &parts).await;
    let running = RunningSettings::new(settings.clone(), parts.topics.clone());
    Background::new(parts.partitions.clone(), ambient.clone(), running.clone()).start();
    let ports = listeners.iter();
    let ports = ports.map(|listener| (listener.name().to_owned(), listener.address().port()));
    let ports = ports.collect();
    let addresses = accept(running, ambient, parts, (listeners, place.lease(ambient)));
    ambient.tasks.spawn("metrics-upkeep", ops.clone().upkeep());
    let metrics_address = ops_socket.as_ref().map(|(_, address)| *address);
    if let Some((socket, _)) = ops_socket {
        ambient.tasks.spawn("ops", ops.clone().serve(socket));
    }
    ops.set_ready(true);
    let ready = Ready {
        addresses,
        ports,
        metrics_address,
        data: stores.place(home.folder()),
        recovered,
        took: ambient.clock.monotonic() - began,
    };
    let running = Running {
        ambient: ambient.clone(),
        ops,
        log,
        store: stores.metadata,
        place,
        patience: settings.broker.shutdown_timeout,
        _home: home,
    };
    Ok((running, ready))
}

fn accept(
    running: RunningSettings,
    ambient: &Ambient,
    parts: Parts,
    (listeners, lease): (Vec<Listener>, Lease),
) -> Vec<SocketAddr> {
    let settings = running.started_with();
    let limits = Limits::new(&settings.listener, settings.broker.shutdown_timeout);
    let dispatch = Dispatch::new(
        Arc::new(Broker::new(parts)),
        Arc::clone(&ambient.clock),
        lease,
        APIS,
    );
    let connections = Connections {
        service: Arc::new(dispatch),
        ambient: ambient.clone(),
        limits,
        memory: RequestMemory::of(&settings.listener),
    };
    let quota = ConnectionQuota::new(Arc::clone(&ambient.clock), limits);
    ambient.tasks.spawn(
        "connection-limits",
        running.limit_connections(quota.clone(), ambient.clone()),
    );
    let addresses = listeners.iter().map(Listener::address).collect();
    for listener in listeners {
        ambient
            .tasks
            .spawn("listener", listener.run(connections.clone(), quota.clone()));
    }
    addresses
}
