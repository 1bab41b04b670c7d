//! The manifests shelf in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use streamhouse_runtime::planted;

use super::{Facts, MemoryStore};
use crate::store::laws::{accepts, by_shard, check_checkpoint};
use crate::store::{
    CheckpointError, Commit, CommitError, CommitName, CommitOutcome, Lsn, ManifestCommit,
    ManifestRow, ManifestShelf, ObjectId, ObjectRow, ObjectState, Resolved, SetCheckpoint, ShardId,
    StoreError,
};

impl Facts {
    fn release(&mut self, shard: ShardId, id: ObjectId) {
        if let Some(ObjectRow {
            state: ObjectState::Live { shards },
            ..
        }) = self.objects.get_mut(&id)
        {
            shards.retain(|needing| *needing != shard);
        }
    }

    fn record(&mut self, manifest: &ManifestCommit) {
        if let Some(shard) = self.shards.get_mut(&manifest.shard) {
            shard.row.next_lsn = Lsn(manifest.lsn.0 + 1);
            shard.row.wal_end = manifest.wal_end.or(shard.row.wal_end);
            if manifest.clears_wal_dir {
                shard.row.wal_dir = None;
            }
            let row = ManifestRow {
                lsn: manifest.lsn,
                epoch: manifest.epoch,
                incarnation: manifest.incarnation,
                body: manifest.body.clone(),
            };
            shard.manifests.insert(manifest.lsn, row);
        }
        for id in &manifest.released {
            self.release(manifest.shard, *id);
        }
    }

    fn winners(&self, commit: &Commit) -> Result<BTreeSet<ShardId>, StoreError> {
        let mut winners = BTreeSet::new();
        for (number, manifests) in by_shard(commit)? {
            let shard = self.shards.get(&number);
            if shard.is_some_and(|shard| {
                manifests
                    .first()
                    .is_some_and(|first| accepts(&shard.row, first))
            }) {
                winners.insert(number);
            }
        }
        Ok(winners)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        let winners = self.winners(commit)?;
        if let Some(object) = commit.object.as_ref().filter(|_| !winners.is_empty()) {
            if self.objects.contains_key(&object.id) {
                return Err(CommitError::ObjectExists { id: object.id });
            }
            let row = ObjectRow {
                id: object.id,
                key: Some(object.key.clone()),
                bytes: object.bytes,
                state: ObjectState::Live {
                    shards: winners.iter().copied().collect(),
                },
            };
            self.objects.insert(object.id, row);
        }
        let mut outcomes = Vec::with_capacity(commit.manifests.len());
        for manifest in &commit.manifests {
            if winners.contains(&manifest.shard) {
                self.record(manifest);
                outcomes.push(CommitOutcome::Committed);
            } else {
                outcomes.push(CommitOutcome::Refused);
            }
        }
        Ok(outcomes)
    }

    fn set_checkpoint(&mut self, request: &SetCheckpoint) -> Result<(), CheckpointError> {
        let fenced = CheckpointError::Fenced {
            shard: request.shard,
        };
        let Some(row) = self.shards.get(&request.shard).map(|shard| shard.row) else {
            return Err(fenced);
        };
        let is_granted = row.epoch == request.epoch && row.incarnation == Some(request.incarnation);
        if !is_granted && !planted::bug("checkpoint_without_fence") {
            return Err(fenced);
        }
        check_checkpoint(&row, request)?;
        let id = request.checkpoint.object;
        if row.checkpoint != Some(request.checkpoint) {
            if self.objects.contains_key(&id) {
                return Err(CheckpointError::ObjectExists { id });
            }
            let object = ObjectRow {
                id,
                key: Some(request.key.clone()),
                bytes: request.checkpoint.bytes,
                state: ObjectState::Live {
                    shards: vec![request.shard],
                },
            };
            self.objects.insert(id, object);
            if let Some(before) = row.checkpoint {
                self.release(request.shard, before.object);
            }
        }
        if let Some(shard) = self.shards.get_mut(&request.shard) {
            shard.row.checkpoint = Some(request.checkpoint);
            shard.row.first_lsn = row.first_lsn.max(request.prune_below);
            shard.manifests.retain(|lsn, _| *lsn >= request.prune_below);
            shard
                .grants
                .retain(|grant| grant.at_lsn >= request.prune_below || grant.epoch == row.epoch);
        }
        Ok(())
    }
}

#[async_trait]
impl ManifestShelf for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Vec<CommitOutcome>, CommitError> {
        self.facts("commit manifests")?.commit(&commit)
    }

    async fn manifests(
        &self,
        shard: ShardId,
        from: Lsn,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        let facts = self.facts("read manifests")?;
        let Some(shard) = facts.shards.get(&shard) else {
            return Ok(Vec::new());
        };
        Ok(shard
            .manifests
            .range(from..)
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect())
    }

    async fn resolve(&self, names: Vec<CommitName>) -> Result<Vec<Resolved>, StoreError> {
        let facts = self.facts("resolve commits")?;
        let resolve = |name: &CommitName| {
            let shard = facts.shards.get(&name.shard);
            let manifest = shard.and_then(|shard| shard.manifests.get(&name.lsn));
            Resolved {
                row: shard.map(|shard| shard.row),
                committed_by: manifest.map(|manifest| (manifest.epoch, manifest.incarnation)),
            }
        };
        Ok(names.iter().map(resolve).collect())
    }

    async fn set_checkpoint(&self, request: SetCheckpoint) -> Result<(), CheckpointError> {
        self.facts("set a checkpoint")?.set_checkpoint(&request)
    }
}
