//! The groups shelf in memory.

use async_trait::async_trait;
use streamhouse_runtime::planted;

use super::{Facts, MemoryStore, Shard};
use crate::store::{
    Coordination, CoordinationOutcome, CoordinationWrite, GroupChange, GroupShelf, ShardGroups,
    ShardId, StoreError,
};

impl Shard {
    fn change(&mut self, change: GroupChange) {
        match change {
            GroupChange::PutGroup(row) => {
                self.groups.insert(row.group.clone(), row);
            }
            GroupChange::DeleteGroup(group) => {
                self.groups.remove(&group);
            }
            GroupChange::PutOffset(row) => {
                self.offsets.insert(row.key(), row);
            }
            GroupChange::DeleteOffset(key) => {
                self.offsets.remove(&key);
            }
        }
    }
}

impl Facts {
    fn write_group(&mut self, write: CoordinationWrite) -> CoordinationOutcome {
        let Some(shard) = self.shards.get_mut(&write.shard) else {
            return CoordinationOutcome::Refused;
        };
        let fence = &mut shard.coordination;
        let is_granted = fence.epoch == write.epoch && fence.incarnation == Some(write.incarnation)
            || planted::bug("groups_without_fence");
        if !is_granted || fence.seq != write.seq {
            return CoordinationOutcome::Refused;
        }
        fence.seq += 1;
        let seq = fence.seq;
        for change in write.changes {
            shard.change(change);
        }
        CoordinationOutcome::Committed { seq }
    }
}

#[async_trait]
impl GroupShelf for MemoryStore {
    async fn load_groups(&self, shard: ShardId) -> Result<ShardGroups, StoreError> {
        let facts = self.facts("load groups")?;
        let Some(shard) = facts.shards.get(&shard) else {
            return Ok(ShardGroups::default());
        };
        Ok(ShardGroups {
            seq: shard.coordination.seq,
            groups: shard.groups.values().cloned().collect(),
            offsets: shard.offsets.values().cloned().collect(),
        })
    }

    async fn coordination_seq(&self, shard: ShardId) -> Result<Option<u64>, StoreError> {
        Ok(self
            .facts("read a coordination row")?
            .shards
            .get(&shard)
            .map(|shard| shard.coordination.seq))
    }

    async fn coordination(
        &self,
        shards: &[ShardId],
    ) -> Result<Vec<Option<Coordination>>, StoreError> {
        let facts = self.facts("read coordination rows")?;
        Ok(shards
            .iter()
            .map(|shard| facts.shards.get(shard).map(|shard| shard.coordination))
            .collect())
    }

    async fn write_groups(
        &self,
        writes: Vec<CoordinationWrite>,
    ) -> Result<Vec<CoordinationOutcome>, StoreError> {
        let mut facts = self.facts("write groups")?;
        Ok(writes
            .into_iter()
            .map(|write| facts.write_group(write))
            .collect())
    }
}
