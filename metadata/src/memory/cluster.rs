//! The cluster shelf in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_runtime::Ambient;

use super::{Facts, MemoryStore, Shard, StampedTag};
use crate::store::laws::{not_initialised, producer_id_block};
use crate::store::{
    Cluster, ClusterShelf, Coordination, FEATURE_LEVEL, InitialiseError, Lsn, NewCluster,
    REVISION_AGE_MAX_MS, REVISIONS_KEPT_MIN, Revision, RevisionCheck, SHARDS_MAX, ShardId,
    ShardRow, StoreError,
};

impl Facts {
    pub(super) fn revision(&self) -> Revision {
        self.revisions
            .last_key_value()
            .map_or_else(Revision::default, |(number, row)| Revision {
                number: *number,
                tag: row.tag,
            })
    }

    /// Adds the revision of a write that was just made, and prunes old ones.
    pub(super) fn revise(&mut self, ambient: &Ambient) -> Revision {
        let now = ambient.clock.wall_ms();
        let revision = Revision {
            number: self.revision().number + 1,
            tag: ambient.chance.next_u64(),
        };
        self.revisions.insert(
            revision.number,
            StampedTag {
                tag: revision.tag,
                at_ms: now,
            },
        );
        let newest = revision.number;
        self.revisions.retain(|number, row| {
            newest - number < REVISIONS_KEPT_MIN
                || now.saturating_sub(row.at_ms) <= REVISION_AGE_MAX_MS
        });
        revision
    }
}

fn empty_shard(number: u32, cluster: &NewCluster) -> Shard {
    Shard {
        row: ShardRow {
            shard: ShardId(number),
            durability: cluster.durability,
            epoch: LeaderEpoch(0),
            incarnation: None,
            timeline: 0,
            next_lsn: Lsn(0),
            first_lsn: Lsn(0),
            wal_dir: None,
            wal_since_epoch: LeaderEpoch(0),
            wal_end: None,
            checkpoint: None,
        },
        coordination: Coordination {
            epoch: LeaderEpoch(0),
            incarnation: None,
            seq: 0,
        },
        grants: Vec::new(),
        manifests: BTreeMap::new(),
        groups: BTreeMap::new(),
        offsets: BTreeMap::new(),
    }
}

#[async_trait]
impl ClusterShelf for MemoryStore {
    async fn initialise(&self, new: NewCluster) -> Result<Cluster, InitialiseError> {
        let mut facts = self.facts("initialise the cluster")?;
        if let Some(cluster) = facts.cluster {
            return Ok(cluster);
        }
        if new.shards == 0 || new.shards > SHARDS_MAX {
            return Err(InitialiseError::ShardCount { shards: new.shards });
        }
        let cluster = Cluster {
            cluster_id: new.cluster_id,
            shards: new.shards,
            durability: new.durability,
            feature_level: FEATURE_LEVEL,
            created_ms: self.ambient.clock.wall_ms(),
        };
        facts.cluster = Some(cluster);
        facts.shards = (0..new.shards)
            .map(|number| (ShardId(number), empty_shard(number, &new)))
            .collect();
        Ok(cluster)
    }

    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        Ok(self.facts("read the cluster")?.cluster)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.facts("read the revision")?.revision())
    }

    async fn revisions_since(&self, after: u64, limit: usize) -> Result<Vec<Revision>, StoreError> {
        let facts = self.facts("read revisions")?;
        let behind = facts
            .revisions
            .iter()
            .filter(|(number, _)| **number > after);
        Ok(behind
            .take(limit)
            .map(|(number, row)| Revision {
                number: *number,
                tag: row.tag,
            })
            .collect())
    }

    async fn check_revision(&self, seen: Revision) -> Result<RevisionCheck, StoreError> {
        let facts = self.facts("check a revision")?;
        if seen.number == 0 {
            return Ok(RevisionCheck::Kept);
        }
        let oldest = facts.revisions.first_key_value().map(|(number, _)| *number);
        Ok(match facts.revisions.get(&seen.number) {
            Some(row) if row.tag == seen.tag => RevisionCheck::Kept,
            Some(_) => RevisionCheck::Missing,
            None if oldest.is_some_and(|oldest| seen.number < oldest) => RevisionCheck::Pruned,
            None => RevisionCheck::Missing,
        })
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<Range<i64>, StoreError> {
        const OPERATION: &str = "allocate producer ids";
        let mut facts = self.facts(OPERATION)?;
        if facts.cluster.is_none() {
            return Err(not_initialised(OPERATION));
        }
        let block = producer_id_block(facts.next_producer_id, count)?;
        facts.next_producer_id = block.end;
        facts.revise(&self.ambient);
        self.wake();
        Ok(block)
    }
}
