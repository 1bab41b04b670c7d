//! The table of Kafka's broker keys: which setting each one sets, which give the defaults of topic configs, which are
//! accepted without effect and which are refused.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use super::dynamic::{DYNAMIC_SETTINGS, DYNAMIC_WITHOUT_EFFECT};
use super::without_effect::{ONLY_DYNAMIC, WITHOUT_EFFECT};
use crate::duration;
use crate::kafka::ConfigType::{self, Boolean, Class, Int, List, Long, String as Text};
use crate::settings::Settings;
use crate::size::ByteSize;
use crate::topic::{Effect, TOPIC_KEYS};

/// The unit in which Kafka counts a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The same text as ours.
    Same,
    /// A number of bytes.
    Bytes,
    /// A number of milliseconds.
    Millis,
    /// A number of minutes.
    Minutes,
}

impl Unit {
    const fn millis(self) -> u64 {
        match self {
            Self::Minutes => 60_000,
            Self::Same | Self::Bytes | Self::Millis => 1,
        }
    }

    /// Kafka's text as the text of our setting.
    pub(crate) fn read(self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let number = |what: &str| {
            u64::from_str(text).map_err(|_| format!("use a whole number of {what}, 0 or more"))
        };
        match self {
            Self::Same => Ok(text.to_owned()),
            Self::Bytes => number("bytes").map(|bytes| bytes.to_string()),
            Self::Millis | Self::Minutes => {
                let what = if self == Self::Minutes {
                    "minutes"
                } else {
                    "milliseconds"
                };
                let millis = number(what)?
                    .checked_mul(self.millis())
                    .ok_or_else(|| "the duration exceeds 64 bits of milliseconds".to_owned())?;
                Ok(duration::write(Duration::from_millis(millis)))
            }
        }
    }

    /// The text of our setting as Kafka's text.
    pub(crate) fn write(self, text: &str) -> String {
        match self {
            Self::Same => text.to_owned(),
            Self::Bytes => ByteSize::from_str(text)
                .map_or_else(|_| text.to_owned(), |size| size.bytes().to_string()),
            Self::Millis | Self::Minutes => duration::read(text).map_or_else(
                |_| text.to_owned(),
                |span| (span.as_millis() / u128::from(self.millis())).to_string(),
            ),
        }
    }
}

/// What StreamHouse does with a broker key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sets one of our settings.
    Setting {
        /// The setting, as `section.field`.
        path: &'static str,
        /// How Kafka counts it.
        unit: Unit,
    },
    /// It gives the default of a topic config.
    TopicDefault {
        /// The topic config.
        topic_key: &'static str,
        /// Why it nevertheless changes nothing, if so.
        without_effect: Option<&'static str>,
    },
    /// It is accepted and changes nothing.
    WithoutEffect {
        /// The reason, as a clause.
        why: &'static str,
    },
    /// It exists only while brokers run: it is in no file and has no default. It is accepted and changes nothing.
    OnlyDynamic {
        /// The reason, as a clause.
        why: &'static str,
    },
    /// Any value but the default is refused, because ignoring it would be dangerous or surprising.
    Refused {
        /// The reason and the remedy, as a clause.
        why: &'static str,
    },
}

/// A broker key of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The type of the value.
    pub kind: ConfigType,
    /// The default as Kafka writes it: ours for keys that set a setting, Kafka's for others.
    pub default: Option<String>,
    /// Whether it can be changed while the broker runs.
    pub is_dynamic: bool,
    /// What we do with it.
    pub role: Role,
}

impl BrokerKey {
    /// Whether the value is a secret.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// What the key means here, as DescribeConfigs shows it.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.role {
            Role::Setting { path, .. } => {
                let fields = Settings::fields();
                let doc = fields
                    .iter()
                    .find(|field| field.path() == path)
                    .map(|field| field.text());
                format!(
                    "{} StreamHouse's own name: {path}.",
                    doc.unwrap_or_default()
                )
            }
            Role::TopicDefault { topic_key, .. } => {
                let doc = crate::topic::topic_key(topic_key).map(|key| key.documentation());
                format!(
                    "The default of the topic config {topic_key}. {}",
                    doc.unwrap_or_default()
                )
            }
            Role::WithoutEffect { why } | Role::OnlyDynamic { why } => {
                format!("Accepted without effect: {why}.")
            }
            Role::Refused { why } => format!("Only the default is accepted: {why}."),
        }
    }
}

const NO_CLASSES: &str = "StreamHouse does not load Java classes; remove the key";

