//! Hears of everything that really happened in the database, in the order in which it happened, and judges it: commits
//! under the right grant, each with one effect, of objects that exist.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use streamhouse_log::format::entry::Entry;
use streamhouse_log::format::manifest::Manifest;
use streamhouse_metadata::store::{
    Commit, CommitOutcome, CoordinationOutcome, CoordinationWrite, GrantOutcome, Incarnation,
    ManifestCommit, ObjectRow, ObjectState, SetCheckpoint, ShardId,
};
use streamhouse_protocol::ids::{LeaderEpoch, TopicPartition};

use crate::invariant::{Invariant, Violation};
use crate::objects::Bucket;
use crate::world::World;

/// The judge of the database. Clones share what it knows.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    world: World,
    shards: Arc<Mutex<BTreeMap<ShardId, Shard>>>,
    /// An older database is in place: what happens to it is forgotten again.
    is_deaf: Arc<AtomicBool>,
}

/// What the judge knew when a replica was looked at.
#[derive(Clone, Debug)]
pub(crate) struct LedgerCopy(BTreeMap<ShardId, Shard>);

/// What is known of a shard.
#[derive(Clone, Debug, Default)]
struct Shard {
    grant: Option<(LeaderEpoch, Incarnation)>,
    next_lsn: u64,
    next_seq: u64,
    /// Where the committed runs of each partition end, and the epoch of the last one.
    ends: BTreeMap<TopicPartition, (i64, LeaderEpoch)>,
}

impl Ledger {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            shards: Arc::default(),
            is_deaf: Arc::default(),
        }
    }

    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Release);
    }

    fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Acquire)
    }

    /// What it knows now.
    pub(crate) fn copy(&self) -> LedgerCopy {
        LedgerCopy(self.shards.lock().clone())
    }

    /// What happened since the copy was made did not happen.
    pub(crate) fn restore(&self, copy: LedgerCopy) {
        *self.shards.lock() = copy.0;
    }

    /// How many writes of groups a shard has seen.
    pub(crate) fn seq(&self, shard: ShardId) -> u64 {
        self.shards
            .lock()
            .get(&shard)
            .map_or(0, |shard| shard.next_seq)
    }

    pub(crate) fn granted(&self, outcomes: &[GrantOutcome]) {
        if self.is_deaf() {
            return;
        }
        let mut shards = self.shards.lock();
        for outcome in outcomes {
            let GrantOutcome::Granted(row) = outcome else {
                continue;
            };
            let Some(incarnation) = row.incarnation else {
                continue;
            };
            let shard = shards.entry(row.shard).or_default();
            if shard.grant.is_some_and(|(epoch, _)| row.epoch <= epoch) {
                let what = format!("shard {} was granted epoch {} twice", row.shard, row.epoch);
                self.world.breach(Invariant::Fencing, what);
            }
            shard.grant = Some((row.epoch, incarnation));
        }
    }

    pub(crate) fn committed(&self, commit: &Commit, outcomes: &[CommitOutcome], bucket: &Bucket) {
        self.world.tell(|| {
            let manifests = commit.manifests.iter();
            let manifests: Vec<_> = manifests.map(|m| (m.shard.0, m.lsn.0, m.epoch.0)).collect();
            let object = commit.object.as_ref().map(|object| object.id.to_string());
            format!("  commit of {object:?}, (shard, lsn, epoch) {manifests:?}: {outcomes:?}")
        });
        let winners = commit.manifests.iter().zip(outcomes);
        let winners = winners.filter(|(_, outcome)| **outcome == CommitOutcome::Committed);
        let winners: Vec<&ManifestCommit> = winners.map(|(manifest, _)| manifest).collect();
        if winners.is_empty() || self.is_deaf() {
            return;
        }
        self.world.count(|counts| counts.commits += 1);
        if let Some(object) = &commit.object {
            let stored = bucket.bytes(&object.key).map(|bytes| bytes.len() as u64);
            if stored != Some(object.bytes) {
                let what = format!(
                    "a commit names object {} of {} bytes, the store has {stored:?}",
                    object.key, object.bytes
                );
                self.world.breach(Invariant::NoDangling, what);
            }
        }
        let mut shards = self.shards.lock();
        for manifest in winners {
            let shard = shards.entry(manifest.shard).or_default();
            self.world
                .note(manifest.lsn.0 ^ u64::from(manifest.shard.0) << 48);
            self.world.judge(shard.commit(manifest));
        }
    }

    pub(crate) fn groups_written(
        &self,
        writes: &[CoordinationWrite],
        outcomes: &[CoordinationOutcome],
    ) {
        if self.is_deaf() {
            return;
        }
        let mut shards = self.shards.lock();
        for (write, outcome) in writes.iter().zip(outcomes) {
            let CoordinationOutcome::Committed { seq } = outcome else {
                continue;
            };
            let shard = shards.entry(write.shard).or_default();
            if shard.grant != Some((write.epoch, write.incarnation)) {
                let what = format!(
                    "groups of shard {} were written under epoch {}, the grant is {:?}",
                    write.shard, write.epoch, shard.grant
                );
                self.world.breach(Invariant::Fencing, what);
            }
            if *seq != shard.next_seq + 1 {
                let what = format!(
                    "write {seq} of the groups of shard {} follows {}",
                    write.shard, shard.next_seq
                );
                self.world.breach(Invariant::CommitOnce, what);
            }
            shard.next_seq = *seq;
            self.world.note(*seq ^ u64::from(write.shard.0) << 40);
        }
    }

    pub(crate) fn checkpoint_set(&self, request: &SetCheckpoint) {
        let shards = self.shards.lock();
        let grant = shards.get(&request.shard).and_then(|shard| shard.grant);
        if grant != Some((request.epoch, request.incarnation)) && !self.is_deaf() {
            let what = format!(
                "a checkpoint of shard {} was set under epoch {}, the grant is {grant:?}",
                request.shard, request.epoch
            );
            self.world.breach(Invariant::Fencing, what);
        }
    }

    pub(crate) fn bytes_deleted(&self, key: &str, rows: &[ObjectRow]) {
        let row = rows.iter().find(|row| row.key.as_deref() == Some(key));
        if let Some(ObjectRow {
            state: ObjectState::Live { shards },
            ..
        }) = row
        {
            let what = format!("the bytes of {key} are deleted, shards {shards:?} may need them");
            self.world.breach(Invariant::NoZombieDelete, what);
        }
    }
}

