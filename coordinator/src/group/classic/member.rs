//! One member of a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_runtime::Monotonic;

use super::super::request::{JoinRequest, MemberId, Protocol};
use super::Ticket;

/// What a member costs beside its texts and bytes: maps, timers, tickets.
pub(super) const MEMBER_OVERHEAD_BYTES: usize = 256;

/// A member: what it said when it joined, and what it waits for.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The place in the order of joining.
    pub(super) order: u64,
    /// Whether it has not been in a generation yet. Only then may it expire while its join is parked: nothing else
    /// would find out that such a client is gone.
    pub(super) is_new: bool,
    /// Whether it has asked for the assignment of the current generation.
    pub(super) has_synced: bool,
    pub(super) join: Option<Ticket>,
    pub(super) sync: Option<Ticket>,
    pub(super) session_until: Monotonic,
}

impl Member {
    /// A member that has just sent `request`; `session_until` and `order` are its group's to say.
    pub(super) fn joining(request: &JoinRequest, order: u64, session_until: Monotonic) -> Self {
        let session_timeout = milliseconds(request.session_timeout_ms).unwrap_or(Duration::ZERO);
        Self {
            instance: request.instance.clone(),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            session_timeout,
            // Version 0 has no rebalance timeout; the session timeout stands in for it.
            rebalance_timeout: milliseconds(request.rebalance_timeout_ms)
                .unwrap_or(session_timeout),
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            order,
            is_new: true,
            has_synced: false,
            join: None,
            sync: None,
            session_until,
        }
    }

    /// Whether silence cannot expire it: it waits for us.
    pub(super) const fn is_satisfied(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    /// Whether it joins with exactly what it said before.
    pub(super) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// Its bytes for `protocol`.
    pub(super) fn metadata(&self, protocol: Option<&Arc<str>>) -> Bytes {
        let chosen = protocol.and_then(|name| self.protocols.iter().find(|one| one.name == *name));
        chosen.map_or_else(Bytes::new, |one| one.metadata.clone())
    }

    /// What it occupies, the assignment aside.
    pub(super) fn bytes(&self, id: &MemberId) -> usize {
        let protocols: usize = self
            .protocols
            .iter()
            .map(|one| one.name.len() + one.metadata.len())
            .sum();
        MEMBER_OVERHEAD_BYTES
            + id.as_str().len()
            + self.instance.as_ref().map_or(0, |instance| instance.len())
            + self.client_id.len()
            + self.client_host.len()
            + protocols
    }
}

/// A timeout from the wire; `None` if it is negative.
fn milliseconds(raw: i32) -> Option<Duration> {
    u64::try_from(raw).ok().map(Duration::from_millis)
}