/// Keys that set a setting. Of several keys for one setting the first that is given wins, as in Kafka.
const SETTING_KEYS: &[(&str, ConfigType, &str, Unit)] = &[
    ("node.id", Int, "broker.node_id", Unit::Same),
    ("broker.id", Int, "broker.node_id", Unit::Same),
    ("broker.rack", Text, "broker.rack", Unit::Same),
    (
        "auto.create.topics.enable",
        Boolean,
        "broker.auto_create_topics_enable",
        Unit::Same,
    ),
    (
        "delete.topic.enable",
        Boolean,
        "broker.delete_topic_enable",
        Unit::Same,
    ),
    ("num.partitions", Int, "broker.num_partitions", Unit::Same),
    (
        "default.replication.factor",
        Int,
        "broker.default_replication_factor",
        Unit::Same,
    ),
    (
        "fetch.max.bytes",
        Int,
        "broker.fetch_max_bytes",
        Unit::Bytes,
    ),
    ("listeners", List, "listener.listeners", Unit::Same),
    (
        "advertised.listeners",
        List,
        "listener.advertised",
        Unit::Same,
    ),
    (
        "listener.security.protocol.map",
        Text,
        "listener.protocols",
        Unit::Same,
    ),
    (
        "socket.request.max.bytes",
        Int,
        "listener.socket_request_max_bytes",
        Unit::Bytes,
    ),
    (
        "max.connections",
        Int,
        "listener.max_connections",
        Unit::Same,
    ),
    (
        "max.connections.per.ip",
        Int,
        "listener.max_connections_per_ip",
        Unit::Same,
    ),
    (
        "connections.max.idle.ms",
        Long,
        "listener.connections_max_idle",
        Unit::Millis,
    ),
    (
        "log.retention.check.interval.ms",
        Long,
        "log.retention_check_interval",
        Unit::Millis,
    ),
    (
        "producer.id.expiration.ms",
        Int,
        "log.producer_id_expiration",
        Unit::Millis,
    ),
    (
        "producer.id.expiration.check.interval.ms",
        Int,
        "log.producer_id_expiration_check_interval",
        Unit::Millis,
    ),
    (
        "group.initial.rebalance.delay.ms",
        Int,
        "coordinator.group_initial_rebalance_delay",
        Unit::Millis,
    ),
    (
        "group.min.session.timeout.ms",
        Int,
        "coordinator.group_min_session_timeout",
        Unit::Millis,
    ),
    (
        "group.max.session.timeout.ms",
        Int,
        "coordinator.group_max_session_timeout",
        Unit::Millis,
    ),
    (
        "group.max.size",
        Int,
        "coordinator.group_max_size",
        Unit::Same,
    ),
    (
        "group.consumer.session.timeout.ms",
        Int,
        "coordinator.group_consumer_session_timeout",
        Unit::Millis,
    ),
    (
        "group.consumer.min.session.timeout.ms",
        Int,
        "coordinator.group_consumer_min_session_timeout",
        Unit::Millis,
    ),
    (
        "group.consumer.max.session.timeout.ms",
        Int,
        "coordinator.group_consumer_max_session_timeout",
        Unit::Millis,
    ),
    (
        "group.consumer.heartbeat.interval.ms",
        Int,
        "coordinator.group_consumer_heartbeat_interval",
        Unit::Millis,
    ),
    (
        "group.consumer.min.heartbeat.interval.ms",
        Int,
        "coordinator.group_consumer_min_heartbeat_interval",
        Unit::Millis,
    ),
    (
        "group.consumer.max.heartbeat.interval.ms",
        Int,
        "coordinator.group_consumer_max_heartbeat_interval",
        Unit::Millis,
    ),
    (
        "group.consumer.max.size",
        Int,
        "coordinator.group_consumer_max_size",
        Unit::Same,
    ),
    (
        "group.consumer.assignors",
        List,
        "coordinator.group_consumer_assignors",
        Unit::Same,
    ),
    (
        "group.consumer.migration.policy",
        Text,
        "coordinator.group_consumer_migration_policy",
        Unit::Same,
    ),
    (
        "group.consumer.regex.refresh.interval.ms",
        Int,
        "coordinator.group_consumer_regex_refresh_interval",
        Unit::Millis,
    ),
    (
        "offsets.retention.minutes",
        Int,
        "coordinator.offsets_retention",
        Unit::Minutes,
    ),
    (
        "offsets.retention.check.interval.ms",
        Long,
        "coordinator.offsets_retention_check_interval",
        Unit::Millis,
    ),
    (
        "offset.metadata.max.bytes",
        Int,
        "coordinator.offset_metadata_max_bytes",
        Unit::Bytes,
    ),
    (
        "offsets.commit.timeout.ms",
        Int,
        "coordinator.offset_commit_timeout",
        Unit::Millis,
    ),
    (
        "broker.session.timeout.ms",
        Int,
        "membership.lease",
        Unit::Millis,
    ),
    (
        "broker.heartbeat.interval.ms",
        Int,
        "membership.heartbeat_interval",
        Unit::Millis,
    ),
];

