//! Who may commit and fetch offsets of a consumer group.

use super::super::error::{CommitError, CoordinatorError, FetchError};
use super::super::request::{CommitOffsets, MemberId};
use super::ConsumerGroup;

impl ConsumerGroup {
    /// Whether this OffsetCommit is allowed. A member commits with its epoch (version 9); without members an
    /// administrator may.
    pub fn check_commit(&self, request: &CommitOffsets) -> Result<(), CommitError> {
        if self.is_dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        if request.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self
            .members
            .get(&request.member)
            .ok_or(CommitError::UnknownMemberId)?;
        if member.said.classic.is_some() {
            return if member.epoch == request.generation {
                Ok(())
            } else {
                Err(CommitError::IllegalGeneration)
            };
        }
        if !request.knows_member_epochs {
            return Err(CommitError::MemberEpochRequired);
        }
        if member.epoch != request.generation {
            return Err(CommitError::StaleMemberEpoch);
        }
        Ok(())
    }

    /// Whether this OffsetFetch is allowed: it names no member, or one by its epoch.
    pub fn check_fetch(&self, member: Option<&MemberId>, epoch: i32) -> Result<(), FetchError> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        match member.and_then(|id| self.members.get(id)) {
            None => Err(FetchError::UnknownMemberId),
            Some(member) if member.epoch != epoch => Err(FetchError::StaleMemberEpoch),
            Some(_) => Ok(()),
        }
    }
}
