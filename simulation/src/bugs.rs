//! The planted bugs: each with the place where it stands in the code and the invariant that must turn red for it.
//!
//! A bug is a line of the form `planted::bug("name")` in the code; [`streamhouse_runtime::planted`] says when it is
//! switched on.

use crate::invariant::Invariant;
use crate::scenario::Scenario;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its name, as the code asks for it.
    pub name: &'static str,
    /// In which kind of world it is hunted.
    pub scenario: Scenario,
    /// What must turn red.
    pub breaks: Invariant,
    /// Where it is planted.
    pub place: &'static str,
}

const fn bug(name: &'static str, breaks: Invariant, place: &'static str) -> Bug {
    Bug {
        name,
        scenario: Scenario::Single,
        breaks,
        place,
    }
}

const fn of_cluster(name: &'static str, breaks: Invariant, place: &'static str) -> Bug {
    Bug {
        scenario: Scenario::Cluster,
        ..bug(name, breaks, place)
    }
}

/// All of them.
pub const BUGS: &[Bug] = &[
    of_cluster(
        "commit_without_fence",
        Invariant::Fencing,
        "metadata/src/store/laws.rs",
    ),
    of_cluster(
        "groups_without_fence",
        Invariant::Fencing,
        "metadata/src/memory/groups.rs",
    ),
    of_cluster(
        "lease_not_checked",
        Invariant::OneLeader,
        "simulation/src/cluster/membership.rs",
    ),
    of_cluster(
        "take_from_the_living",
        Invariant::OneLeader,
        "metadata/src/store/laws.rs",
    ),
    of_cluster(
        "deleted_before_tombstone",
        Invariant::NoZombieDelete,
        "log/src/garbage.rs",
    ),
    of_cluster(
        "unknown_commit_taken_as_success",
        Invariant::Serves,
        "log/src/flush/commit.rs",
    ),
    of_cluster(
        "not_found_taken_as_did_not_happen",
        Invariant::Serves,
        "log/src/flush/commit.rs",
    ),
    of_cluster(
        "fenced_shard_undoes_the_others",
        Invariant::Serves,
        "log/src/flush/commit.rs",
    ),
    of_cluster(
        "void_flush_committed",
        Invariant::Serves,
        "log/src/flush/turn.rs",
    ),
    of_cluster(
        "ack_before_commit",
        Invariant::Acknowledged,
        "log/src/flush/shared.rs",
    ),
    of_cluster(
        "producers_forgotten_at_takeover",
        Invariant::Idempotence,
        "log/src/leading.rs",
    ),
    of_cluster(
        "what_is_in_flight_taken_again",
        Invariant::Serves,
        "log/src/flush/staged.rs",
    ),
    of_cluster(
        "regression_unnoticed",
        Invariant::Regression,
        "log/src/leading.rs",
    ),
    of_cluster(
        "ceded_shard_serves_on",
        Invariant::OneLeader,
        "log/src/leading.rs",
    ),
    of_cluster(
        "loss_not_looked_for",
        Invariant::Acknowledged,
        "log/src/recovery/lost_suffix.rs",
    ),
    of_cluster(
        "lost_commits_given_up",
        Invariant::Acknowledged,
        "log/src/garbage/orphans.rs",
    ),
    bug(
        "ack_before_fsync",
        Invariant::Acknowledged,
        "storage/src/wal/writer.rs",
    ),
    bug(
        "no_folder_fsync",
        Invariant::Acknowledged,
        "storage/src/wal/writer.rs",
    ),
    bug(
        "header_without_fsync",
        Invariant::Acknowledged,
        "storage/src/wal/writer.rs",
    ),
    bug(
        "wal_recycled_before_commit",
        Invariant::Acknowledged,
        "log/src/flush.rs",
    ),
    bug(
        "skip_on_crc_error",
        Invariant::Acknowledged,
        "storage/src/wal/replay.rs",
    ),
    bug(
        "earlier_epochs_forgotten",
        Invariant::Acknowledged,
        "log/src/recovery.rs",
    ),
    bug(
        "refused_after_append",
        Invariant::Acknowledged,
        "log/src/lib.rs",
    ),
    bug(
        "dedupe_lost_on_restart",
        Invariant::Idempotence,
        "log/src/recovery/replay.rs",
    ),
    bug(
        "checkpoint_forgets_producers",
        Invariant::Idempotence,
        "log/src/checkpoints.rs",
    ),
    bug(
        "duplicate_appended_again",
        Invariant::Idempotence,
        "log/src/append/stage.rs",
    ),
    bug(
        "high_watermark_off_by_one",
        Invariant::Visibility,
        "log/src/read/plan.rs",
    ),
    bug(
        "recorded_instead_of_live",
        Invariant::Visibility,
        "log/src/read/plan.rs",
    ),
    bug(
        "trim_moves_back",
        Invariant::Visibility,
        "log/src/state/partition.rs",
    ),
    bug(
        "block_checksum_not_checked",
        Invariant::SingleBinding,
        "storage/src/cache/load.rs",
    ),
    bug(
        "unreadable_run_skipped",
        Invariant::Contiguity,
        "log/src/read/runs.rs",
    ),
    bug(
        "tail_skips_a_batch",
        Invariant::Contiguity,
        "log/src/shard/partition.rs",
    ),
    bug(
        "commit_before_upload",
        Invariant::NoDangling,
        "storage/src/objects.rs",
    ),
    bug(
        "deleted_before_tombstone",
        Invariant::NoZombieDelete,
        "log/src/garbage.rs",
    ),
    bug(
        "commit_without_fence",
        Invariant::Fencing,
        "metadata/src/store/laws.rs",
    ),
    bug(
        "commit_again_under_a_new_number",
        Invariant::CommitOnce,
        "log/src/flush/commit.rs",
    ),
    bug(
        "offsets_answered_before_written",
        Invariant::Groups,
        "coordinator/src/service/answers.rs",
    ),
    bug(
        "generation_told_before_stored",
        Invariant::Groups,
        "coordinator/src/service/answers.rs",
    ),
    bug(
        "old_generation_commits",
        Invariant::Groups,
        "coordinator/src/group/offsets.rs",
    ),
    bug(
        "parked_fetch_not_woken",
        Invariant::Serves,
        "log/src/shard/partition.rs",
    ),
    bug(
        "let_go_without_aside",
        Invariant::Acknowledged,
        "log/src/recovery/aside.rs",
    ),
    bug(
        "aside_file_forgotten",
        Invariant::Acknowledged,
        "storage/src/wal/aside.rs",
    ),
    bug(
        "second_read_not_checked",
        Invariant::SingleBinding,
        "storage/src/cache/load.rs",
    ),
    bug(
        "checkpoint_without_fence",
        Invariant::Fencing,
        "metadata/src/memory/manifests.rs",
    ),
    bug(
        "groups_without_fence",
        Invariant::Fencing,
        "metadata/src/memory/groups.rs",
    ),
    bug(
        "older_database_unnoticed",
        Invariant::Regression,
        "log/src/recovery/older_database.rs",
    ),
    bug(
        "loss_passed_over",
        Invariant::Regression,
        "log/src/recovery/replay.rs",
    ),
    bug("tail_without_bound", Invariant::Bounded, "log/src/tail.rs"),
];

