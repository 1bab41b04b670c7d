//! The places where a simulated broker may die: every call that it makes to its disk, its object store and its
//! database, before, in the middle of and after it, and every await.
//!
//! Calls of a recovery are places of their own: the code around them is other code. The list is closed, so that a place
//! at which no history ever crashed can be named.

use std::fmt;

macro_rules! sites {
    ($($variant:ident = $name:literal, halves $halves:literal;)+) => {
        /// A place where a broker may die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the name says it: room, then call")]
        pub enum Site {
            $($variant,)+
        }

        impl Site {
            /// Every place.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

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
    GroupWrite = "wal/group/write", halves true;
    GroupSync = "wal/group/sync", halves false;
    FileHeaderWrite = "wal/file/header-write", halves true;
    FileHeaderSync = "wal/file/header-sync", halves false;
    FileRename = "wal/file/rename", halves false;
    FileSyncFolder = "wal/file/sync-folder", halves false;
    RecycleRename = "wal/recycle/rename", halves false;
    RecycleRemove = "wal/recycle/remove", halves false;
    RecycleSyncFolder = "wal/recycle/sync-folder", halves false;
    SpareCreate = "wal/spare/create", halves false;
    SpareReserve = "wal/spare/reserve", halves false;
    SpareFill = "wal/spare/fill", halves true;
    SpareSync = "wal/spare/sync", halves false;
    SpareRename = "wal/spare/rename", halves false;
    SpareSyncFolder = "wal/spare/sync-folder", halves false;
    AsideCreate = "wal/aside/create", halves false;
    AsideReserve = "wal/aside/reserve", halves false;
    AsideWrite = "wal/aside/write", halves true;
    AsideSync = "wal/aside/sync", halves false;
    AsideRename = "wal/aside/rename", halves false;
    AsideSyncFolder = "wal/aside/sync-folder", halves false;
    RecoverySync = "recovery/wal/sync-before-read", halves false;
    RecoveryCreate = "recovery/wal/create", halves false;
    RecoveryReserve = "recovery/wal/reserve", halves false;
    RecoveryHeaderWrite = "recovery/wal/header-write", halves true;
    RecoveryHeaderSync = "recovery/wal/header-sync", halves false;
    RecoveryRename = "recovery/wal/rename-or-remove", halves false;
    RecoverySyncFolder = "recovery/wal/sync-folder", halves false;
    RecoveryTopics = "recovery/metadata/topics", halves false;
    RecoveryShards = "recovery/metadata/shards", halves false;
    RecoveryGrant = "recovery/metadata/grant", halves false;
    RecoveryManifests = "recovery/metadata/manifests", halves false;
    RecoveryCheckpoint = "recovery/objects/checkpoint", halves false;
    RecoveryGroups = "recovery/metadata/groups", halves false;
    FlushPut = "flush/objects/put", halves false;
    FlushPartsBegin = "flush/objects/begin-parts", halves false;
    FlushPart = "flush/objects/part", halves false;
    FlushComplete = "flush/objects/complete", halves false;
    FlushRevision = "flush/metadata/revision", halves false;
    FlushSeq = "flush/metadata/coordination-seq", halves false;
    Commit = "flush/metadata/commit", halves false;
    ReadBack = "flush/metadata/read-back", halves false;
    CheckpointPut = "checkpoint/objects/put", halves false;
    CheckpointSet = "checkpoint/metadata/set", halves false;
    Read = "read/objects/get", halves false;
    SweepUnreferenced = "sweep/metadata/unreferenced", halves false;
    SweepTombstone = "sweep/metadata/tombstone", halves false;
    SweepDue = "sweep/metadata/tombstones-due", halves false;
    SweepConfirm = "sweep/metadata/is-tombstone", halves false;
    SweepDelete = "sweep/objects/delete", halves false;
    SweepForget = "sweep/metadata/forget", halves false;
    OrphansGrants = "orphans/metadata/grants", halves false;
    OrphansKnown = "orphans/metadata/objects", halves false;
    OrphansList = "orphans/objects/list", halves false;
    GroupsWrite = "groups/metadata/write", halves false;
    GroupsReadShard = "groups/metadata/read-shard", halves false;
    TopicCreate = "topics/metadata/create", halves false;
    TopicDelete = "topics/metadata/delete", halves false;
    TopicDropRecorded = "topics/metadata/drop-recorded", halves false;
    TopicRead = "topics/metadata/read", halves false;
    Await = "await", halves false;
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

    /// Places at which no broker ever died.
    #[must_use]
    pub fn never_struck(&self) -> Vec<Site> {
        let never = self.iter().filter(|(_, _, struck)| *struck == 0);
        never.map(|(site, _, _)| site).collect()
    }
}
