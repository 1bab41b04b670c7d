//! Heartbeat: a member lives, and hears whether it must rejoin.

use super::super::error::{CoordinatorError, HeartbeatError};
use super::super::request::Heartbeat;
use super::{Context, Group, State};

impl Group {
    /// Heartbeat. In a rebalance the session is kept alive all the same: the member has yet to hear of it.
    pub fn heartbeat(
        &mut self,
        request: &Heartbeat,
        context: Context<'_>,
    ) -> Result<(), HeartbeatError> {
        if request.group.as_str().is_empty() {
            return Err(HeartbeatError::InvalidGroupId);
        }
        if self.state == State::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        self.identify(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(HeartbeatError::IllegalGeneration);
        }
        self.touch(&request.member, context);
        match self.state {
            State::Empty | State::Dead => Err(HeartbeatError::UnknownMemberId),
            State::PreparingRebalance => Err(HeartbeatError::RebalanceInProgress),
            // Kafka's consumers start their heartbeats once they have joined, before they have synced.
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
