//! The laws of a metadata store, as one suite that every store passes.
//!
//! A law is a function here, named once in [`metadata_conformance`], which makes one test of it per store. Each law
//! re-opens the data between its steps, so that durability and fencing are tested and not only behaviour.

mod brokers;
mod closing;
mod cluster;
mod equal;
mod groups;
mod manifests;
mod objects;
mod shards;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use streamhouse_protocol::ids::LeaderEpoch;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use crate::memory::MemoryStore;
use crate::postgres::{PostgresSettings, PostgresStore, server};
use crate::sqlite::SqliteStore;
use crate::store::{
    Commit, Durability, GrantOutcome, GrantRequest, Incarnation, Lsn, ManifestCommit,
    MetadataStore, NewCluster, NewObject, ObjectId, ShardId, ShardRow,
};

/// The wall clock at the start of each law.
const NOW_MS: i64 = 1_700_000_000_000;

/// How many shards the cluster of a law has.
const SHARDS: u32 = 4;

/// A store's data, which can be opened again and again.
struct House {
    clock: ManualClock,
    /// Whether the store counts leases by a clock that no test moves.
    is_a_server: bool,
    opening: Box<dyn Fn() -> BoxFuture<'static, Arc<dyn MetadataStore>>>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl House {
    fn memory() -> Option<Self> {
        let (clock, ambient) = still_world();
        let store = MemoryStore::new(ambient);
        Some(Self {
            clock,
            is_a_server: false,
            opening: Box::new(move || {
                let store: Arc<dyn MetadataStore> = Arc::new(store.reopen());
                async move { store }.boxed()
            }),
        })
    }

    fn sqlite() -> Option<Self> {
        let (clock, ambient) = still_world();
        let folder = tempfile::tempdir().unwrap();
        Some(Self {
            clock,
            is_a_server: false,
            opening: Box::new(move || {
                let file = folder.path().join("metadata.db");
                let store: Arc<dyn MetadataStore> =
                    Arc::new(SqliteStore::open(&file, ambient.clone()).unwrap());
                async move { store }.boxed()
            }),
        })
    }

    /// A schema of its own on the server that all tests share; none where there is no PostgreSQL.
    fn postgres() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = server::shared()?;
        let (clock, ambient) = still_world();
        let settings = PostgresSettings {
            schema: format!("laws_{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            connections: 4,
            ..PostgresSettings::new(server.url())
        };
        Some(Self {
            clock,
            is_a_server: true,
            opening: Box::new(move || {
                let (settings, ambient) = (settings.clone(), ambient.clone());
                async move {
                    let store = PostgresStore::open(settings, ambient).await.unwrap();
                    let store: Arc<dyn MetadataStore> = Arc::new(store);
                    store
                }
                .boxed()
            }),
        })
    }

    /// A store on the data as they are.
    async fn open(&self) -> Arc<dyn MetadataStore> {
        (self.opening)().await
    }

    /// A store of a cluster that was just made.
    async fn started(&self) -> Arc<dyn MetadataStore> {
        let store = self.open().await;
        store.initialise(new_cluster()).await.unwrap();
        store
    }

    /// The same data after the process ended and began again.
    async fn reopen(&self, store: Arc<dyn MetadataStore>) -> Arc<dyn MetadataStore> {
        store.close().await;
        self.open().await
    }
}

fn still_world() -> (ManualClock, Ambient) {
    let clock = ManualClock::new(NOW_MS);
    let chance = Arc::new(SeededChance::new(7));
    (
        clock.clone(),
        Ambient {
            clock: Arc::new(clock),
            chance,
            tasks: Tasks::new(),
        },
    )
}

fn new_cluster() -> NewCluster {
    NewCluster {
        cluster_id: 42,
        shards: SHARDS,
        durability: Durability::Local,
    }
}

/// Grants one shard to a life on the WAL folder 1.
async fn lead(store: &dyn MetadataStore, life: u128, shard: u32) -> ShardRow {
    let request = GrantRequest::own(Incarnation(life), Some(1), [ShardId(shard)]);
    match store.grant(request).await.unwrap()[..] {
        [GrantOutcome::Granted(row)] => row,
        ref other => panic!("the shard was not granted: {other:?}"),
    }
}

/// A manifest under the grant of `row`.
fn manifest(row: &ShardRow, lsn: u64) -> ManifestCommit {
    ManifestCommit {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
        lsn: Lsn(lsn),
        body: Bytes::from(format!("manifest {lsn} of shard {}", row.shard)),
        wal_end: None,
        released: Vec::new(),
        clears_wal_dir: false,
    }
}

fn object_id(seq: u64) -> ObjectId {
    ObjectId {
        incarnation: 10,
        seq,
        attempt: 0,
    }
}

fn object(seq: u64) -> NewObject {
    NewObject {
        id: object_id(seq),
        key: format!("objects/{seq}"),
        bytes: 1000 + seq,
    }
}

