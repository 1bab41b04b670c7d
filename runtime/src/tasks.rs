//! Tasks: named, supervised, and stopped together.
//!
//! A task that panics has broken an invariant. It is logged with its name and the process is told to shut down; a
//! broker that runs on with half of its tasks would be worse than one that restarts.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Starts tasks and stops them. Clones share one set of tasks and one shutdown signal.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: CancellationToken,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            failed: CancellationToken::new(),
        }
    }

    /// Starts `future` on the current tokio runtime. If it panics, the whole set shuts down.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard {
            name,
            tasks: self.clone(),
        };
        self.tracker.spawn(async move {
            let _guard = guard;
            future.await;
        })
    }

    /// Runs `work` on tokio's blocking pool: file reads and other calls that wait for a disk.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts blocking work"
    )]
    pub fn blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        tokio::task::spawn_blocking(work)
    }

    /// Starts a thread of its own, for work that owns a device (the WAL, the embedded database). If it panics, the
    /// whole set shuts down.
    pub fn thread<F>(
        &self,
        name: &'static str,
        work: F,
    ) -> std::io::Result<std::thread::JoinHandle<()>>
    where
        F: FnOnce() + Send + 'static,
    {
        let guard = PanicGuard {
            name,
            tasks: self.clone(),
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = guard;
                work();
            })
    }

    /// Asks every task to stop. Safe to call again.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Completes when [`Tasks::shut_down`] was called or a task panicked.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// Whether shutdown was asked for.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Whether the reason of the shutdown is a task that panicked.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Completes when every spawned task has ended. Call after [`Tasks::shut_down`].
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

struct PanicGuard {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(
                task = self.name,
                "a task broke an invariant; the broker shuts down"
            );
            self.tasks.failed.cancel();
            self.tasks.shutdown.cancel();
        }
    }
}
