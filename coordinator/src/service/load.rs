//! Taking over a shard's groups, and letting go of them.

use streamhouse_metadata::{OffsetRow, ShardGroups, ShardId, StoreError};
use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_protocol::names::GroupId;

use super::shard::{Shard, Slot};
use super::{Grant, Groups, Inner, Place};
use crate::group::classic::{Effects, StoredGroupError};
use crate::group::{AnyGroup, CommittedOffset};

/// Why the groups of a shard could not be loaded. The shard is not served; load it again, or let another broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The metadata store cannot be read now: load again later.
    #[error("cannot load the groups of shard {shard}")]
    Store {
        /// The shard.
        shard: ShardId,
        /// What the store said.
        source: StoreError,
    },
    /// What is stored for a group cannot be read: a person must look. Serving the others without it would lose its
    /// generation.
    #[error("cannot load group {group:?} of shard {shard}")]
    Unreadable {
        /// The shard.
        shard: ShardId,
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        source: StoredGroupError,
    },
    /// Another load or an unload of the shard came in between.
    #[error("shard {shard} was given up or granted again while its groups were loading")]
    Superseded {
        /// The shard.
        shard: ShardId,
    },
}

impl Groups {
    /// Takes over a shard whose grant was made; until it returns, the shard's groups answer that they are loading.
    /// Members get fresh sessions, so a move costs nobody its membership.
    pub async fn load(&self, grant: Grant) -> Result<(), LoadError> {
        let inner = &self.inner;
        let shard = grant.shard;
        inner
            .served
            .lock()
            .shards
            .insert(shard, Place::Loading(grant));
        let loaded = match inner.shelves.groups.load_groups(shard).await {
            Ok(rows) => inner.restore(grant, rows),
            Err(source) => Err(LoadError::Store { shard, source }),
        };
        let mut served = inner.served.lock();
        let is_ours = match served.shards.get(&shard) {
            Some(Place::Loading(current)) => *current == grant,
            Some(Place::Loaded(_)) | None => false,
        };
        if !is_ours {
            return Err(LoadError::Superseded { shard });
        }
        match loaded {
            Ok(loaded) => {
                served.strays.retain(|_, stored| *stored != shard);
                for group in loaded
                    .groups
                    .keys()
                    .filter(|group| inner.home_of(group) != shard)
                {
                    served.strays.insert(group.clone(), shard);
                }
                served.shards.insert(shard, Place::Loaded(Box::new(loaded)));
                inner.earlier.notify_one();
                Ok(())
            }
            Err(error) => {
                served.shards.remove(&shard);
                Err(error)
            }
        }
    }

    /// Lets go of a shard. Whoever waits for one of its groups hears that this broker does not coordinate it.
    pub fn unload(&self, shard: ShardId) {
        self.inner.unload(shard, None);
    }
}

impl Inner {
    /// Lets go of a shard; if a grant is named, only while it is held under that grant.
    pub(super) fn unload(&self, shard: ShardId, held: Option<Grant>) {
        let mut served = self.served.lock();
        let matches = |place: &Place| held.is_none_or(|grant| place.grant() == grant);
        if served.shards.get(&shard).is_some_and(matches) {
            served.shards.remove(&shard);
            served.strays.retain(|_, stored| *stored != shard);
            self.settled.notify_waiters();
        }
    }

    fn restore(&self, grant: Grant, rows: ShardGroups) -> Result<Shard, LoadError> {
        let mut shard = Shard::new(grant, rows.seq);
        for row in rows.groups {
            let group = AnyGroup::decode(&row.blob, self.context()).map_err(|source| {
                LoadError::Unreadable {
                    shard: grant.shard,
                    group: row.group.clone(),
                    source,
                }
            })?;
            shard.groups.insert(row.group, Slot::loaded(group));
        }
        for row in rows.offsets {
            // A simple consumer's group is its offsets and has no row of its own.
            let new = || Slot::new(AnyGroup::new(self.now()));
            let slot = shard.groups.entry(row.group.clone()).or_insert_with(new);
            let partition = TopicPartition::new(row.topic, row.partition);
            slot.put_offset(partition, Some(committed(row)));
        }
        let ids: Vec<GroupId> = shard.groups.keys().cloned().collect();
        for id in ids {
            shard.settle(&id, Effects::default());
        }
        Ok(shard)
    }
}

fn committed(row: OffsetRow) -> CommittedOffset {
    CommittedOffset {
        offset: row.offset,
        leader_epoch: row.leader_epoch,
        metadata: row.metadata.into(),
        committed_at: Timestamp(row.commit_ms),
        expires_at: row.expire_ms.map(Timestamp),
    }
}