const REFUSED: &[(&str, ConfigType, Option<&str>, &str)] = &[
    ("alter.config.policy.class.name", Class, None, NO_CLASSES),
    (
        "authorizer.class.name",
        Text,
        Some(""),
        "this release has no access control, and to ignore the key would leave open what it was \
         meant to close; remove it and let only trusted machines reach the listeners",
    ),
    ("client.quota.callback.class", Class, None, NO_CLASSES),
    (
        "config.providers",
        List,
        Some(""),
        "values are not looked up elsewhere; write them out, or set them by environment variables",
    ),
    ("create.topic.policy.class.name", Class, None, NO_CLASSES),
    (
        "principal.builder.class",
        Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        NO_CLASSES,
    ),
    (
        "remote.log.storage.manager.class.name",
        Text,
        None,
        NO_CLASSES,
    ),
    ("replica.selector.class", Text, None, NO_CLASSES),
    ("security.providers", Text, None, NO_CLASSES),
    (
        "zookeeper.connect",
        Text,
        None,
        "StreamHouse needs no ZooKeeper; remove the key, and move the topics with MirrorMaker 2",
    ),
];

/// Every broker key we know, by name.
#[must_use]
pub fn broker_keys() -> &'static [BrokerKey] {
    static KEYS: OnceLock<Vec<BrokerKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = setting_keys();
        keys.extend(topic_default_keys());
        keys.extend(keys_without_effect());
        keys.extend(only_dynamic_keys());
        keys.extend(refused_keys());
        keys.sort_by_key(|key| key.name);
        keys
    })
}

/// The row of a broker key.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    let keys = broker_keys();
    keys.binary_search_by_key(&name, |key| key.name)
        .ok()
        .map(|index| &keys[index])
}

/// The broker keys of a setting, the strongest first.
pub(crate) fn keys_of_setting(path: &str) -> impl Iterator<Item = (&'static str, Unit)> {
    SETTING_KEYS
        .iter()
        .filter(move |row| row.2 == path)
        .map(|(name, _, _, unit)| (*name, *unit))
}

fn setting_keys() -> Vec<BrokerKey> {
    let defaults = Settings::default();
    let rows = SETTING_KEYS.iter().map(|&(name, kind, path, unit)| {
        let default = defaults
            .get(path)
            .expect("the table names settings that exist");
        BrokerKey {
            name,
            kind,
            default: Some(unit.write(&default)).filter(|text| !text.is_empty()),
            is_dynamic: DYNAMIC_SETTINGS.contains(&name),
            role: Role::Setting { path, unit },
        }
    });
    rows.collect()
}

fn topic_default_keys() -> Vec<BrokerKey> {
    let rows = TOPIC_KEYS.iter().flat_map(|key| {
        let without_effect = match key.effect {
            Effect::Honoured => None,
            Effect::Stored(why) => Some(why),
        };
        key.synonyms.iter().map(move |synonym| BrokerKey {
            name: synonym.name,
            kind: synonym.kind,
            default: synonym.default.map(str::to_owned),
            is_dynamic: synonym.is_dynamic,
            role: Role::TopicDefault {
                topic_key: key.name,
                without_effect,
            },
        })
    });
    rows.collect()
}

fn keys_without_effect() -> Vec<BrokerKey> {
    let rows = WITHOUT_EFFECT.iter().flat_map(|group| {
        group.keys.iter().map(|&(name, kind, default)| BrokerKey {
            name,
            kind,
            default: default.map(str::to_owned),
            is_dynamic: DYNAMIC_WITHOUT_EFFECT.contains(&name),
            role: Role::WithoutEffect { why: group.why },
        })
    });
    rows.collect()
}

fn only_dynamic_keys() -> Vec<BrokerKey> {
    let rows = ONLY_DYNAMIC.iter().flat_map(|group| {
        group.keys.iter().map(|&(name, kind, _)| BrokerKey {
            name,
            kind,
            default: None,
            is_dynamic: true,
            role: Role::OnlyDynamic { why: group.why },
        })
    });
    rows.collect()
}

fn refused_keys() -> Vec<BrokerKey> {
    let rows = REFUSED.iter().map(|&(name, kind, default, why)| BrokerKey {
        name,
        kind,
        default: default.map(str::to_owned),
        is_dynamic: false,
        role: Role::Refused { why },
    });
    rows.collect()
}
