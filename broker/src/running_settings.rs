//! The settings of a running broker: those that it started with, and what is set while it runs.
//!
//! What is worked out anew for every request (defaults of topics) asks [`Topics`]; here is the rest.

use std::sync::Arc;

use streamhouse_config::Settings;
use streamhouse_runtime::Ambient;

use crate::network::ConnectionQuota;
use crate::topics::Topics;

/// The settings of a running broker. Clones share them.
#[derive(Clone, Debug)]
pub struct RunningSettings {
    started_with: Arc<Settings>,
    topics: Topics,
}

impl RunningSettings {
    /// The settings of a broker that started with `settings`; what is set while it runs is kept beside `topics`.
    #[must_use]
    pub fn new(settings: Settings, topics: Topics) -> Self {
        let started_with = Arc::new(settings);
        Self {
            started_with,
            topics,
        }
    }

    /// What the broker started with.
    #[must_use]
    pub fn started_with(&self) -> &Settings {
        &self.started_with
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Settings {
        let catalogue = self.topics.current();
        let dynamic = self.topics.dynamic_configs(&catalogue);
        dynamic.applied_to(&self.started_with)
    }

    /// Lets in as many connections as is set (`max.connections`, `max.connections.per.ip`), until the broker shuts down.
    /// Those that are there stay.
    pub async fn limit_connections(self, quota: ConnectionQuota, ambient: Ambient) {
        let mut changes = self.topics.watch();
        loop {
            let listener = self.current().listener;
            quota.limit(listener.max_connections, listener.max_connections_per_ip);
            tokio::select! {
                // Both arms may be dropped: a change that was not seen is seen by the next call.
                changed = changes.changed() => if changed.is_err() { return },
                () = ambient.tasks.shutdown_requested() => return,
            }
        }
    }
}
