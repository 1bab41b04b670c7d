//! What handlers may touch: one small set of handles per subject, and the broker that has them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamhouse_protocol::ids::BrokerId;

use crate::security::Access;

/// Everything that requests are answered from.
#[derive(Clone, Debug)]
pub struct Broker {
    /// The cluster and this broker's place in it.
    pub cluster: Cluster,
}

/// A part of the [`Broker`] that a handler asks for.
pub trait Reach: Send + Sync + 'static {
    /// The part of `broker`.
    fn of(broker: &Broker) -> &Self;
}

/// Where clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or address.
    pub host: String,
    /// A port.
    pub port: u16,
}

/// The cluster and this broker's place in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The id of the cluster: 22 characters of base64, as Kafka's.
    pub cluster_id: Arc<str>,
    /// The number of this broker.
    pub broker: BrokerId,
    /// The zone of this broker.
    pub rack: Option<Arc<str>>,
    /// `advertised.listeners`: by the name of the listener that a client came through.
    pub advertised: Arc<BTreeMap<Arc<str>, Endpoint>>,
    /// Who may do what.
    pub access: Access,
}

impl Reach for Cluster {
    fn of(broker: &Broker) -> &Self {
        &broker.cluster
    }
}
