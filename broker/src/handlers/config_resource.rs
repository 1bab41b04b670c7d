//! The thing whose configs are shown or changed, as the three config APIs name it.

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::ids::BrokerId;

use crate::api::RequestContext;
use crate::error_code::{self, Refusal};
use crate::security::{Access, Operation};

/// Kafka's numbers of config resources (`ConfigResource.Type`). On the wire: never renumber.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// A config resource that this broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigResource<'a> {
    /// A topic; its name as it came.
    Topic(&'a str),
    /// This broker.
    Broker,
    /// What holds for all brokers.
    AllBrokers,
}

impl<'a> ConfigResource<'a> {
    /// The resource, if the asker may do `operation` to it and it can have configs here.
    pub(super) fn of(
        kind: i8,
        name: &'a StrBytes,
        broker: BrokerId,
        (access, cx, operation): (&Access, &RequestContext, Operation),
    ) -> Result<Self, Refusal> {
        match kind {
            TOPIC if access.to_topic(cx, operation, name) => Ok(Self::Topic(name)),
            TOPIC => Err(error_code::TOPIC_AUTHORIZATION_FAILED),
            _ if !access.to_cluster(cx, operation) => Err(error_code::CLUSTER_AUTHORIZATION_FAILED),
            BROKER if name.is_empty() => Ok(Self::AllBrokers),
            BROKER => match name.parse::<i32>() {
                Ok(id) if id == broker.0 => Ok(Self::Broker),
                Ok(id) => Err(Refusal::invalid_request(format!(
                    "Unexpected broker id, expected {broker} or empty string, but received {id}"
                ))),
                Err(_) => Err(Refusal::invalid_request(format!(
                    "Broker id must be an integer, but it is: {}",
                    name.as_str()
                ))),
            },
            other => Err(Refusal::invalid_request(format!(
                "config resource type {other} has no configs here; use 2 (topic) or 4 (broker)"
            ))),
        }
    }
}
