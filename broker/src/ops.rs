//! What operators look at: metrics and health over HTTP, on a port of their own.
//!
//! `/metrics` is Prometheus text with real histogram buckets, `/livez` says that the process answers, `/readyz` that it
//! serves clients, with the reasons when it does not.

mod consumer_lag;
pub mod metric;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use streamhouse_runtime::Ambient;
use streamhouse_storage::objects::StoreHealth;
use tokio::net::TcpListener;

pub use consumer_lag::ConsumerLag;
pub use watched::Watched;

use crate::membership::Membership;

/// Upper bounds of every histogram, in seconds: 0.1 ms to 10 s.
const BUCKETS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// How often histograms are tidied.
const UPKEEP: Duration = Duration::from_secs(5);

/// An object store that fails for less than this long is not told of: requests are repeated.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// A failure that is older than this says nothing about the object store now.
const STORE_ASKED_LATELY: Duration = Duration::from_secs(60);

/// The process's metrics. Installed before anything counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process; `None` if there is one already.
    #[must_use]
    pub fn install() -> Option<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        metric::describe_all();
        Some(Self { handle })
    }
}

/// What the operators' port knows.
#[derive(Clone, Debug)]
pub struct Ops {
    metrics: Option<Metrics>,
    watched: Watched,
    lag: ConsumerLag,
    ready: Arc<AtomicBool>,
    ambient: Ambient,
}

impl Ops {
    /// Tells about what is `watched`, and how far consumers are. Not ready until [`Ops::set_ready`].
    #[must_use]
    pub fn new(
        metrics: Option<Metrics>,
        watched: Watched,
        lag: ConsumerLag,
        ambient: Ambient,
    ) -> Self {
        Self {
            metrics,
            watched,
            lag,
            ready: Arc::new(AtomicBool::new(false)),
            ambient,
        }
    }

    /// Says whether clients are served.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Serves HTTP on a bound socket until shutdown.
    pub async fn serve(self, socket: TcpListener) {
        let tasks = self.ambient.tasks.clone();
        let router = Router::new()
            .route("/metrics", get(render))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readiness))
            .with_state(self);
        let stopped = async move { tasks.shutdown_requested().await };
        if let Err(error) = axum::serve(socket, router)
            .with_graceful_shutdown(stopped)
            .await
        {
            tracing::error!(%error, "the port for metrics and health failed; the broker goes on without it");
        }
    }

    /// Tidies histograms until shutdown.
    pub async fn upkeep(self) {
        loop {
            tokio::select! {
                () = self.ambient.clock.sleep(UPKEEP) => {}
                () = self.ambient.tasks.shutdown_requested() => return,
            }
            if let Some(metrics) = &self.metrics {
                metrics.handle.run_upkeep();
            }
        }
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.ready.load(Ordering::Acquire) {
            reasons.push("not serving: starting or stopping".to_owned());
        }
        reasons.extend(
            self.watched
                .log
                .stopped_shards()
                .into_iter()
                .map(|(shard, reason)| format!("shard {shard}: {reason}")),
        );
        let usage = self.watched.log.wal_usage();
        if usage.is_some_and(|usage| usage.disk_full) {
            reasons.push("the disk has no room for another WAL file".to_owned());
        }
        let membership = self.watched.membership.as_ref();
        reasons.extend(membership.into_iter().flat_map(Membership::reasons));
        reasons.extend(store_trouble(&self.watched.objects.health()));
        reasons
    }
}

/// What the object store lacks, if it has failed for long and was asked lately: a broker without work does not ask.
fn store_trouble(health: &StoreHealth) -> Option<String> {
    let failing_for = health.failing_for.filter(|time| *time >= STORE_PATIENCE)?;
    health
        .last_failure_ago
        .filter(|ago| *ago <= STORE_ASKED_LATELY)?;
    let error = health.last_error.as_deref().unwrap_or_default();
    let seconds = failing_for.as_secs();
    Some(format!(
        "every request to the object store has failed for {seconds} s: {error}"
    ))
}

async fn render(State(ops): State<Ops>) -> Result<String, StatusCode> {
    ops.watched.observe();
    let metrics = ops.metrics.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    // Many groups are many lines: requests of clients do not wait for them.
    let lag = ops.lag;
    let lag = ops.ambient.tasks.blocking(move || lag.text()).await;
    let lag = lag.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(metrics.handle.render() + &lag)
}

async fn readiness(State(ops): State<Ops>) -> (StatusCode, String) {
    let reasons = ops.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

/// Binds the operators' port.
///
/// # Errors
/// What the system said.
pub async fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpListener::bind(address).await?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests;
