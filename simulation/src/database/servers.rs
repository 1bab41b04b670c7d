//! The servers of the database: one is the primary, whose facts are the truth. When another one takes over, some brokers may
//! go on talking to the old one for a while; and what took over may lack what was committed last.
//!
//! An old primary answers reads with what it had. Its commits need a replica that does not follow it any more, so they never
//! return and never happen: that is what `synchronous_commit` promises. A replica that lacks commits is one that was not
//! synchronous: what it lacks is lost, and whoever saw it has to notice.

use std::collections::{BTreeMap, BTreeSet};

use streamhouse_metadata::memory::MemoryStore;
use streamhouse_metadata::store::{
    BrokerShelf, ClusterShelf, Commit, CommitName, CommitOutcome, CoordinationOutcome,
    CoordinationWrite, GrantOutcome, GrantRequest, Incarnation, Lsn, ManifestCommit, Resolved,
    ShardId, ShardRow, ShardShelf,
};
use streamhouse_protocol::ids::LeaderEpoch;

use super::{Database, LifeStore};
use crate::audit::now;
use crate::encounters::Encounter;
use crate::executor::ProcessId;
use crate::invariant::Invariant;
use crate::ledger::LedgerCopy;
use crate::machine::{Machine, Reach};

/// What brokers are connected to, and what each of them was told.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// The one that was the primary before, while some still talk to it.
    old: Option<MemoryStore>,
    /// How often somebody deleted the bytes of an object.
    deletions: u64,
    is_down: bool,
    told: BTreeMap<(ProcessId, ShardId), Told>,
    /// What anybody read, and what brokers were told that are dead by now: what they told clients is not forgotten.
    told_before: BTreeMap<ShardId, Told>,
}

/// What a broker was told of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    next_lsn: u64,
    epoch: i32,
    seq: u64,
}

impl Told {
    fn no_more_than(self, other: Self) -> Self {
        Self {
            next_lsn: self.next_lsn.min(other.next_lsn),
            epoch: self.epoch.min(other.epoch),
            seq: self.seq.min(other.seq),
        }
    }

    fn or_more(self, other: Self) -> Self {
        Self {
            next_lsn: self.next_lsn.max(other.next_lsn),
            epoch: self.epoch.max(other.epoch),
            seq: self.seq.max(other.seq),
        }
    }
}

/// A replica that follows the primary, as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    facts: MemoryStore,
    ledger: LedgerCopy,
    deletions: u64,
}

/// What a replica that took over lacks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    /// Shards of which somebody was told more than there is now.
    pub(crate) shards: BTreeSet<ShardId>,
    /// Who was told of manifests that are gone, by shard.
    pub(crate) knowing: BTreeSet<(ProcessId, ShardId)>,
}

impl Database {
    /// A replica that has all there is now.
    pub(crate) fn replica(&self) -> Replica {
        Replica {
            facts: self.truth.copy(),
            ledger: self.ledger.copy(),
            deletions: self.servers.lock().deletions,
        }
    }

    /// Whether a replica may take over that is as far as this one: it keeps up with topics, knows every life, and knows
    /// of each shard that who leads it has led it; and the grace is longer than it lags behind, by anybody's clock.
    pub(crate) fn may_take_over(&self, replica: &Replica) -> bool {
        let lives = |store: &MemoryStore| -> BTreeSet<Incarnation> {
            let known = now(store.brokers()).into_iter();
            known.map(|row| row.incarnation).collect()
        };
        let knows_leader = |row: &ShardRow| {
            let mut grants = now(replica.facts.grants(row.shard)).into_iter();
            row.incarnation
                .is_none_or(|leader| grants.any(|grant| grant.incarnation == leader))
        };
        let rows = now(self.truth.shards());
        self.servers.lock().deletions == replica.deletions
            && now(self.truth.revision()) == now(replica.facts.revision())
            && lives(&self.truth).is_subset(&lives(&replica.facts))
            && rows.iter().all(knows_leader)
    }

    /// Somebody deletes the bytes of an object.
    pub(super) fn note_deletion(&self) {
        self.servers.lock().deletions += 1;
    }

