//! What happens to facts that are stored: a manifest is damaged, a commit is taken and forgotten, an older copy of the
//! database comes back.

use std::collections::BTreeMap;
use std::ops::Range;

use streamhouse_log::format::entry::Entry;
use streamhouse_log::format::manifest::Manifest;
use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::{Commit, Lsn, ManifestRow, ManifestShelf, ShardId, ShardShelf};
use streamhouse_protocol::ids::TopicPartition;

use super::Database;
use crate::audit::now;
use crate::clients::{RETAINED, TOPIC};

/// What goes wrong with facts that are stored.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    /// A manifest that cannot be read any more.
    pub(super) damaged: Option<(ShardId, Lsn)>,
    /// The next commit that suits is forgotten.
    forgets_next: bool,
    forgotten: Option<Forgotten>,
    /// While an older database is in place: the newest one.
    newest: Option<MemoryStore>,
}

/// A commit that the database said it had taken. By shard: which offsets of which partitions.
pub(crate) type Forgotten = BTreeMap<ShardId, BTreeMap<TopicPartition, Range<i64>>>;

impl Database {
    /// Makes a manifest unreadable; false if the shard has none.
    pub(crate) fn damage_manifest(&self, shard: ShardId, pick: usize) -> bool {
        let rows = self.manifests_of(shard);
        if rows.is_empty() {
            return false;
        }
        let lsn = rows[pick % rows.len()].lsn;
        self.mishaps.lock().damaged = Some((shard, lsn));
        true
    }

    /// The shard with a damaged manifest.
    pub(crate) fn damaged_shard(&self) -> Option<ShardId> {
        let (shard, lsn) = self.mishaps.lock().damaged?;
        let mut rows = self.manifests_of(shard).into_iter();
        rows.any(|row| row.lsn == lsn).then_some(shard)
    }

    pub(crate) fn mend(&self) {
        let mut mishaps = self.mishaps.lock();
        mishaps.damaged = None;
        mishaps.forgets_next = false;
    }

    fn manifests_of(&self, shard: ShardId) -> Vec<ManifestRow> {
        now(self.truth.manifests(shard, Lsn(0), usize::MAX))
    }

    /// The next commit of records is answered and forgotten.
    pub(crate) fn forget_next(&self) {
        self.mishaps.lock().forgets_next = true;
    }

    pub(crate) fn forgotten(&self) -> Option<Forgotten> {
        self.mishaps.lock().forgotten.clone()
    }

    /// What was forgotten of a shard is settled.
    pub(crate) fn settled(&self, shard: ShardId) {
        let mut mishaps = self.mishaps.lock();
        if let Some(forgotten) = &mut mishaps.forgotten {
            forgotten.remove(&shard);
            if forgotten.is_empty() {
                mishaps.forgotten = None;
            }
        }
    }

    /// Puts an older database in place of the one there is.
    pub(crate) fn bring_back(&self, copy: &MemoryStore) {
        self.ledger.set_deaf(true);
        self.mishaps.lock().newest = Some(self.truth.copy());
        self.truth.bring_back(copy);
    }

    /// Whether an older database is in place.
    pub(crate) fn is_older(&self) -> bool {
        self.mishaps.lock().newest.is_some()
    }

    /// Puts the newest database in its place again.
    pub(crate) fn bring_newest_back(&self) {
        if let Some(newest) = self.mishaps.lock().newest.take() {
            self.truth.bring_back(&newest);
            self.ledger.set_deaf(false);
        }
    }

    /// Takes a commit and forgets it, if one is to be forgotten and this one suits: it would be taken, and has nothing but
    /// records in it.
    pub(super) fn forgets(&self, commit: &Commit) -> bool {
        let mut mishaps = self.mishaps.lock();
        if !mishaps.forgets_next || mishaps.forgotten.is_some() || mishaps.newest.is_some() {
            return false;
        }
        let rows = now(self.truth.shards());
        let would_be_taken = commit.manifests.iter().all(|manifest| {
            rows.iter().any(|row| {
                (row.shard, row.epoch, row.incarnation, row.next_lsn)
                    == (
                        manifest.shard,
                        manifest.epoch,
                        Some(manifest.incarnation),
                        manifest.lsn,
                    )
            })
        });
        let Some(forgotten) = records_of(commit).filter(|_| would_be_taken) else {
            return false;
        };
        mishaps.forgets_next = false;
        mishaps.forgotten = Some(forgotten);
        true
    }
}

/// What a commit records; none if there is more in it than batches of topics that stay.
fn records_of(commit: &Commit) -> Option<Forgotten> {
    let mut records = Forgotten::new();
    for manifest in &commit.manifests {
        let body = Manifest::decode(manifest.body.clone()).ok()?;
        let partitions = records.entry(manifest.shard).or_default();
        for entry in &body.entries {
            let Entry::Run(run) = entry else { return None };
            let stays = [TOPIC, RETAINED].contains(&run.at.topic);
            let end = run.base_offset + i64::try_from(run.records).ok()?;
            let range = partitions
                .entry(run.at)
                .or_insert(run.base_offset..run.base_offset);
            range.end = end;
            if !stays {
                return None;
            }
        }
    }
    Some(records)
}
