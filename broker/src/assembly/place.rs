//! A broker's place in its cluster: alone on a data folder, or a member among others.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::Settings;
use streamhouse_log::Log;
use streamhouse_metadata::{Incarnation, ShardId};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::Ambient;

use super::StartError;
use super::home::Home;
use super::listen::advertised;
use super::stores::Stores;
use crate::membership::history::Seen;
use crate::membership::lease::Lease;
use crate::membership::{LifeOver, Membership, MembershipParts, Rooms};
use crate::network::Listener;
use crate::reach::{Brokers, KnownBroker, Parts, ShardLeader, ShardLeaders};

/// The place of a broker.
#[derive(Clone, Debug)]
pub(super) struct Place {
    own: KnownBroker,
    pub(super) membership: Option<Membership>,
}

impl Place {
    /// Takes the place that the settings give. A member is registered, and its lease holds from here on.
    pub(super) async fn take(
        (settings, home): (&Settings, &Home),
        ambient: &Ambient,
        stores: &Stores,
        listeners: &[Listener],
        (incarnation, seen): (Incarnation, Seen),
    ) -> Result<Self, StartError> {
        let own = KnownBroker {
            broker: BrokerId(settings.broker.node_id),
            rack: settings.broker.rack.as_deref().map(Arc::from),
            endpoints: advertised(settings, listeners),
        };
        let membership = match home {
            Home::Folder(_) => None,
            Home::Nowhere => {
                let joined = Membership::join(MembershipParts {
                    ambient: ambient.clone(),
                    store: Arc::clone(&stores.metadata),
                    broker: own.clone(),
                    incarnation,
                    settings: settings.membership.clone(),
                    seen,
                });
                Some(joined.await?)
            }
        };
        Ok(Self { own, membership })
    }

    pub(super) fn broker(&self) -> BrokerId {
        self.own.broker
    }

    pub(super) fn lease(&self, ambient: &Ambient) -> Lease {
        match &self.membership {
            Some(membership) => membership.lease(),
            None => Lease::for_ever(Arc::clone(&ambient.clock)),
        }
    }

    pub(super) fn brokers(&self) -> Arc<Brokers> {
        match &self.membership {
            Some(membership) => membership.brokers(),
            None => Arc::new(Brokers::alone(self.own.clone())),
        }
    }

    /// Who leads which shard: a broker that is alone leads every shard that its log has.
    pub(super) fn leaders(&self, log: &Log, shards: u32) -> Arc<ShardLeaders> {
        if let Some(membership) = &self.membership {
            return membership.leaders();
        }
        let grants = (0..shards).map(ShardId).filter_map(|shard| {
            let (epoch, _) = log.grant(shard).ok()?;
            let broker = self.own.broker;
            Some((shard, ShardLeader { broker, epoch }))
        });
        let leaders = ShardLeaders::default();
        leaders.replace(grants.collect());
        Arc::new(leaders)
    }

    /// A member begins to lead shards.
    pub(super) async fn lead(&self, log: &Log, parts: &Parts) {
        if let Some(membership) = &self.membership {
            let rooms = Rooms {
                log: log.clone(),
                groups: parts.groups.clone(),
                catalogue: Arc::clone(&parts.catalogue),
            };
            membership.lead(rooms).await;
        }
    }

    /// Completes when the life of a member is over; a broker that is alone lives until it is stopped.
    pub(super) async fn over(&self) -> LifeOver {
        match &self.membership {
            Some(membership) => membership.over().await,
            None => std::future::pending().await,
        }
    }

    /// A member lets the others take over.
    pub(super) async fn leave(&self, within: Duration) {
        if let Some(membership) = &self.membership {
            membership.leave(within).await;
        }
    }

    /// What was seen of the database, for the next life.
    pub(super) fn seen(&self) -> Seen {
        let membership = self.membership.as_ref();
        membership.map_or_else(Seen::default, Membership::seen)
    }
}
