//! Every setting of StreamHouse: its meaning, its default, its bounds and the Kafka key it answers to.
//!
//! Settings are values, never components: this crate opens no socket, reads no clock and starts no task. The only IO is
//! that [`Loader::file`] reads a file. An empty file is a complete configuration.
//!
//! A walk through the files:
//! - [`value`], [`size`], [`duration`], [`endpoint`], [`storage_url`], [`consumer_group`], [`secret`]: what a setting may
//!   hold, and how it is written.
//! - [`section`] declares a section once; [`broker`], [`listener`], [`storage`], [`s3`], [`wal`], [`metadata`], [`log`],
//!   [`shared`], [`coordinator`], [`membership`] and [`telemetry`] are the sections, one per room; [`settings`] is all of
//!   them.
//! - [`topic`]: the table of topic configs, their rules and the values in effect.
//! - [`kafka`]: the table of Kafka's broker keys, and what DescribeConfigs shows of them.
//! - [`load`]: from files, variables and `--set` to settings with the origin of every value; [`check`] refuses what
//!   does not fit together.
//! - [`mod@dump`], [`reference`](mod@reference), [`memory`]: what is shown of it all.

#[cfg(test)]
mod test_scale;

pub mod broker;
pub mod check;
pub mod consumer_group;
pub mod coordinator;
pub mod dump;
pub mod duration;
pub mod endpoint;
pub mod kafka;
pub mod listener;
pub mod load;
pub mod log;
pub mod membership;
pub mod memory;
pub mod metadata;
pub mod reference;
pub mod s3;
pub mod secret;
pub mod section;
pub mod settings;
pub mod shared;
pub mod size;
pub mod storage;
pub mod storage_url;
pub mod telemetry;
pub mod topic;
pub mod value;
pub mod wal;

pub use check::SMALL_PRODUCE_BYTES_MAX;
pub use consumer_group::{ConsumerAssignor, MigrationPolicy};
pub use endpoint::{BindHost, HostPort, Listener, ListenerProtocol};
pub use load::provenance::{Explanation, Provenance};
pub use load::source::{Assignment, Note, NoteLevel, Origin, Problem, Problems};
pub use load::{Loaded, Loader, Profile, Syntax};
pub use memory::MemoryShare;
pub use reference::{reference_markdown, reference_toml, topic_reference_markdown};
pub use secret::Secret;
pub use section::Field;
pub use settings::{SectionDoc, Settings};
pub use size::ByteSize;
pub use storage_url::{StorageUrl, StoreEndpoint};
pub use topic::{TopicConfigError, TopicConfigs, TopicDefaults, TopicOverrides};