    /// Another server takes over: one that has everything, or the replica. `followers` go on talking to the old one.
    pub(crate) fn fail_over(&self, replica: Option<Replica>, followers: &[Machine]) -> Lost {
        self.end_split(followers);
        let old = self.truth.copy();
        match replica {
            Some(replica) => {
                self.truth.fail_over(&replica.facts);
                self.ledger.restore(replica.ledger);
            }
            None => self.truth.fail_over(&old),
        }
        for machine in followers {
            machine.follow_old(true);
        }
        self.servers.lock().old = Some(old);
        self.lost()
    }

    /// Everybody finds the primary.
    pub(crate) fn end_split(&self, machines: &[Machine]) {
        for machine in machines {
            machine.follow_old(false);
        }
    }

    /// What the database holds of each shard.
    fn held(&self) -> BTreeMap<ShardId, Told> {
        let rows = now(self.truth.shards()).into_iter();
        let held = rows.map(|row| {
            let told = Told {
                next_lsn: row.next_lsn.0,
                epoch: row.epoch.0,
                seq: self.ledger.seq(row.shard),
            };
            (row.shard, told)
        });
        held.collect()
    }

    fn lost(&self) -> Lost {
        let held = self.held();
        let mut lost = Lost::default();
        let mut servers = self.servers.lock();
        let living = servers.told.iter();
        let living = living.map(|((process, shard), told)| (Some(*process), *shard, *told));
        let before = servers.told_before.iter();
        let before = before.map(|(shard, told)| (None, *shard, *told));
        for (process, shard, told) in living.chain(before) {
            let held = held.get(&shard).copied().unwrap_or_default();
            if told.no_more_than(held) == told {
                continue;
            }
            lost.shards.insert(shard);
            if let Some(process) = process.filter(|_| told.next_lsn > held.next_lsn) {
                lost.knowing.insert((process, shard));
            }
        }
        for (shard, told) in &mut servers.told_before {
            *told = told.no_more_than(held.get(shard).copied().unwrap_or_default());
        }
        lost
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.servers.lock().is_down = is_down;
    }

    /// A process is gone with all it knew.
    pub(crate) fn forget_process(&self, process: ProcessId) {
        let held = self.held();
        let mut servers = self.servers.lock();
        for (shard, held) in held {
            if let Some(told) = servers.told.remove(&(process, shard)) {
                let before = servers.told_before.entry(shard).or_default();
                *before = before.or_more(told.no_more_than(held));
            }
        }
    }

    /// Manifests of a commit that a process is about to send, and that it was told were committed before. It may have sent them
    /// earlier, and they come late: that is no fault of its.
    pub(super) fn known_before(&self, process: ProcessId, commit: &Commit) -> Vec<ShardId> {
        let servers = self.servers.lock();
        let is_known = |manifest: &&ManifestCommit| {
            let told = servers.told.get(&(process, manifest.shard));
            told.is_some_and(|told| told.next_lsn > manifest.lsn.0)
        };
        let known = commit.manifests.iter().filter(is_known);
        known.map(|manifest| manifest.shard).collect()
    }

    /// What a broker was told was committed must lie before what it commits.
    pub(super) fn judge_committer(
        &self,
        known_before: &[ShardId],
        commit: &Commit,
        outcomes: &[CommitOutcome],
    ) {
        for (manifest, outcome) in commit.manifests.iter().zip(outcomes) {
            if *outcome == CommitOutcome::Committed && known_before.contains(&manifest.shard) {
                let what = format!(
                    "manifest {} of shard {} is committed by a broker that was told of it before",
                    manifest.lsn, manifest.shard
                );
                self.world.breach(Invariant::Regression, what);
            }
        }
    }
}

impl LifeStore {
    /// The server that this broker talks to.
    pub(super) fn server(&self) -> MemoryStore {
        if self.is_on_old() {
            let old = self.database.servers.lock().old.clone();
            return old.unwrap_or_else(|| self.database.truth.clone());
        }
        self.database.truth.clone()
    }

    /// Whether it talks to one that is not the primary any more.
    pub(super) fn is_on_old(&self) -> bool {
        self.life.machine.follows_old()
    }

