//! The network between clients and brokers.
//!
//! A request may be lost before it arrives, and its answer may be lost afterwards; the client cannot tell which. What a
//! broker does for a request is a task of the broker's process and dies with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use streamhouse_metadata::store::ShardId;
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_runtime::{Clock, deadline};
use tokio::sync::oneshot;

use crate::broker::{Broker, address};
use crate::clients::Sky;
use crate::clients::member::group_id;
use crate::executor::ProcessId;
use crate::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why a client has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection was refused: the request did not happen.
    Refused,
    /// The request may have happened.
    Unknown,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The leader of a partition.
    Leader(TopicPartition),
    /// The coordinator of the group of this number.
    Coordinator(usize),
    /// Any broker.
    Anyone,
}

impl Whom {
    /// The shard that it is about.
    pub(crate) fn shard(self, broker: &Broker) -> Option<ShardId> {
        match self {
            Self::Leader(at) => Some(address(at).shard),
            Self::Coordinator(group) => Some(broker.groups.coordinator_of(&group_id(group)).shard),
            Self::Anyone => None,
        }
    }
}

/// The brokers as clients can reach them.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// The world that they are in.
    fn world(&self) -> &World;

    /// The broker that a client turns to: the right one as far as the client knows. None refuses connections.
    fn find(&self, whom: Whom) -> Option<Arc<Broker>>;

    /// Whether objects are damaged for good.
    fn has_rot(&self) -> bool;

    /// Whether a broker leads a shard, as the database has it.
    fn leads(&self, broker: &Broker, shard: ShardId) -> bool;

    /// A broker tells a client what only the leader of a shard can know, and led it neither when it was asked nor now.
    fn stated(&self, broker: &Broker, shard: ShardId);
}

impl Sky {
    /// Sends a request for a change; `serve` is what the broker does for it. Its answer says what happened, whoever leads by
    /// now.
    pub(crate) async fn call<T, F>(&self, whom: Whom, serve: F) -> Result<(T, ProcessId), NoAnswer>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Broker>) -> BoxFuture<'static, T> + Send + 'static,
    {
        let serve = |broker| async move { Some(serve(broker).await) }.boxed();
        self.exchange(whom, serve).await
    }

    /// Asks for what only the leader of a shard, or the coordinator of a group, can know. The answer goes out only if the
    /// broker's lease still holds when it was built.
    pub(crate) async fn ask<T, E, F>(
        &self,
        whom: Whom,
        serve: F,
    ) -> Result<(Result<T, E>, ProcessId), NoAnswer>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(Arc<Broker>) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    {
        let net = Arc::clone(&self.net);
        let serve = move |broker: Arc<Broker>| {
            async move {
                let shard = whom.shard(&broker);
                let led = shard.is_some_and(|shard| net.leads(&broker, shard));
                let answer = serve(Arc::clone(&broker)).await;
                if answer.is_err() {
                    return Some(answer);
                }
                if let Some(shard) = shard {
                    if !broker.may_state() {
                        return None;
                    }
                    if !led && !net.leads(&broker, shard) && !broker.life.is_zombie() {
                        net.stated(&broker, shard);
                    }
                }
                Some(answer)
            }
            .boxed()
        };
        self.exchange(whom, serve).await
    }

    /// No answer from the broker closes the connection.
    async fn exchange<T, F>(&self, whom: Whom, serve: F) -> Result<(T, ProcessId), NoAnswer>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Broker>) -> BoxFuture<'static, Option<T>> + Send + 'static,
    {
        let (tell, heard) = oneshot::channel();
        let sender = self.world().clone();
        let carried = move |broker: Arc<Broker>| {
            async move {
                let life = Arc::clone(&broker.life);
                let process = life.process;
                let answer = serve(broker).await;
                let is_lost =
                    life.is_zombie() || sender.chance.hits(sender.weather().network_per_mille);
                if let Some(answer) = answer.filter(|_| !is_lost) {
                    // A client that gave up does not hear it.
                    let _ = tell.send((answer, process));
                }
            }
            .boxed()
        };
        self.send(whom, carried).await?;
        self.hear(heard).await
    }

    /// Sends a request whose answers come on channels of their own.
    pub(crate) async fn send<F>(&self, whom: Whom, serve: F) -> Result<(), NoAnswer>
    where
        F: FnOnce(Arc<Broker>) -> BoxFuture<'static, ()> + Send + 'static,
    {
        let world = self.world();
        world.dawdle().await;
        let Some(broker) = self.net.find(whom) else {
            return Err(NoAnswer::Refused);
        };
        if broker.life.is_dead() {
            return Err(NoAnswer::Refused);
        }
        if world.chance.hits(world.weather().network_per_mille) {
            return Err(NoAnswer::Unknown);
        }
        let process = broker.life.process;
        world.executor.spawn(process, "request", serve(broker));
        Ok(())
    }

    /// Waits for an answer.
    pub(crate) async fn hear<T>(&self, heard: oneshot::Receiver<T>) -> Result<T, NoAnswer> {
        let world = self.world();
        let until = world.clock.monotonic() + PATIENCE;
        let answer = match deadline(&world.clock, until, heard).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) | None => Err(NoAnswer::Unknown),
        };
        world.dawdle().await;
        answer
    }
}
