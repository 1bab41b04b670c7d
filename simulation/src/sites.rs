//! The places where a simulated broker may die: every call that it makes to its disk, its object store and its
//! database, before, in the middle of and after it, and every await.
//!
//! Calls of a recovery are places of their own: the code around them is other code. The list is closed, so that a place
//! at which no history ever crashed can be named.

use std::fmt;

use crate::scenario::Scenario;

const SINGLE: &[Scenario] = &[Scenario::Single];
const CLUSTER: &[Scenario] = &[Scenario::Cluster];
const BOTH: &[Scenario] = Scenario::ALL;

macro_rules! sites {
    ($($variant:ident = $name:literal, halves $halves:literal, in $worlds:ident;)+) => {
        /// A place where a broker may die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the name says it: room, then call")]
        pub enum Site {
            $($variant,)+
        }

        impl Site {
            /// Every place.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The places that brokers pass in worlds of a kind.
            #[must_use]
            pub fn of(scenario: Scenario) -> Vec<Self> {
                let all = [$((Self::$variant, $worlds),)+];
                let passed = all.into_iter().filter(|(_, worlds)| worlds.contains(&scenario));
                passed.map(|(site, _)| site).collect()
            }

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Whether the call can happen in part.
            #[must_use]
            pub const fn has_half(self) -> bool {
                match self {
                    $(Self::$variant => $halves,)+
                }
            }
        }
    };
}

sites! {
    GroupWrite = "wal/group/write", halves true, in SINGLE;
    GroupSync = "wal/group/sync", halves false, in SINGLE;
    FileHeaderWrite = "wal/file/header-write", halves true, in SINGLE;
    FileHeaderSync = "wal/file/header-sync", halves false, in SINGLE;
    FileRename = "wal/file/rename", halves false, in SINGLE;
    FileSyncFolder = "wal/file/sync-folder", halves false, in SINGLE;
    RecycleRename = "wal/recycle/rename", halves false, in SINGLE;
    RecycleRemove = "wal/recycle/remove", halves false, in SINGLE;
    RecycleSyncFolder = "wal/recycle/sync-folder", halves false, in SINGLE;
    SpareCreate = "wal/spare/create", halves false, in SINGLE;
    SpareReserve = "wal/spare/reserve", halves false, in SINGLE;
    SpareFill = "wal/spare/fill", halves true, in SINGLE;
    SpareSync = "wal/spare/sync", halves false, in SINGLE;
    SpareRename = "wal/spare/rename", halves false, in SINGLE;
    SpareSyncFolder = "wal/spare/sync-folder", halves false, in SINGLE;
    AsideCreate = "wal/aside/create", halves false, in SINGLE;
    AsideReserve = "wal/aside/reserve", halves false, in SINGLE;
    AsideWrite = "wal/aside/write", halves true, in SINGLE;
    AsideSync = "wal/aside/sync", halves false, in SINGLE;
    AsideRename = "wal/aside/rename", halves false, in SINGLE;
    AsideSyncFolder = "wal/aside/sync-folder", halves false, in SINGLE;
    RecoverySync = "recovery/wal/sync-before-read", halves false, in SINGLE;
    RecoveryCreate = "recovery/wal/create", halves false, in SINGLE;
    RecoveryReserve = "recovery/wal/reserve", halves false, in SINGLE;
    RecoveryHeaderWrite = "recovery/wal/header-write", halves true, in SINGLE;
    RecoveryHeaderSync = "recovery/wal/header-sync", halves false, in SINGLE;
    RecoveryRename = "recovery/wal/rename-or-remove", halves false, in SINGLE;
    RecoverySyncFolder = "recovery/wal/sync-folder", halves false, in SINGLE;
    RecoveryTopics = "recovery/metadata/topics", halves false, in SINGLE;
    RecoveryShards = "recovery/metadata/shards", halves false, in BOTH;
    RecoveryGrant = "recovery/metadata/grant", halves false, in BOTH;
    RecoveryManifests = "recovery/metadata/manifests", halves false, in SINGLE;
    RecoveryCheckpoint = "recovery/objects/checkpoint", halves false, in BOTH;
    RecoveryGroups = "recovery/metadata/groups", halves false, in BOTH;
    FlushPut = "flush/objects/put", halves false, in BOTH;
    FlushPartsBegin = "flush/objects/begin-parts", halves false, in BOTH;
    FlushPart = "flush/objects/part", halves false, in BOTH;
    FlushComplete = "flush/objects/complete", halves false, in BOTH;
    FlushRevision = "flush/metadata/revision", halves false, in BOTH;
    FlushSeq = "flush/metadata/coordination-seq", halves false, in BOTH;
    Commit = "flush/metadata/commit", halves false, in BOTH;
    ReadBack = "flush/metadata/read-back", halves false, in BOTH;
    CheckpointPut = "checkpoint/objects/put", halves false, in BOTH;
    CheckpointSet = "checkpoint/metadata/set", halves false, in BOTH;
    Read = "read/objects/get", halves false, in BOTH;
    SweepUnreferenced = "sweep/metadata/unreferenced", halves false, in BOTH;
    SweepTombstone = "sweep/metadata/tombstone", halves false, in BOTH;
    SweepDue = "sweep/metadata/tombstones-due", halves false, in BOTH;
    SweepConfirm = "sweep/metadata/is-tombstone", halves false, in BOTH;
    SweepDelete = "sweep/objects/delete", halves false, in BOTH;
    SweepForget = "sweep/metadata/forget", halves false, in BOTH;
    OrphansGrants = "orphans/metadata/grants", halves false, in BOTH;
    OrphansKnown = "orphans/metadata/objects", halves false, in BOTH;
    OrphansList = "orphans/objects/list", halves false, in BOTH;
    GroupsWrite = "groups/metadata/write", halves false, in BOTH;
    GroupsReadShard = "groups/metadata/read-shard", halves false, in BOTH;
    TopicCreate = "topics/metadata/create", halves false, in BOTH;
    TopicDelete = "topics/metadata/delete", halves false, in BOTH;
    TopicDropRecorded = "topics/metadata/drop-recorded", halves false, in BOTH;
    TopicRead = "topics/metadata/read", halves false, in BOTH;
    LifeRegister = "life/metadata/register", halves false, in CLUSTER;
    LifeBeat = "life/metadata/heartbeat", halves false, in CLUSTER;
    LifeLeave = "life/metadata/leave", halves false, in CLUSTER;
    LifeLiving = "life/metadata/living", halves false, in CLUSTER;
    LifeUndead = "life/metadata/undead", halves false, in CLUSTER;
    Await = "await", halves false, in BOTH;
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When, seen from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It has not happened.
    Before,
    /// A part of it has.
    Half,
    /// It has happened, and the caller does not know yet.
    After,
}

