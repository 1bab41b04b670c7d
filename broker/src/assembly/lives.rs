//! The lives of a broker in one process: when others declared a member dead, it tears down everything that belonged to that
//! life, and begins another one at the same addresses.

use std::time::Duration;

use streamhouse_config::Loaded;
use streamhouse_metadata::Incarnation;
use streamhouse_runtime::Ambient;

use super::Ready;
use crate::membership::history::Seen;

/// The pause before a life that did not begin is tried again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// What one life begins with.
#[derive(Debug)]
pub(super) struct Chapter {
    pub(super) ambient: Ambient,
    pub(super) loaded: Loaded,
    pub(super) incarnation: Incarnation,
    pub(super) seen: Seen,
}

impl Chapter {
    /// Ends the tasks of a life that did not begin.
    pub(super) async fn end(&self) {
        self.ambient.tasks.shut_down();
        self.ambient.tasks.finished().await;
    }
}

/// One life after the other.
#[derive(Debug)]
pub(super) struct Lives {
    loaded: Loaded,
    seen: Seen,
    is_first: bool,
}

impl Lives {
    pub(super) const fn new(loaded: Loaded) -> Self {
        Self {
            loaded,
            seen: Seen {
                revision: None,
                timeline: None,
            },
            is_first: true,
        }
    }

    /// Whether no life has begun yet.
    pub(super) const fn is_first(&self) -> bool {
        self.is_first
    }

    /// What the next life begins with: tasks of its own, a number that nobody had, and what was seen of the database.
    pub(super) fn chapter(&self) -> Chapter {
        let ambient = Ambient::system();
        Chapter {
            incarnation: Incarnation(ambient.chance.next_u128()),
            ambient,
            loaded: self.loaded.clone(),
            seen: self.seen,
        }
    }

    /// A life serves. Ports that were picked for it are those of the next one, too: clients know them.
    pub(super) fn began(&mut self, ready: &Ready) {
        self.is_first = false;
        let settings = &mut self.loaded.settings;
        for listener in &mut settings.listener.listeners {
            let port = ready.ports.get(&listener.name);
            listener.address.port = port.copied().unwrap_or(listener.address.port);
        }
        if let (Some(wanted), Some(bound)) = (
            settings.telemetry.metrics_address.as_mut(),
            ready.metrics_address,
        ) {
            wanted.port = bound.port();
        }
    }

    /// A life is over.
    pub(super) const fn ended(&mut self, seen: Seen) {
        self.seen = seen;
    }
}
