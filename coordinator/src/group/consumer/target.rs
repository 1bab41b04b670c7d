//! The target assignment: which member is to have what.

use std::collections::BTreeMap;

use streamhouse_config::ConsumerAssignor;
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::ids::TopicId;

use super::assignor::{self, Candidate, Plan};
use super::{ConsumerGroup, Context};

impl ConsumerGroup {
    /// Makes the target assignment of the group epoch, unless it is made; says whether it did.
    pub(super) fn retarget(&mut self, context: Context<'_>) -> bool {
        if self.assignment_epoch == self.epoch {
            return false;
        }
        let assignor = self.assignor(context.settings.consumer.default_assignor());
        let targets = {
            let plan = self.plan(context.topics);
            assignor::assign(assignor, &plan)
        };
        for (member, target) in self.members.values_mut().zip(targets) {
            member.target = target;
        }
        self.assignment_epoch = self.epoch;
        true
    }

    /// The assignor that most members ask for; of two that are asked for equally often, uniform.
    pub(super) fn assignor(&self, default: ConsumerAssignor) -> ConsumerAssignor {
        let asked = |assignor| {
            let members = self.members.values();
            members
                .filter(|member| member.said.assignor == Some(assignor))
                .count()
        };
        let uniform = asked(ConsumerAssignor::Uniform);
        let range = asked(ConsumerAssignor::Range);
        match (uniform, range) {
            (0, 0) => default,
            _ if range > uniform => ConsumerAssignor::Range,
            _ => ConsumerAssignor::Uniform,
        }
    }

    /// What an assignor is told.
    fn plan<'a>(&'a self, topics: &Catalogue) -> Plan<'a> {
        let subscribed = self.subscribed(topics);
        let mut index = BTreeMap::new();
        let mut sizes: Vec<(TopicId, i32)> = Vec::with_capacity(subscribed.len());
        for (name, topic) in &subscribed {
            index.insert(name.as_str(), sizes.len());
            sizes.push(*topic);
        }
        // Members of one application subscribe to the same: looked up once.
        let mut last: Option<(&super::member::Said, std::rc::Rc<[usize]>)> = None;
        let mut candidates = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let same = last.as_ref().filter(|(said, _)| {
                said.names == member.said.names && said.regex == member.said.regex
            });
            let wanted = match same {
                Some((_, wanted)) => std::rc::Rc::clone(wanted),
                None => {
                    let names = self.names_of(id);
                    let known = names.iter().filter_map(|name| index.get(name).copied());
                    known.collect()
                }
            };
            last = Some((&member.said, std::rc::Rc::clone(&wanted)));
            candidates.push(Candidate {
                id,
                instance: member.said.instance.as_deref(),
                topics: wanted,
                before: &member.target,
            });
        }
        Plan {
            topics: sizes,
            candidates,
        }
    }
}
