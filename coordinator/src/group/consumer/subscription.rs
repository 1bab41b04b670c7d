//! What the members subscribe to, and whether that has changed.
//!
//! A group remembers the names, ids and partition counts of its subscribed topics as one hash. A heartbeat that finds
//! another revision of the topics compares it; a difference moves the group epoch, and so a new partition, a topic that
//! appeared or one that was deleted reaches the members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use streamhouse_metadata::Catalogue;
use streamhouse_protocol::ids::TopicId;
use streamhouse_protocol::names::TopicName;
use xxhash_rust::xxh3::Xxh3;

use super::super::request::MemberId;
use super::{ConsumerGroup, ConsumerHeartbeat, Context, Resolution};

/// The subscribed topics that exist, by name: their ids and how many partitions they have.
pub(super) type Subscribed = BTreeMap<TopicName, (TopicId, i32)>;

impl ConsumerGroup {
    /// The regex that must be resolved before this heartbeat can be answered: the one that it names, or the member's, unless
    /// the topics have been looked through for it since they changed last.
    #[must_use]
    pub fn unresolved_regex(
        &self,
        beat: &ConsumerHeartbeat,
        context: Context<'_>,
    ) -> Option<Arc<str>> {
        let member = self.members.get(&beat.member);
        let stored = member.and_then(|member| member.said.regex.as_ref());
        let regex = beat
            .regex
            .as_ref()
            .or(stored)
            .filter(|regex| !regex.is_empty())?;
        let refresh = context.settings.consumer.regex_refresh_interval;
        let is_fresh = self.resolutions.get(regex).is_some_and(|known| {
            known.revision >= context.topics.revision().number
                && context.now.monotonic - known.at < refresh
        });
        (!is_fresh).then(|| Arc::clone(regex))
    }

    /// Takes over what a regex means now; says whether that is something else than before.
    pub(super) fn take_resolution(
        &mut self,
        regex: &Arc<str>,
        resolution: Option<Resolution>,
    ) -> bool {
        let Some(resolution) = resolution else {
            return false;
        };
        let known = self.resolutions.get(regex);
        if known.is_some_and(|known| known.revision > resolution.revision) {
            // It was looked through while another heartbeat brought a newer one.
            return false;
        }
        let is_other = known.is_none_or(|known| known.topics != resolution.topics);
        self.bytes += resolution.bytes();
        if let Some(before) = self.resolutions.insert(Arc::clone(regex), resolution) {
            self.bytes -= before.bytes();
        }
        is_other
    }

    /// Forgets what regexes mean that nobody subscribes to any more.
    pub(super) fn drop_unused_regex(&mut self, regex: Option<&Arc<str>>) {
        let Some(regex) = regex else {
            return;
        };
        let mut members = self.members.values();
        let is_used = members.any(|member| member.said.regex.as_ref() == Some(regex));
        if !is_used && let Some(before) = self.resolutions.remove(regex) {
            self.bytes -= before.bytes();
        }
    }

    /// The names that a member subscribes to, by name or by regex.
    pub(super) fn names_of<'a>(&'a self, id: &MemberId) -> BTreeSet<&'a str> {
        let Some(member) = self.members.get(id) else {
            return BTreeSet::new();
        };
        let regex = member.said.regex.as_ref();
        let matched = regex.and_then(|regex| self.resolutions.get(regex));
        let matched = matched.into_iter().flat_map(|known| &known.topics);
        let names = member.said.names.iter().map(|name| &**name);
        names.chain(matched.map(TopicName::as_str)).collect()
    }

    /// The topics that anybody subscribes to and that exist.
    pub(super) fn subscribed(&self, topics: &Catalogue) -> Subscribed {
        let members = self.members.values();
        let names: BTreeSet<&str> = members
            .flat_map(|member| member.said.names.iter().map(|name| &**name))
            .collect();
        let matched = self.resolutions.values().flat_map(|known| &known.topics);
        // What is no legal name is no topic's.
        let named = names
            .into_iter()
            .filter_map(|name| TopicName::new(name).ok());
        named
            .chain(matched.cloned())
            .filter_map(|name| {
                let topic = topics.by_name(&name)?;
                let count = i32::try_from(topic.partitions.len()).ok()?;
                Some((name, (topic.id, count)))
            })
            .collect()
    }

    /// Moves the group epoch if `is_changed`, or if the subscribed topics are not what they were.
    pub(super) fn follow_subscriptions(&mut self, is_changed: bool, context: Context<'_>) -> bool {
        let revision = context.topics.revision().number;
        if !is_changed && self.topics_seen == Some(revision) {
            return false;
        }
        self.topics_seen = Some(revision);
        let hash = hash(&self.subscribed(context.topics));
        // An epoch that waits for its target takes this in, too.
        let is_waiting = self.epoch > self.assignment_epoch;
        let has_moved = is_changed || hash != self.topics_hash && !is_waiting;
        self.topics_hash = hash;
        if has_moved {
            self.move_epoch();
        }
        has_moved
    }

    pub(super) fn move_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }
}

fn hash(subscribed: &Subscribed) -> u64 {
    let mut hash = Xxh3::new();
    for (name, (id, partitions)) in subscribed {
        hash.update(name.as_str().as_bytes());
        // A byte that no name has.
        hash.update(&[0]);
        hash.update(&id.as_u128().to_be_bytes());
        hash.update(&partitions.to_be_bytes());
    }
    hash.digest()
}
