//! The way of one member to its target (KIP-848, "Reconciliation of the group").
//!
//! First it gives up what is not in the target: its epoch stays until it says that it did. Then it takes the epoch of the
//! target over, with everything that nobody else may be reading. The rest follows when the others have given it up.

use streamhouse_protocol::ids::TopicPartition;

use super::super::request::MemberId;
use super::member::MemberState;
use super::{ConsumerGroup, Context, Partitions};

/// How far a member came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether anything changed.
    pub(super) has_moved: bool,
    /// Whether it may have other partitions than before.
    pub(super) has_new_assignment: bool,
}

/// The next step of a member.
struct Step {
    state: MemberState,
    epoch: i32,
    assigned: Partitions,
    revoking: Partitions,
}

impl ConsumerGroup {
    /// Takes a member one step towards its target; `owned` is what it says that it has.
    pub(super) fn reconcile(
        &mut self,
        id: &MemberId,
        owned: Option<&Partitions>,
        context: Context<'_>,
    ) -> Progress {
        let Some(step) = self.next_step(id, owned) else {
            return Progress::default();
        };
        let Some(member) = self.members.get(id) else {
            return Progress::default();
        };
        let has_new_assignment = member.assigned != step.assigned;
        let is_same = member.state == step.state
            && member.epoch == step.epoch
            && !has_new_assignment
            && member.revoking == step.revoking;
        if is_same {
            return Progress::default();
        }
        let revoke_until = (step.state == MemberState::UnrevokedPartitions)
            .then(|| context.now.monotonic + member.said.rebalance_timeout);
        self.hand_over(id, step.assigned, step.revoking);
        if let Some(member) = self.members.get_mut(id) {
            member.state = step.state;
            member.epoch = step.epoch;
            member.revoke_until = revoke_until;
        }
        if let Some(until) = revoke_until {
            self.wake_by(until);
        }
        Progress {
            has_moved: true,
            has_new_assignment,
        }
    }

    fn next_step(&self, id: &MemberId, owned: Option<&Partitions>) -> Option<Step> {
        let member = self.members.get(id)?;
        // Without a word about them they are still in use.
        let keeps = |given_up: &Partitions| owned.is_none_or(|owned| !owned.is_disjoint(given_up));
        match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => return None,
            MemberState::UnrevokedPartitions if keeps(&member.revoking) => return None,
            MemberState::Stable
            | MemberState::UnrevokedPartitions
            | MemberState::UnreleasedPartitions => {}
        }
        let mut assigned: Partitions = member
            .assigned
            .intersection(&member.target)
            .copied()
            .collect();
        let revoking: Partitions = member.assigned.difference(&assigned).copied().collect();
        if !revoking.is_empty() && keeps(&revoking) {
            return Some(Step {
                state: MemberState::UnrevokedPartitions,
                epoch: member.epoch,
                assigned,
                revoking,
            });
        }
        let mut state = MemberState::Stable;
        for partition in &member.target {
            // What it is giving up itself is nobody else's.
            let is_free = self.owners.get(partition).is_none_or(|owner| owner == id);
            if is_free {
                assigned.insert(*partition);
            } else {
                state = MemberState::UnreleasedPartitions;
            }
        }
        Some(Step {
            state,
            epoch: self.assignment_epoch,
            assigned,
            revoking: Partitions::new(),
        })
    }

    /// From now on the member has `assigned` and is to give up `revoking`, and nothing else.
    pub(super) fn hand_over(&mut self, id: &MemberId, assigned: Partitions, revoking: Partitions) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let before = member.assigned.iter().chain(&member.revoking);
        let given_up: Vec<TopicPartition> = before
            .filter(|one| !assigned.contains(*one) && !revoking.contains(*one))
            .copied()
            .collect();
        for partition in given_up {
            self.owners.remove(&partition);
        }
        for partition in assigned.difference(&member.assigned).chain(&revoking) {
            self.owners.insert(*partition, id.clone());
        }
        member.assigned = assigned;
        member.revoking = revoking;
    }
}
