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
    /// The loggers of this broker.
    Loggers,
}

impl<'a> ConfigResource<'a> {
    /// The resource, if the asker may do `operation` to it and it can have configs here.
    pub(super) fn of(
        kind: i8,
        name: &'a StrBytes,
        broker: BrokerId,
        (access, cx, operation): (&Access, &RequestContext, Operation),
    ) -> Result<Self, Refusal> {
        let alters = operation == Operation::AlterConfigs;
        match kind {
            TOPIC if access.to_topic(cx, operation, name) => Ok(Self::Topic(name)),
            TOPIC => Err(error_code::TOPIC_AUTHORIZATION_FAILED),
            _ if !access.to_cluster(cx, operation) => Err(error_code::CLUSTER_AUTHORIZATION_FAILED),
            BROKER if name.is_empty() => Ok(Self::AllBrokers),
            BROKER => match (id(name, alters)?, alters) {
                (id, _) if id == broker.0 => Ok(Self::Broker),
                (id, true) => Err(Refusal::invalid_request(format!(
                    "Unexpected broker id, expected {broker}, but received {id}"
                ))),
                (id, false) => Err(Refusal::invalid_request(format!(
                    "Unexpected broker id, expected {broker} or empty string, but received {id}"
                ))),
            },
            BROKER_LOGGER if name.is_empty() && !alters => {
                Err(Refusal::invalid_request("Broker id must not be empty"))
            }
            BROKER_LOGGER => match (id(name, alters)?, alters) {
                (id, _) if id == broker.0 => Ok(Self::Loggers),
                (id, true) => Err(Refusal::invalid_request(format!(
                    "Unexpected node id. Expected {broker}, but received {id}"
                ))),
                (id, false) => Err(Refusal::invalid_request(format!(
                    "Unexpected broker id, expected {broker} but received {id}"
                ))),
            },
            other if alters => Err(Refusal::invalid_request(format!(
                "Unknown resource type {other}"
            ))),
            _ => Err(error_code::INVALID_REQUEST),
        }
    }
}

/// The number of a broker. Kafka says "node" where it alters and "broker" where it describes.
fn id(name: &StrBytes, alters: bool) -> Result<i32, Refusal> {
    name.parse().map_err(|_| {
        let word = if alters { "Node" } else { "Broker" };
        let name = name.as_str();
        Refusal::invalid_request(format!("{word} id must be an integer, but it is: {name}"))
    })
}
