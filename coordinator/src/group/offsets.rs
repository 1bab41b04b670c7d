//! The rules of committed offsets: who may commit, and when an offset expires.
//!
//! Where we differ from Kafka: offsets of a group that has members never expire, even those of topics that nobody in it
//! subscribes to any more; the coordinator does not read subscriptions.

use std::time::Duration;

use streamhouse_protocol::ids::Timestamp;

use super::classic::{Context, Group, State};
use super::error::{CommitError, CoordinatorError};
use super::kind::AnyGroup;
use super::request::{CommitOffsets, CommittedOffset};
use streamhouse_runtime::planted;

impl Group {
    /// Whether this OffsetCommit is allowed; if it comes from a member, its session restarts.
    pub fn check_commit(
        &mut self,
        request: &CommitOffsets,
        context: Context<'_>,
    ) -> Result<(), CommitError> {
        if self.state() == State::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        // No generation: an administrator, or a consumer that assigns itself. Both may commit while nobody else is
        // responsible for the offsets.
        if request.generation < 0 && self.state() == State::Empty {
            return Ok(());
        }
        let names_member =
            request.generation >= 0 || !request.member.is_none() || request.instance.is_some();
        if !names_member {
            return Err(CommitError::UnknownMemberId);
        }
        self.identify(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation() && !planted::bug("old_generation_commits") {
            return Err(CommitError::IllegalGeneration);
        }
        match self.state() {
            State::Empty | State::Dead => Err(CommitError::UnknownMemberId),
            State::CompletingRebalance => Err(CommitError::RebalanceInProgress),
            // The members of the old generation save what they did before they rejoin.
            State::PreparingRebalance | State::Stable => {
                self.keep_alive(&request.member, context);
                Ok(())
            }
        }
    }
}

impl AnyGroup {
    /// Whether an offset of this group may go (KIP-211): nobody is in the group, and the retention has passed since
    /// the group became empty, or since the commit if that came later or there never were members. An offset that was
    /// committed with a lifetime of its own (OffsetCommit before version 5) goes when that is over.
    #[must_use]
    pub fn is_expired(
        &self,
        offset: &CommittedOffset,
        retention: Duration,
        wall: Timestamp,
    ) -> bool {
        if !self.is_vacant() {
            return false;
        }
        if let Some(expires_at) = offset.expires_at {
            return expires_at <= wall;
        }
        let since = match self.empty_since() {
            Some(empty) => empty.0.max(offset.committed_at.0),
            None => offset.committed_at.0,
        };
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        since.saturating_add(retention) <= wall.0
    }

    /// Since when nobody is in the group, if anybody ever was.
    fn empty_since(&self) -> Option<Timestamp> {
        match self {
            Self::Classic(group) => group.protocol_type().map(|_| group.empty_since()),
            Self::Consumer(group) => Some(group.empty_since()),
        }
    }
}