/// How often each place was passed, and how often a broker died there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteCounts {
    passed: Vec<u64>,
    struck: Vec<u64>,
}

impl Default for SiteCounts {
    fn default() -> Self {
        Self {
            passed: vec![0; Site::ALL.len()],
            struck: vec![0; Site::ALL.len()],
        }
    }
}

impl SiteCounts {
    /// A call was begun.
    pub fn passed(&mut self, site: Site) {
        self.passed[site as usize] += 1;
    }

    /// A broker died.
    pub fn struck(&mut self, site: Site) {
        self.struck[site as usize] += 1;
    }

    /// Adds what another world counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.passed.iter_mut().zip(&other.passed) {
            *sum += more;
        }
        for (sum, more) in self.struck.iter_mut().zip(&other.struck) {
            *sum += more;
        }
    }

    /// Each place with how often it was passed and how often it was deadly.
    pub fn iter(&self) -> impl Iterator<Item = (Site, u64, u64)> {
        Site::ALL.iter().map(|site| {
            (
                *site,
                self.passed[*site as usize],
                self.struck[*site as usize],
            )
        })
    }

    /// Places at which no broker ever died in worlds of this kind.
    #[must_use]
    pub fn never_struck(&self, scenario: Scenario) -> Vec<Site> {
        let mut never = Site::of(scenario);
        never.retain(|site| self.struck[*site as usize] == 0);
        never
    }
}
