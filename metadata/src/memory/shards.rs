//! The shards shelf in memory.

use async_trait::async_trait;
use streamhouse_protocol::ids::LeaderEpoch;

use super::{Facts, MemoryStore, Shard};
use crate::store::laws::{dies_by_grant, next_epoch, refuses_grant};
use crate::store::{
    AskedShard, DELETED_SWEEP_MAX, GrantOutcome, GrantRequest, GrantRow, Incarnation, ObjectId,
    ObjectState, ShardId, ShardRow, ShardShelf, StoreError,
};

impl Shard {
    fn grant(&mut self, request: &GrantRequest, epoch: LeaderEpoch, timeline: u32) -> ShardRow {
        if self.row.wal_dir.is_none() || request.wal_dir.is_none() {
            self.row.wal_since_epoch = epoch;
        }
        self.row.epoch = epoch;
        self.row.incarnation = Some(request.incarnation);
        self.row.timeline = timeline;
        self.row.wal_dir = request.wal_dir;
        self.coordination.epoch = epoch;
        self.coordination.incarnation = Some(request.incarnation);
        self.grants.push(GrantRow {
            shard: self.row.shard,
            epoch,
            incarnation: request.incarnation,
            at_lsn: self.row.next_lsn,
            at_seq: self.coordination.seq,
            timeline,
        });
        self.row
    }
}

impl Facts {
    /// Whether a late commit of the object's writer could still pass a fence.
    pub(super) fn names_writer(&self, id: ObjectId) -> bool {
        self.shards
            .values()
            .any(|shard| shard.row.incarnation == Some(id.writer()))
    }

    fn grant(
        &mut self,
        request: &GrantRequest,
        asked: &AskedShard,
        now: i64,
    ) -> Result<GrantOutcome, StoreError> {
        let timeline = self.timeline;
        let Some(shard) = self.shards.get_mut(&asked.shard) else {
            return Ok(GrantOutcome::UnknownShard);
        };
        let holder = shard.row.incarnation;
        let life = holder.and_then(|holder| self.brokers.get(&holder));
        let held = life.and_then(|life| life.held_until(now));
        if let Some(refusal) = refuses_grant(&shard.row, request, asked, held) {
            return Ok(refusal);
        }
        let epoch = next_epoch(&shard.row)?;
        let dying = dies_by_grant(&shard.row, request);
        let row = shard.grant(request, epoch, timeline);
        if let Some(life) = dying.and_then(|dying| self.brokers.get_mut(&dying)) {
            life.died_ms.get_or_insert(now);
        }
        Ok(GrantOutcome::Granted(row))
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
        let now = self.ambient.clock.wall_ms();
        let is_dead = |life: &&Incarnation| {
            let life = facts.brokers.get(*life);
            life.is_some_and(|life| life.died_ms.is_some())
        };
        if let Some(dead) = [request.by, request.incarnation].iter().find(is_dead) {
            let refusal = GrantOutcome::Dead { incarnation: *dead };
            return Ok(vec![refusal; request.shards.len()]);
        }
        for shard in request
            .shards
            .iter()
            .filter_map(|asked| facts.shards.get(&asked.shard))
        {
            next_epoch(&shard.row)?;
        }
        let mut outcomes = Vec::with_capacity(request.shards.len());
        for asked in &request.shards {
            outcomes.push(facts.grant(&request, asked, now)?);
        }
        facts.sweep_deleted();
        self.wake();
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