/// Worlds in which a bug must be found.
#[cfg(feature = "planted-bugs")]
const WORLDS: u64 = 320;

/// Operations in each of them.
#[cfg(feature = "planted-bugs")]
const OPERATIONS: usize = 1000;

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// Looks for a world in which its own invariant turns red. Says which one, or what was found instead.
    ///
    /// # Errors
    /// If there is none.
    pub fn hunt(&self, threads: usize) -> Result<String, String> {
        let step = 8;
        let mut others = std::collections::BTreeMap::<String, u64>::new();
        for from in (0..WORLDS).step_by(step) {
            let campaign = crate::Campaign {
                scenario: self.scenario,
                seeds: from..from + step as u64,
                operations: OPERATIONS,
                threads,
                stops_at_failure: false,
                bug: Some(self.name),
            };
            for failure in campaign.run().failures {
                let Some(breach) = failure.outcome.breach else {
                    continue;
                };
                if breach.violation.invariant == self.breaks {
                    let (scenario, seed) = (self.scenario, failure.seed);
                    return Ok(format!("{scenario} seed {seed:>3}: {}", breach.violation));
                }
                *others
                    .entry(breach.violation.invariant.to_string())
                    .or_default() += 1;
            }
        }
        Err(format!(
            "{} stays green in {WORLDS} worlds; others: {others:?}",
            self.breaks
        ))
    }
}
