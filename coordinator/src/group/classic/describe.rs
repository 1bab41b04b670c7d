//! A group as administrators see it.

use std::sync::Arc;

use bytes::Bytes;

use super::super::request::{DescribedGroup, DescribedMember, MemberId};
use super::member::Member;
use super::{Group, State};

impl Group {
    /// The group for DescribeGroups. As in Kafka, protocol, subscriptions and assignments are shown of a Stable group
    /// only: before that they are not agreed on.
    #[must_use]
    pub fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let empty: Arc<str> = "".into();
        let mut members: Vec<(&MemberId, &Member)> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| member.order);
        let line = |(id, member): (&MemberId, &Member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: if is_stable {
                member.metadata(self.protocol.as_ref())
            } else {
                Bytes::new()
            },
            assignment: if is_stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            },
        };
        let protocol = if is_stable {
            self.protocol.clone()
        } else {
            None
        };
        DescribedGroup {
            state: self.state,
            protocol_type: self
                .protocol_type
                .clone()
                .unwrap_or_else(|| Arc::clone(&empty)),
            protocol: protocol.unwrap_or(empty),
            members: members.into_iter().map(line).collect(),
        }
    }
}
