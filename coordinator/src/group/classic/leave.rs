//! LeaveGroup: members go, one answer each.

use super::super::error::{CoordinatorError, LeaveError};
use super::super::request::LeavingMember;
use super::{Context, Effects, Group, State};

impl Group {
    /// LeaveGroup for several members at once; one rebalance follows, not one per member. The results line up with
    /// `leaving`.
    pub fn leave(
        &mut self,
        leaving: &[LeavingMember],
        context: Context<'_>,
    ) -> (Result<Vec<Result<(), LeaveError>>, LeaveError>, Effects) {
        let mut effects = Effects::default();
        if self.state == State::Dead {
            return (Err(CoordinatorError::NotAvailable.into()), effects);
        }
        let members_before = self.members.len();
        let results: Vec<Result<(), LeaveError>> = leaving
            .iter()
            .map(|one| self.leave_one(one, &mut effects))
            .collect();
        if self.members.len() < members_before {
            self.after_removal(context, &mut effects);
        } else {
            // A pending member had nothing that the others must share; a rebalance may have waited for it.
            self.maybe_complete_join(context, &mut effects);
        }
        (Ok(results), effects)
    }

    fn leave_one(&mut self, one: &LeavingMember, effects: &mut Effects) -> Result<(), LeaveError> {
        if self.forget_pending(&one.member) {
            return Ok(());
        }
        let id = match &one.instance {
            // An administrator names the instance alone: whoever has it goes.
            Some(instance) if one.member.is_none() => self
                .holder_of(instance)
                .cloned()
                .ok_or(LeaveError::UnknownMemberId)?,
            Some(_) | None => {
                self.identify(&one.member, one.instance.as_ref())?;
                one.member.clone()
            }
        };
        self.remove_member(&id, effects);
        Ok(())
    }
}