fn flush(seq: u64, manifests: Vec<ManifestCommit>) -> Commit {
    Commit {
        object: Some(object(seq)),
        manifests,
    }
}

fn without_object(manifests: Vec<ManifestCommit>) -> Commit {
    Commit {
        object: None,
        manifests,
    }
}

fn epoch(number: i32) -> LeaderEpoch {
    LeaderEpoch(number)
}

macro_rules! metadata_conformance {
    ($module:ident, $house:path) => {
        metadata_conformance! { @expand $module, $house,
            cluster {
                a_cluster_is_created_once_and_found_again,
                a_cluster_has_1_to_4096_shards,
                producer_ids_are_given_out_once_across_restarts,
                a_block_of_no_producer_ids_is_a_bug,
                nothing_is_given_out_before_the_cluster_exists,
                every_write_of_topics_and_producer_ids_makes_one_revision,
                a_revision_of_another_history_is_missing,
                old_revisions_are_pruned_and_the_newest_stay,
            }
            shards {
                a_grant_raises_the_epoch_and_survives_a_restart,
                a_restart_on_the_same_wal_folder_keeps_the_tenure,
                a_shard_of_another_wal_folder_is_not_granted,
                a_grant_without_a_wal_folder_starts_a_tenure_each_time,
                a_shard_is_not_taken_from_a_living_broker,
                a_shard_is_taken_when_the_lease_is_over,
                a_holder_hands_its_shard_over,
                of_two_takers_one_wins,
                a_dead_life_is_granted_nothing,
                the_lock_of_the_wal_folder_beats_a_lease,
                an_unknown_shard_is_answered_alone,
                grants_remember_where_the_logs_stood,
            }
            manifests {
                manifests_are_read_back_in_order,
                a_commit_of_a_fenced_writer_is_refused_alone,
                a_manifest_that_is_not_next_is_refused,
                manifests_of_one_shard_win_or_lose_together,
                manifests_that_do_not_follow_each_other_are_a_bug,
                an_object_id_is_committed_once,
                a_tombstone_makes_a_commit_fail_whole,
                a_commit_without_a_winner_leaves_no_object,
                the_last_wal_end_of_a_commit_holds,
                a_drained_shard_lets_its_wal_folder_go,
                only_the_end_of_a_drain_lets_the_wal_folder_go,
                an_unknown_commit_is_resolved_by_its_name,
                a_pruned_manifest_is_resolved_by_the_row,
                a_released_object_is_needed_no_more,
                a_checkpoint_points_prunes_and_releases_the_one_before,
                a_checkpoint_of_a_fenced_writer_is_refused,
                a_checkpoint_outside_of_the_log_is_a_bug,
                setting_the_same_checkpoint_again_only_prunes,
                a_checkpoint_prunes_the_grants_that_it_passed,
            }
            objects {
                a_needed_object_is_never_tombstoned,
                an_object_that_was_never_committed_can_be_tombstoned,
                tombstones_are_listed_oldest_first,
                a_forgotten_id_stays_taken_while_its_writer_holds_a_shard,
                objects_are_paged_by_id,
            }
            topics {
                a_topic_is_found_after_a_restart,
                a_name_belongs_to_one_topic,
                names_that_differ_only_in_dot_and_underscore_collide,
                a_deleted_topic_frees_its_name_and_stays_until_every_shard_dropped_it,
                a_drop_noted_under_an_earlier_grant_changes_nothing,
                an_id_is_never_used_twice,
                partitions_are_added_behind_the_others,
                configurations_change_in_order,
                a_partition_needs_a_shard_that_exists,
            }
            groups {
                groups_and_offsets_are_loaded_as_they_were_written,
                a_write_names_the_seq_before_it,
                a_grant_fences_the_coordinator_before,
                writes_of_one_batch_do_not_disturb_each_other,
                what_was_removed_stays_removed,
                the_coordination_row_tells_whose_write_it_was,
            }
            brokers {
                a_restarted_broker_replaces_its_earlier_life,
                a_dead_life_is_never_revived,
                a_twin_is_refused_while_the_lease_holds,
                a_heartbeat_renews_a_lease_that_was_over,
                a_heartbeat_tells_of_the_newest_revision,
                a_life_that_left_is_dead_at_once,
            }
            closing {
                a_closed_store_says_that_nothing_happened,
                writers_at_the_same_time_do_not_lose_each_others_writes,
                changes_wake_whoever_watches,
            }
        }
    };
    (@expand $module:ident, $house:path, $($shelf:ident { $($law:ident,)+ })+) => {
        mod $module {
            $(mod $shelf {
                $(#[tokio::test]
                async fn $law() {
                    if let Some(house) = $house() {
                        crate::conformance::$shelf::$law(house).await;
                    }
                })+
            })+
        }
    };
}

metadata_conformance!(memory_keeps_the_laws, crate::conformance::House::memory);
metadata_conformance!(sqlite_keeps_the_laws, crate::conformance::House::sqlite);
metadata_conformance!(postgres_keeps_the_laws, crate::conformance::House::postgres);
