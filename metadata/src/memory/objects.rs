//! The objects shelf in memory.

use std::ops::Bound;

use async_trait::async_trait;

use super::{Facts, MemoryStore};
use crate::store::{
    ForgetOutcome, ObjectId, ObjectRow, ObjectShelf, ObjectState, StoreError, TombstoneOutcome,
};

impl Facts {
    fn tombstone(&mut self, id: ObjectId, at_ms: i64) -> TombstoneOutcome {
        let row = self.objects.entry(id).or_insert_with(|| ObjectRow {
            id,
            key: None,
            bytes: 0,
            state: ObjectState::Tombstone { at_ms },
        });
        match &row.state {
            ObjectState::Live { shards } if !shards.is_empty() => TombstoneOutcome::Needed,
            ObjectState::Live { .. } => {
                row.state = ObjectState::Tombstone { at_ms };
                TombstoneOutcome::Tombstoned
            }
            ObjectState::Tombstone { .. } | ObjectState::Deleted => TombstoneOutcome::Tombstoned,
        }
    }

    fn forget(&mut self, id: ObjectId) -> ForgetOutcome {
        let named = self.names_writer(id);
        let Some(row) = self.objects.get_mut(&id) else {
            return ForgetOutcome::Forgotten;
        };
        match row.state {
            ObjectState::Live { .. } => ForgetOutcome::NotTombstone,
            ObjectState::Tombstone { .. } | ObjectState::Deleted if named => {
                row.state = ObjectState::Deleted;
                ForgetOutcome::Kept
            }
            ObjectState::Tombstone { .. } | ObjectState::Deleted => {
                self.objects.remove(&id);
                ForgetOutcome::Forgotten
            }
        }
    }
}

#[async_trait]
impl ObjectShelf for MemoryStore {
    async fn unreferenced(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
        let facts = self.facts("list unneeded objects")?;
        let unneeded = facts
            .objects
            .values()
            .filter(|row| row.state == ObjectState::Live { shards: Vec::new() });
        Ok(unneeded.take(limit).map(|row| row.id).collect())
    }

    async fn tombstone(
        &self,
        ids: &[ObjectId],
        at_ms: i64,
    ) -> Result<Vec<TombstoneOutcome>, StoreError> {
        let mut facts = self.facts("tombstone objects")?;
        Ok(ids.iter().map(|id| facts.tombstone(*id, at_ms)).collect())
    }

    async fn tombstones_before(
        &self,
        before_ms: i64,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        let facts = self.facts("list tombstones")?;
        let mut due: Vec<(i64, &ObjectRow)> = Vec::new();
        for row in facts.objects.values() {
            if let ObjectState::Tombstone { at_ms } = row.state
                && at_ms < before_ms
            {
                due.push((at_ms, row));
            }
        }
        due.sort_by_key(|(at_ms, row)| (*at_ms, row.id));
        Ok(due
            .into_iter()
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect())
    }

    async fn is_tombstone(&self, id: ObjectId) -> Result<bool, StoreError> {
        let facts = self.facts("read a tombstone")?;
        Ok(facts.objects.get(&id).is_some_and(|row| match row.state {
            ObjectState::Live { .. } => false,
            ObjectState::Tombstone { .. } | ObjectState::Deleted => true,
        }))
    }

    async fn forget(&self, ids: &[ObjectId]) -> Result<Vec<ForgetOutcome>, StoreError> {
        let mut facts = self.facts("forget objects")?;
        Ok(ids.iter().map(|id| facts.forget(*id)).collect())
    }

    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        let facts = self.facts("list objects")?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(facts
            .objects
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect())
    }
}
