//! Where a partition is led now, told beside the error that it is not led here (KIP-951): the client goes there at once
//! instead of asking for Metadata first.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamhouse_metadata::ShardId;
use streamhouse_protocol::ids::BrokerId;

use crate::api::RequestContext;
use crate::error_code::log::{FENCED_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER};
use crate::partitions::Partitions;
use crate::reach::{Cluster, Reachable, ShardLeader, ShardLeaders, VisibleLeaders};

/// Collects the leaders that one answer tells of. The newest that is known is looked up when the first is needed.
#[derive(Debug)]
pub(super) struct LeaderHints {
    cluster: Cluster,
    leaders: Arc<ShardLeaders>,
    listener: Arc<str>,
    visible: Option<VisibleLeaders>,
    told: BTreeMap<BrokerId, Reachable>,
}

impl LeaderHints {
    /// Hints for the asker of `cx`; none for an API version before `since`.
    pub(super) fn since(since: i16, partitions: &Partitions, cx: &RequestContext) -> Option<Self> {
        (cx.api_version >= since).then(|| Self {
            cluster: partitions.cluster.clone(),
            leaders: Arc::clone(&partitions.leaders),
            listener: Arc::clone(&cx.peer.listener),
            visible: None,
            told: BTreeMap::new(),
        })
    }

    /// The leader of a partition of `shard` that is answered with `code`, if it is known and the code is one that a
    /// client leaves for it.
    pub(super) fn of(&mut self, code: i16, shard: ShardId) -> Option<ShardLeader> {
        let is_elsewhere = code == NOT_LEADER_OR_FOLLOWER;
        if !is_elsewhere && code != FENCED_LEADER_EPOCH.code() {
            return None;
        }
        let visible = self.visible.get_or_insert_with(|| {
            VisibleLeaders::new(&self.cluster, &self.leaders, &self.listener)
        });
        let leader = visible.of(shard)?;
        // Who says in the same breath that it does not lead is about to hear of another leader.
        if is_elsewhere && leader.broker == self.cluster.broker {
            return None;
        }
        let reachable = visible.broker(leader.broker)?.clone();
        self.told.insert(leader.broker, reachable);
        Some(leader)
    }

    /// The brokers that were told of, each once.
    pub(super) fn brokers(self) -> impl Iterator<Item = Reachable> {
        self.told.into_values()
    }
}
