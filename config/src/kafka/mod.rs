//! Kafka's view of configuration: types, sources and entries as DescribeConfigs shows them, and the table of broker
//! keys.
//!
//! The numbers of [`ConfigType`] and [`ConfigSource`] are Kafka's wire numbers (KIP-226, KIP-569): never renumber.

pub mod describe;
pub mod dynamic;
pub mod keys;
mod without_effect;

pub use describe::describe_broker;
pub use dynamic::{
    BrokerConfigError, BrokerOverrides, DynamicConfigs, alter_broker_overrides,
    check_broker_overrides, describe_all_brokers,
};
pub use keys::{BrokerKey, Role, Unit, broker_key, broker_keys};

/// The type of a config value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A 32-bit number.
    Int,
    /// A 16-bit number.
    Short,
    /// A 64-bit number.
    Long,
    /// A fraction.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// A secret; its value is never shown.
    Password,
}

impl ConfigType {
    /// Kafka's name, as in `Not a number of type LONG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The number of the type in DescribeConfigs answers.
    #[must_use]
    pub const fn wire_id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// Where a config value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set while running, for one broker.
    DynamicBroker,
    /// Set while running, for all brokers.
    DynamicDefaultBroker,
    /// Set in a file, the environment or on the command line of the broker.
    StaticBroker,
    /// Set on a group.
    Group,
    /// The level of a broker's logger.
    BrokerLogger,
    /// Not set.
    Default,
}

impl ConfigSource {
    /// The number of the source in DescribeConfigs answers.
    #[must_use]
    pub const fn wire_id(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::BrokerLogger => 6,
            Self::Group => 8,
        }
    }
}

/// One place that sets, or would set, a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key in that place.
    pub name: &'static str,
    /// The value there; `None` when it is a secret.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// A config as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in effect; `None` when there is none or it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether the key cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// Whether the value is a secret.
    pub is_sensitive: bool,
    /// The type of the value.
    pub kind: ConfigType,
    /// What the key means, and what it does in StreamHouse.
    pub documentation: String,
    /// The places that set it, the strongest first.
    pub synonyms: Vec<ConfigSynonym>,
}
