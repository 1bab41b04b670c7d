//! Members of a classic group on their way into a group of the consumer protocol (KIP-848), and back.
//!
//! Only a Stable group of consumers goes over: then everybody's assignment is known. It comes back as one that waits for its
//! members to join.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::request::{MemberId, Protocol};
use super::member::Member;
use super::subscriptions::CONSUMER;
use super::{Context, Effects, Group, State};

/// A member that changes between the two kinds of groups.
#[derive(Clone, Debug)]
pub(in crate::group) struct Migrant {
    pub(in crate::group) id: MemberId,
    pub(in crate::group) instance: Option<Arc<str>>,
    pub(in crate::group) client_id: Arc<str>,
    pub(in crate::group) client_host: Arc<str>,
    pub(in crate::group) session_timeout: Duration,
    pub(in crate::group) rebalance_timeout: Duration,
    pub(in crate::group) protocols: Vec<Protocol>,
    /// What it says in the protocol of the generation.
    pub(in crate::group) metadata: Bytes,
    /// What it was given.
    pub(in crate::group) assignment: Bytes,
}

impl Group {
    /// Whether the members are consumers that all have their assignments.
    pub(in crate::group) fn is_stable_group_of_consumers(&self) -> bool {
        self.state == State::Stable && self.is_group_of_consumers()
    }

    /// Whether the members are consumers.
    pub(in crate::group) fn is_group_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The members with what they said and got.
    pub(in crate::group) fn migrants(&self) -> Vec<Migrant> {
        let migrant = |(id, member): (&MemberId, &Member)| Migrant {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
            metadata: member.metadata(self.protocol.as_ref()),
            assignment: member.assignment.clone(),
        };
        self.members.iter().map(migrant).collect()
    }

    /// The group of these members, who have to join it again; `None` if there is no protocol that all of them understand.
    /// Its next generation follows `generation`.
    pub(in crate::group) fn of_migrants(
        generation: i32,
        migrants: Vec<Migrant>,
        context: Context<'_>,
        effects: &mut Effects,
    ) -> Option<Self> {
        let mut group = Self::succeeding(generation, context.now);
        group.protocol_type = Some(CONSUMER.into());
        group.leader = migrants.first().map(|first| first.id.clone());
        for migrant in migrants {
            let session_until = context.now.monotonic + migrant.session_timeout;
            let member = Member {
                instance: migrant.instance,
                client_id: migrant.client_id,
                client_host: migrant.client_host,
                session_timeout: migrant.session_timeout,
                rebalance_timeout: migrant.rebalance_timeout,
                protocols: migrant.protocols,
                assignment: Bytes::new(),
                order: group.next_order,
                is_new: false,
                has_synced: true,
                join: None,
                sync: None,
                session_until,
            };
            group.next_order += 1;
            group.enroll(migrant.id, member);
            group.wake_by(session_until);
        }
        group.protocol = Some(group.choose_protocol()?);
        group.state = State::Stable;
        group.prepare_rebalance(context, effects);
        effects.store = true;
        Some(group)
    }
}
