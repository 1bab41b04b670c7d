//! The shards shelf in memory.

use async_trait::async_trait;
use streamhouse_protocol::ids::LeaderEpoch;

use super::{Facts, MemoryStore, Shard};
use crate::store::laws::next_epoch;
use crate::store::{
    DELETED_SWEEP_MAX, GrantOutcome, GrantRequest, GrantRow, ObjectId, ObjectState, ShardId,
    ShardRow, ShardShelf, StoreError,
};

impl Shard {
    fn grant(&mut self, request: &GrantRequest, epoch: LeaderEpoch) -> GrantOutcome {
        if let Some(wal_dir) = self.row.wal_dir
            && request.wal_dir != Some(wal_dir)
        {
            return GrantOutcome::WalElsewhere { wal_dir };
        }
        if self.row.wal_dir.is_none() || request.wal_dir.is_none() {
            self.row.wal_since_epoch = epoch;
        }
        self.row.epoch = epoch;
        self.row.incarnation = Some(request.incarnation);
        self.row.wal_dir = request.wal_dir;
        self.coordination.epoch = epoch;
        self.coordination.incarnation = Some(request.incarnation);
        self.grants.push(GrantRow {
            shard: self.row.shard,
            epoch,
            incarnation: request.incarnation,
            at_lsn: self.row.next_lsn,
            at_seq: self.coordination.seq,
            timeline: request.timeline,
        });
        GrantOutcome::Granted(self.row)
    }
}

impl Facts {
    /// Whether a late commit of the object's writer could still pass a fence.
    pub(super) fn names_writer(&self, id: ObjectId) -> bool {
        self.shards
            .values()
            .any(|shard| shard.row.incarnation == Some(id.writer()))
    }

    fn sweep_deleted(&mut self) {
        let deleted = self
            .objects
            .values()
            .filter(|row| row.state == ObjectState::Deleted);
        let unnamed = deleted
            .map(|row| row.id)
            .filter(|id| !self.names_writer(*id));
        let gone: Vec<ObjectId> = unnamed.take(DELETED_SWEEP_MAX).collect();
        for id in gone {
            self.objects.remove(&id);
        }
    }
}

#[async_trait]
impl ShardShelf for MemoryStore {
    async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        Ok(self
            .facts("read the shards")?
            .shards
            .values()
            .map(|shard| shard.row)
            .collect())
    }

    async fn read_shard(&self, shard: ShardId) -> Result<Option<ShardRow>, StoreError> {
        Ok(self
            .facts("read a shard")?
            .shards
            .get(&shard)
            .map(|shard| shard.row))
    }

    async fn grant(&self, request: GrantRequest) -> Result<Vec<GrantOutcome>, StoreError> {
        let mut facts = self.facts("grant shards")?;
        for shard in request
            .shards
            .iter()
            .filter_map(|shard| facts.shards.get(shard))
        {
            next_epoch(&shard.row)?;
        }
        let mut outcomes = Vec::with_capacity(request.shards.len());
        for number in &request.shards {
            let Some(shard) = facts.shards.get_mut(number) else {
                outcomes.push(GrantOutcome::UnknownShard);
                continue;
            };
            let epoch = next_epoch(&shard.row)?;
            outcomes.push(shard.grant(&request, epoch));
        }
        facts.sweep_deleted();
        Ok(outcomes)
    }

    async fn grants(&self, shard: ShardId) -> Result<Vec<GrantRow>, StoreError> {
        let facts = self.facts("read grants")?;
        Ok(facts
            .shards
            .get(&shard)
            .map_or_else(Vec::new, |shard| shard.grants.clone()))
    }
}
