//! Tasks: named, supervised, and stopped together.
//!
//! A task that panics has broken an invariant. It is logged with its name and the process is told to shut down; a
//! broker that runs on with half of its tasks would be worse than one that restarts.
//!
//! Tasks run on tokio, or on a [`Scheduler`] that a simulation brings: then it alone decides which task goes on next,
//! and work that would wait for a disk runs as a task like any other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Runs tasks instead of tokio. It must poll every task that was woken, one at a time, in any order.
pub trait Scheduler: fmt::Debug + Send + Sync {
    /// Takes a task. It is polled later, never inside this call.
    fn schedule(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// A task under way. Dropping it lets the task go on.
#[derive(Debug)]
pub struct Running<T>(Handle<T>);

#[derive(Debug)]
enum Handle<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Scheduled(oneshot::Receiver<T>),
}

/// A task ended without a result: it panicked, or the process is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task ended without a result")]
pub struct TaskStopped;

impl<T> Running<T> {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Handle::Tokio(handle) => handle.is_finished(),
            Handle::Scheduled(done) => done.is_terminated() || !done.is_empty(),
        }
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, TaskStopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Handle::Tokio(handle) => handle.poll_unpin(context).map_err(|_| TaskStopped),
            Handle::Scheduled(done) => done.poll_unpin(context).map_err(|_| TaskStopped),
        }
    }
}

/// Starts tasks and stops them. Clones share one set of tasks and one shutdown signal.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: CancellationToken,
    scheduler: Option<Arc<dyn Scheduler>>,
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
            scheduler: None,
        }
    }

    /// An empty set whose tasks run on `scheduler`.
    #[must_use]
    pub fn on(scheduler: Arc<dyn Scheduler>) -> Self {
        Self {
            scheduler: Some(scheduler),
            ..Self::new()
        }
    }

    /// Whether a scheduler runs the tasks. Then there are no threads: who would start one runs a task instead.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.scheduler.is_some()
    }

    /// Starts `future` on the scheduler, or else on the current tokio runtime. If it panics, the whole set shuts down.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Running<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicGuard {
            name,
            tasks: self.clone(),
        };
        // On the heap: a block that takes a future and awaits it holds it twice, and there are ten thousand connections.
        let future = Box::pin(future);
        let task = async move {
            let _guard = guard;
            future.await;
        };
        Running(match &self.scheduler {
            None => Handle::Tokio(self.tracker.spawn(task)),
            Some(scheduler) => {
                let task = self.tracker.track_future(task);
                Handle::Scheduled(schedule(&**scheduler, name, task))
            }
        })
    }

    /// Runs `work` on tokio's blocking pool (a scheduler runs it as a task): file reads and other calls that wait for a
    /// disk.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts blocking work"
    )]
    pub fn blocking<F, T>(&self, work: F) -> Running<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Running(match &self.scheduler {
            None => Handle::Tokio(tokio::task::spawn_blocking(work)),
            Some(scheduler) => {
                Handle::Scheduled(schedule(&**scheduler, "blocking", async move { work() }))
            }
        })
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

fn schedule<T: Send + 'static>(
    scheduler: &dyn Scheduler,
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> oneshot::Receiver<T> {
    let (tell, done) = oneshot::channel();
    let task = async move {
        // Whoever started it may not want to know.
        let _ = tell.send(task.await);
    };
    scheduler.schedule(name, task.boxed());
    done
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