    /// How the server can be reached.
    pub(super) fn reach(&self) -> Reach {
        if self.database.servers.lock().is_down {
            return Reach::Refused;
        }
        self.life.machine.database()
    }

    fn told(&self, shard: ShardId, more: Told) {
        if self.life.is_dead() {
            return;
        }
        let mut servers = self.database.servers.lock();
        let told = servers.told.entry((self.life.process, shard)).or_default();
        *told = told.or_more(more);
    }

    fn told_committed(&self, shard: ShardId, lsn: Lsn, epoch: LeaderEpoch) {
        let told = Told {
            next_lsn: lsn.0 + 1,
            epoch: epoch.0,
            seq: 0,
        };
        self.told(shard, told);
    }

    pub(super) fn told_outcomes(&self, commit: &Commit, outcomes: &[CommitOutcome]) {
        for (manifest, outcome) in commit.manifests.iter().zip(outcomes) {
            if *outcome == CommitOutcome::Committed {
                self.told_committed(manifest.shard, manifest.lsn, manifest.epoch);
            }
        }
    }

    pub(super) fn told_resolved(&self, names: &[CommitName], resolved: &[Resolved]) {
        for (name, found) in names.iter().zip(resolved) {
            if found.happened(name) {
                self.database.world.met(Encounter::UnknownCommitHappened);
                self.told_committed(name.shard, name.lsn, name.epoch);
            }
        }
    }

    /// What a commit met at other shards than those that it was made for.
    pub(super) fn met_by_commit(&self, commit: &Commit, outcomes: &[CommitOutcome]) {
        let mut is_fenced = false;
        for (manifest, outcome) in commit.manifests.iter().zip(outcomes) {
            let row = now(self.database.truth.read_shard(manifest.shard));
            let is_ours = row.is_some_and(|row| row.incarnation == Some(manifest.incarnation));
            is_fenced |= *outcome == CommitOutcome::Refused && !is_ours;
        }
        if is_fenced {
            self.database.world.met(Encounter::FencedCommit);
            if outcomes.contains(&CommitOutcome::Committed) {
                self.database.world.met(Encounter::HalfCommit);
            }
        }
    }

    /// Shards that a grant took from another life.
    pub(super) fn met_by_grant(
        &self,
        request: &GrantRequest,
        before: &[ShardRow],
        outcomes: &[GrantOutcome],
    ) {
        for outcome in outcomes {
            let GrantOutcome::Granted(row) = outcome else {
                continue;
            };
            let before = before.iter().find(|before| before.shard == row.shard);
            let other = before.and_then(|before| before.incarnation);
            if request.by != request.incarnation {
                self.database.world.met(Encounter::HandedOver);
            } else if other.is_some_and(|other| other != request.incarnation) {
                self.database.world.met(Encounter::TakenOver);
            }
        }
    }

    pub(super) fn told_grants(&self, outcomes: &[GrantOutcome]) {
        for outcome in outcomes {
            if let GrantOutcome::Granted(row) = outcome {
                let told = Told {
                    next_lsn: row.next_lsn.0,
                    epoch: row.epoch.0,
                    seq: 0,
                };
                self.told(row.shard, told);
            }
        }
    }

    /// What somebody read may be used by anybody.
    pub(super) fn told_rows(&self, rows: &[ShardRow]) {
        let mut servers = self.database.servers.lock();
        for row in rows {
            let read = Told {
                next_lsn: row.next_lsn.0,
                epoch: row.epoch.0,
                seq: 0,
            };
            let told = servers.told_before.entry(row.shard).or_default();
            *told = told.or_more(read);
        }
    }

    pub(super) fn told_groups(
        &self,
        writes: &[CoordinationWrite],
        outcomes: &[CoordinationOutcome],
    ) {
        for (write, outcome) in writes.iter().zip(outcomes) {
            if let CoordinationOutcome::Committed { seq } = outcome {
                let told = Told {
                    seq: *seq,
                    ..Told::default()
                };
                self.told(write.shard, told);
            }
        }
    }
}
