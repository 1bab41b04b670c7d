//! A group changes its protocol while members are in it.
//!
//! A classic group of consumers goes over when the first member of the consumer protocol joins: everybody keeps what it has,
//! and the generation becomes the group epoch. It goes back when the last of them is gone and the others speak the classic
//! protocol: those have to join again. Both ways can be closed (`group.consumer.migration.policy`).
//!
//! Where we differ from Kafka: a classic group goes over when it is Stable; until then who wants to join is told to try again.
//! In a rebalance members may hold what no assignment says.

use std::sync::Arc;

use super::super::classic::{self, Group};
use super::classic::Classic;
use super::embedded::{read_assignment, read_subscription};
use super::member::{Member, Said};
use super::{ConsumerGroup, Context};

impl ConsumerGroup {
    /// The classic group as one of the consumer protocol; `None` if what its members say cannot be read.
    pub(in crate::group) fn upgraded(group: &Group, context: Context<'_>) -> Option<Self> {
        let mut upgraded = Self::succeeding(group.generation(), context.now);
        for migrant in group.migrants() {
            let subscription = read_subscription(&migrant.metadata, context.topics)?;
            let assigned = read_assignment(&migrant.assignment, context.topics)?;
            let mut partitions = assigned.iter();
            if partitions.any(|partition| upgraded.owners.contains_key(partition)) {
                return None;
            }
            let session_until = context.now.monotonic + migrant.session_timeout;
            let said = Said {
                instance: migrant.instance,
                client_id: migrant.client_id,
                client_host: migrant.client_host,
                rebalance_timeout: migrant.rebalance_timeout,
                names: Arc::new(subscription.names),
                classic: Some(Arc::new(Classic {
                    session_timeout: migrant.session_timeout,
                    protocols: migrant.protocols,
                })),
                ..Said::nothing()
            };
            let member = Member {
                epoch: group.generation(),
                shown_epoch: group.generation(),
                target: assigned.clone(),
                assigned,
                ..Member::joining(said, session_until)
            };
            upgraded.put_in(&migrant.id, member);
            upgraded.wake_by(session_until);
        }
        Some(upgraded)
    }

    /// The group as a classic one, once nobody in it speaks the consumer protocol; `None` as long as it stays what it is.
    pub(in crate::group) fn downgraded(
        &self,
        context: classic::Context<'_>,
        effects: &mut classic::Effects,
    ) -> Option<Group> {
        let settings = context.settings;
        let goes_back = settings.consumer.migration.downgrades()
            && self.has_classic_members_only()
            && self.members.len() <= settings.group_size_max
            && !self.is_dead;
        if !goes_back {
            return None;
        }
        let migrants = self.members.iter().filter_map(|(id, member)| {
            let classic = member.said.classic.as_ref()?;
            Some(classic::Migrant {
                id: id.clone(),
                instance: member.said.instance.clone(),
                client_id: Arc::clone(&member.said.client_id),
                client_host: Arc::clone(&member.said.client_host),
                session_timeout: classic.session_timeout,
                rebalance_timeout: member.said.rebalance_timeout,
                protocols: classic.protocols.clone(),
                metadata: bytes::Bytes::new(),
                assignment: bytes::Bytes::new(),
            })
        });
        Group::of_migrants(self.epoch, migrants.collect(), context, effects)
    }
}
