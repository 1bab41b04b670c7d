//! All settings of a broker, one section per room. A room receives its own section and no other.

use crate::broker::BrokerSettings;
use crate::coordinator::CoordinatorSettings;
use crate::listener::ListenerSettings;
use crate::log::LogSettings;
use crate::membership::MembershipSettings;
use crate::metadata::MetadataSettings;
use crate::s3::S3Settings;
use crate::section::{Field, Section};
use crate::shared::SharedSettings;
use crate::storage::StorageSettings;
use crate::telemetry::TelemetrySettings;
use crate::topic::TopicDefaults;
use crate::wal::WalSettings;

/// The documentation of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionDoc {
    /// The name in `streamhouse.toml`.
    pub name: &'static str,
    /// What the section is about, one entry per line.
    pub doc: &'static [&'static str],
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty),* $(,)?) => {
        /// Everything that can be set. The default is what an empty file gives.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Settings {
            $( $(#[doc = $doc])* pub $field: $type, )*
            /// What applies to topics that do not say otherwise. Set by Kafka's broker keys, such as
            /// `log.retention.hours`.
            pub topic_defaults: TopicDefaults,
        }

        impl Settings {
            /// The sections in reading order.
            #[must_use]
            pub fn sections() -> Vec<SectionDoc> {
                vec![$( SectionDoc { name: <$type>::NAME, doc: <$type>::DOC } ),*]
            }

            /// Every setting in reading order.
            #[must_use]
            pub fn fields() -> Vec<Field> {
                let mut fields = Vec::new();
                $( fields.extend(<$type>::fields()); )*
                fields
            }

            /// Whether there is a setting `section.field`.
            #[must_use]
            pub fn has(path: &str) -> bool {
                Self::fields().iter().any(|field| field.path() == path)
            }

            /// Whether nobody may be shown the value of `section.field`.
            #[must_use]
            pub fn is_secret(path: &str) -> bool {
                Self::fields().iter().any(|field| field.path() == path && field.secret)
            }

            /// Sets `section.field` from text; `None` when there is no such setting.
            pub(crate) fn set(&mut self, path: &str, text: &str) -> Option<Result<(), String>> {
                let (section, field) = path.split_once('.')?;
                match section {
                    $( stringify!($field) => self.$field.set(field, text), )*
                    _ => None,
                }
            }

            /// The value of `section.field` as text; `None` when there is no such setting.
            #[must_use]
            pub fn get(&self, path: &str) -> Option<String> {
                let (section, field) = path.split_once('.')?;
                match section {
                    $( stringify!($field) => self.$field.get(field), )*
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// Who this broker is.
    broker: BrokerSettings,
    /// Where clients connect.
    listener: ListenerSettings,
    /// Where bytes are kept.
    storage: StorageSettings,
    /// The bucket, if bytes are kept in one.
    s3: S3Settings,
    /// The write-ahead log.
    wal: WalSettings,
    /// The database of facts.
    metadata: MetadataSettings,
    /// Flushes, checkpoints, retention.
    log: LogSettings,
    /// Flushes of a cluster of several brokers.
    shared: SharedSettings,
    /// Groups and offsets.
    coordinator: CoordinatorSettings,
    /// Leases and moves of shards between brokers.
    membership: MembershipSettings,
    /// Metrics, health, logs.
    telemetry: TelemetrySettings,
}