impl Shard {
    fn commit(&mut self, manifest: &ManifestCommit) -> Result<(), Violation> {
        let name = format!("manifest {} of shard {}", manifest.lsn, manifest.shard);
        if self.grant != Some((manifest.epoch, manifest.incarnation)) {
            return Err(Violation::new(
                Invariant::Fencing,
                format!(
                    "{name} was committed under epoch {}, the grant is {:?}",
                    manifest.epoch, self.grant
                ),
            ));
        }
        if manifest.lsn.0 != self.next_lsn {
            return Err(Violation::new(
                Invariant::CommitOnce,
                format!("{name} was committed where {} was due", self.next_lsn),
            ));
        }
        self.next_lsn += 1;
        let body = Manifest::decode(manifest.body.clone())
            .map_err(|error| Violation::new(Invariant::NoDangling, format!("{name}: {error}")))?;
        for entry in &body.entries {
            match entry {
                Entry::Run(run) => {
                    let (end, epoch) = self
                        .ends
                        .get(&run.at)
                        .copied()
                        .unwrap_or((0, LeaderEpoch(0)));
                    let what = format!(
                        "{name} binds offsets {}.. of {}, the ones before end at {end}",
                        run.base_offset, run.at
                    );
                    if run.base_offset < end {
                        return Err(Violation::new(Invariant::CommitOnce, what));
                    }
                    if run.base_offset > end {
                        return Err(Violation::new(Invariant::Contiguity, what));
                    }
                    if run.append_epoch < epoch {
                        let what = format!("{name}: epoch {} behind {epoch}", run.append_epoch);
                        return Err(Violation::new(Invariant::Fencing, what));
                    }
                    let end = run.base_offset + i64::try_from(run.records).unwrap_or(i64::MAX);
                    self.ends.insert(run.at, (end, run.append_epoch));
                }
                Entry::DropPartition { at } => {
                    self.ends.remove(at);
                }
                Entry::Trim { .. } | Entry::EvictProducer { .. } => {}
            }
        }
        Ok(())
    }
}
