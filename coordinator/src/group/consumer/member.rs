//! One member of a consumer group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use streamhouse_config::ConsumerAssignor;
use streamhouse_runtime::Monotonic;

use super::super::request::MemberId;
use super::classic::Classic;
use super::{ConsumerGroupSettings, Partitions, STATIC_LEAVING_EPOCH};

/// What a member costs beside its texts: maps, timers, a few partitions.
const MEMBER_OVERHEAD_BYTES: usize = 512;
/// What a subscribed name costs beside its text.
const NAME_OVERHEAD_BYTES: usize = 32;

/// Where a member stands on the way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has all of the target that its epoch names.
    Stable,
    /// It was told to give up partitions and has not said that it did.
    UnrevokedPartitions,
    /// Others have partitions of its target and have not given them up.
    UnreleasedPartitions,
}

/// What a member says about itself; stays until it says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) instance: Option<Arc<str>>,
    pub(super) rack: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout: Duration,
    /// Shared: most heartbeats leave it as it is.
    pub(super) names: Arc<BTreeSet<Arc<str>>>,
    /// Never empty.
    pub(super) regex: Option<Arc<str>>,
    pub(super) assignor: Option<ConsumerAssignor>,
    /// What it says by the classic protocol, if it speaks that. Shared: most heartbeats leave it as it is.
    pub(super) classic: Option<Arc<Classic>>,
}

impl Said {
    pub(super) fn nothing() -> Self {
        let empty: Arc<str> = "".into();
        Self {
            instance: None,
            rack: None,
            client_id: Arc::clone(&empty),
            client_host: empty,
            rebalance_timeout: Duration::ZERO,
            names: Arc::default(),
            regex: None,
            assignor: None,
            classic: None,
        }
    }

    /// What it occupies.
    pub(super) fn bytes(&self) -> usize {
        let optional = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let names = self
            .names
            .iter()
            .map(|name| name.len() + NAME_OVERHEAD_BYTES);
        optional(&self.instance)
            + optional(&self.rack)
            + optional(&self.regex)
            + self.client_id.len()
            + self.client_host.len()
            + names.sum::<usize>()
            + self.classic.as_ref().map_or(0, |classic| classic.bytes())
    }
}

/// A member: what it says, what it is to have, and what it was told.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) said: Said,
    pub(super) epoch: i32,
    /// The last epoch that the member itself has shown. Where it is another than `epoch`, the member may not have heard
    /// the last answer.
    pub(super) shown_epoch: i32,
    pub(super) state: MemberState,
    /// What it was told that it may have.
    pub(super) assigned: Partitions,
    /// What it had been told and is to give up.
    pub(super) revoking: Partitions,
    /// What it is to have, by the assignment epoch of the group.
    pub(super) target: Partitions,
    pub(super) session_until: Monotonic,
    /// When it is out if it has not given up `revoking` by then.
    pub(super) revoke_until: Option<Monotonic>,
    /// When a member of the classic protocol is out if it has not joined, or synced, by then.
    pub(super) act_until: Option<Monotonic>,
}

impl Member {
    /// A member that says this and has nothing.
    pub(super) fn joining(said: Said, session_until: Monotonic) -> Self {
        Self {
            said,
            epoch: 0,
            shown_epoch: 0,
            state: MemberState::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            target: Partitions::new(),
            session_until,
            revoke_until: None,
            act_until: None,
        }
    }

    /// How long it may be silent: members of the classic protocol choose that themselves.
    pub(super) fn session_timeout(&self, settings: &ConsumerGroupSettings) -> Duration {
        let classic = self.said.classic.as_ref();
        classic.map_or(settings.session_timeout, |classic| classic.session_timeout)
    }

    /// Whether it has reached the target assignment of `assignment_epoch`.
    pub(super) fn is_reconciled(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    /// Whether it is a static member that left for a while.
    pub(super) const fn is_away(&self) -> bool {
        self.epoch == STATIC_LEAVING_EPOCH
    }

    /// What it occupies, partitions aside: those are bounded by what the topics have.
    pub(super) fn bytes(&self, id: &MemberId) -> usize {
        Self::overhead(id) + self.said.bytes()
    }

    /// What a member occupies that has said nothing.
    pub(super) fn overhead(id: &MemberId) -> usize {
        MEMBER_OVERHEAD_BYTES + id.as_str().len()
    }

    /// The first time at which silence has a consequence.
    pub(super) fn due(&self) -> Monotonic {
        let others = [self.revoke_until, self.act_until].into_iter().flatten();
        others.fold(self.session_until, Monotonic::min)
    }
}
