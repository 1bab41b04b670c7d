//! All clients of a world, and what an operation lets each of them do.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use streamhouse_log::append::Acks;

use super::admin::{Admin, trim};
use super::consumer::{Consumer, look, park};
use super::member::Member;
use super::producer::{Producer, produce_plain};
use super::{Sky, partition};
use crate::executor::CLIENTS;
use crate::plan::{CONSUMERS, GROUPS, MEMBERS, Members, PRODUCERS, Records};
use crate::world::World;

/// The clients, each of which does one thing at a time.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) sky: Sky,
    producers: Vec<Arc<tokio::sync::Mutex<Producer>>>,
    consumers: Vec<Arc<tokio::sync::Mutex<Consumer>>>,
    members: BTreeMap<(usize, usize), Arc<tokio::sync::Mutex<Member>>>,
    simple: Vec<Arc<tokio::sync::Mutex<Member>>>,
    admin: Arc<tokio::sync::Mutex<Admin>>,
}

impl Crowd {
    pub(crate) fn new(sky: Sky) -> Self {
        let members = (0..GROUPS).flat_map(|group| (0..MEMBERS).map(move |member| (group, member)));
        let producers = (1..).take(PRODUCERS).map(Producer::new);
        Self {
            sky,
            producers: producers.map(shared).collect(),
            consumers: (0..CONSUMERS)
                .map(|_| shared(Consumer::default()))
                .collect(),
            members: members
                .map(|(group, member)| ((group, member), shared(Member::new(group))))
                .collect(),
            simple: (0..GROUPS)
                .map(|group| shared(Member::new(GROUPS + group)))
                .collect(),
            admin: shared(Admin::default()),
        }
    }

    fn world(&self) -> &World {
        self.sky.world()
    }

    /// Starts something that the clients' machines do.
    pub(crate) fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world().executor.spawn(CLIENTS, "client", task);
    }

    /// Begins what a client does, unless it is still busy.
    fn client<T, F>(&self, client: &Arc<tokio::sync::Mutex<T>>, act: F)
    where
        T: Send + 'static,
        F: for<'a> FnOnce(Sky, &'a mut T) -> BoxFuture<'a, ()> + Send + 'static,
    {
        let Ok(mut client) = Arc::clone(client).try_lock_owned() else {
            return;
        };
        let sky = self.sky.clone();
        self.spawn(
            async move {
                act(sky, &mut client).await;
            }
            .boxed(),
        );
    }

    /// Lets producers, consumers or the administrator do something.
    pub(crate) fn records(&self, records: Records) {
        match records {
            Records::Produce {
                producer,
                partition: number,
                records,
                burst,
            } => {
                let (at, records) = (partition(number), u64::from(records));
                self.client(self.producer(producer), move |sky, producer| {
                    async move { producer.produce(&sky, at, records, burst).await }.boxed()
                });
            }
            Records::Resend {
                producer,
                partition: number,
            } => {
                let at = partition(number);
                self.client(self.producer(producer), move |sky, producer| {
                    async move { producer.resend(&sky, at).await }.boxed()
                });
            }
            Records::ProducePlain {
                partition: number,
                records,
                acks,
            } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                let acks = [Acks::None, Acks::Leader, Acks::All][usize::from(acks) % 3];
                let produce =
                    async move { produce_plain(&sky, at, u64::from(records), acks).await };
                self.spawn(produce.boxed());
            }
            Records::Fetch { .. }
            | Records::Rewind { .. }
            | Records::Look { .. }
            | Records::Park { .. }
            | Records::Trim { .. }
            | Records::TurnOverTopic { .. } => self.readers(records),
        }
    }

    fn producer(&self, number: u8) -> &Arc<tokio::sync::Mutex<Producer>> {
        &self.producers[usize::from(number)]
    }

    fn consumer(&self, number: u8) -> &Arc<tokio::sync::Mutex<Consumer>> {
        &self.consumers[usize::from(number)]
    }

    fn readers(&self, records: Records) {
        match records {
            Records::Fetch {
                consumer,
                partition: number,
                bytes,
            } => {
                let at = partition(number);
                self.client(self.consumer(consumer), move |sky, consumer| {
                    async move {
                        consumer.fetch(&sky, at, bytes as usize).await;
                    }
                    .boxed()
                });
            }
            Records::Rewind {
                consumer,
                partition: number,
            } => {
                let at = partition(number);
                self.client(self.consumer(consumer), move |_, consumer| {
                    async move { consumer.rewind(at) }.boxed()
                });
            }
            Records::Look { partition: number } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                self.spawn(async move { look(&sky, at).await }.boxed());
            }
            Records::Park { partition: number } => {
                let (sky, at) = (self.sky.clone(), partition(number));
                self.spawn(async move { park(&sky, at).await }.boxed());
            }
            Records::Trim {
                partition: number,
                per_mille,
            } => {
                let at = partition(number);
                self.client(&self.admin, move |sky, _| {
                    async move { trim(&sky, at, u64::from(per_mille)).await }.boxed()
                });
            }
            Records::TurnOverTopic { slot } => {
                self.client(&self.admin, move |sky, admin| {
                    async move { admin.turn_over(&sky, slot).await }.boxed()
                });
            }
            Records::Produce { .. } | Records::ProducePlain { .. } | Records::Resend { .. } => {}
        }
    }

    /// Lets members of groups do something.
    pub(crate) fn members(&self, members: Members) {
        match members {
            Members::Act {
                group,
                member,
                step,
            } => {
                let key = (usize::from(group), usize::from(member));
                self.client(&self.members[&key], move |sky, member| {
                    async move { member.act(&sky, step).await }.boxed()
                });
            }
            Members::SimpleCommit { group, pick } => {
                self.client(&self.simple[usize::from(group)], move |sky, member| {
                    async move { member.commit(&sky, pick).await }.boxed()
                });
            }
            Members::SimpleFetch { group, pick } => {
                self.client(&self.simple[usize::from(group)], move |sky, member| {
                    async move { member.fetch(&sky, pick).await }.boxed()
                });
            }
        }
    }

    /// A producer that still tries again must not be forgotten: it would be taken for a new one.
    pub(crate) fn may_evict(&self) -> bool {
        let mut producers = Vec::new();
        for producer in &self.producers {
            match Arc::clone(producer).try_lock_owned() {
                Ok(producer) if !producer.has_open() => producers.push(producer),
                Ok(_) | Err(_) => return false,
            }
        }
        for mut producer in producers {
            producer.forget_done();
        }
        true
    }
}

fn shared<T>(client: T) -> Arc<tokio::sync::Mutex<T>> {
    Arc::new(tokio::sync::Mutex::new(client))
}
