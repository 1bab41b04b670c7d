//! The one list of targets: whatever reads bytes from the network or the disk.

mod batches;
mod checkpoint;
mod compression;
mod configs;
mod consumer_group;
mod frame;
mod group;
mod hostile_broker;
mod l0;
mod manifest;
mod names;
mod request;
mod response;
mod section;
mod settings;
mod values;
mod wal;
mod wal_aside;
mod wal_record;

use crate::target::Target;

/// Runs what waits for nothing outside, in a runtime of its own: tasks that it leaves behind end with it.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without drivers needs nothing");
    runtime.block_on(work)
}

/// All of them: the network first, then the disk, then what people write.
pub const TARGETS: &[Target] = &[
    frame::TARGET,
    request::TARGET,
    response::TARGET,
    hostile_broker::TARGET,
    batches::TARGET,
    compression::TARGET,
    wal::TARGET,
    wal_aside::TARGET,
    wal_record::TARGET,
    l0::TARGET,
    section::TARGET,
    manifest::TARGET,
    checkpoint::TARGET,
    group::TARGET,
    consumer_group::TARGET,
    names::TARGET,
    settings::TOML,
    settings::PROPERTIES,
    settings::OVERRIDES,
    configs::TARGET,
    values::TARGET,
];
