//! A consumer group as administrators see it.

use std::sync::Arc;

use streamhouse_protocol::names::TopicName;

use super::super::classic::Subscriptions;
use super::super::settings::GroupSettings;
use super::{ConsumerGroup, DescribedConsumer, DescribedConsumerGroup};

impl ConsumerGroup {
    /// The group for ConsumerGroupDescribe.
    #[must_use]
    pub fn describe(&self, settings: &GroupSettings) -> DescribedConsumerGroup {
        let members = self.members.iter().map(|(id, member)| DescribedConsumer {
            member: id.clone(),
            instance: member.said.instance.clone(),
            rack: member.said.rack.clone(),
            epoch: member.epoch,
            client_id: Arc::clone(&member.said.client_id),
            client_host: Arc::clone(&member.said.client_host),
            names: member.said.names.iter().cloned().collect(),
            regex: member.said.regex.clone(),
            assigned: member.assigned.clone(),
            target: member.target.clone(),
            is_classic: member.said.classic.is_some(),
        });
        DescribedConsumerGroup {
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(settings.consumer.default_assignor()),
            members: members.collect(),
        }
    }

    /// Which topics the members read.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        if self.members.is_empty() {
            return Subscriptions::Nobody;
        }
        let members = self.members.values();
        let names = members.flat_map(|member| member.said.names.iter().map(|name| &**name));
        let matched = self.resolutions.values().flat_map(|known| &known.topics);
        let all = names.chain(matched.map(TopicName::as_str));
        Subscriptions::Topics(all.map(Box::from).collect())
    }
}
