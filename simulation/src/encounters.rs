//! What a default run must have met: rare faults, and what the broker made of them.
//!
//! A fault that was drawn and never mattered shows nothing. So what is counted is not the fault but what followed: a
//! damaged checkpoint counts when a shard has stopped for it, a zombie when the database has refused what it sent. The list
//! is closed, as that of [`crate::sites`], so that what no history ever met can be named.

use std::fmt;

use crate::scenario::Scenario;

macro_rules! encounters {
    ($($variant:ident = $name:literal, in $worlds:ident;)+) => {
        /// Something rare that happened, and was noticed as it must be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the name says it")]
        pub enum Encounter {
            $($variant,)+
        }

        impl Encounter {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// In which kind of world it happens.
            #[must_use]
            pub const fn scenario(self) -> Scenario {
                match self {
                    $(Self::$variant => Scenario::$worlds,)+
                }
            }

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

encounters! {
    CheckpointReadWrongOnce = "a checkpoint was gone or wrong once, and right when it was read again", in Single;
    ObjectRefused = "a read met a damaged object and was refused", in Single;
    CheckpointDamaged = "a shard stopped for its damaged checkpoint", in Single;
    ManifestDamaged = "a shard stopped for a damaged manifest", in Single;
    SetAside = "a broker started with records in files of their own", in Single;
    CameBack = "a shard came back with records that had been set aside", in Single;
    WalDamaged = "a start was refused for a damaged WAL", in Single;
    OlderDatabase = "a start was refused for an older database", in Single;
    FlushForgotten = "the database forgot a flush", in Single;
    StoppedRunning = "a shard stopped while the broker ran, for the flush that was forgotten", in Single;
    DatabaseAccepted = "it was accepted that the database is older than the objects", in Single;
    LossNamed = "a shard stopped at the start for records that do not follow the database", in Single;
    LossAccepted = "a loss was accepted, and the shard served again", in Single;
    FlushCameBack = "a flush that the database forgot came back from the WAL", in Single;
    ZombieUpload = "a zombie uploaded an object", in Single;
    ZombieCommit = "a zombie's commit was refused", in Single;
    ZombieCheckpoint = "a zombie's checkpoint was refused", in Single;
    ZombieGroups = "a zombie's group write was refused", in Single;
    ZombieSweep = "a zombie looked for garbage", in Single;
    TakenOver = "a shard of another life was taken over", in Cluster;
    HandedOver = "a shard was handed over", in Cluster;
    PausedOverLease = "a leader stood still until its lease was over", in Cluster;
    FencedCommit = "a commit was refused, whose shard was led by somebody else", in Cluster;
    HalfCommit = "some shards of a flush were refused, and others were not", in Cluster;
    UnknownCommitHappened = "a commit without an answer was found to have happened", in Cluster;
    LateCommitHappened = "a commit without an answer happened late", in Cluster;
    LateCommitRefused = "a commit without an answer came late, and was refused", in Cluster;
    SplitBrain = "some brokers went on talking to an old primary", in Cluster;
    SuffixLost = "a replica took over that lacked commits", in Cluster;
    Repaired = "commits that were lost were brought back from the objects", in Cluster;
    RepairDied = "a repair died on its way, and was begun again", in Cluster;
    FoundInObjects = "a new leader found in the objects what the database lacks", in Cluster;
    RegressionNoticed = "a broker noticed that commits which it saw are gone", in Cluster;
    TwinRefused = "a twin was refused", in Cluster;
    LateGrant = "a shard was led again under a new grant, since the request for the one before had no answer", in Cluster;
    GroupsMoved = "a group went on at another broker", in Cluster;
}

impl fmt::Display for Encounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncounterCounts(Vec<u64>);

impl Default for EncounterCounts {
    fn default() -> Self {
        Self(vec![0; Encounter::ALL.len()])
    }
}

impl EncounterCounts {
    /// It happened.
    pub fn met(&mut self, encounter: Encounter) {
        self.0[encounter as usize] += 1;
    }

    /// Adds what another world counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// Each with how often it was met.
    pub fn iter(&self) -> impl Iterator<Item = (Encounter, u64)> {
        let counted = |encounter: &Encounter| (*encounter, self.0[*encounter as usize]);
        Encounter::ALL.iter().map(counted)
    }

    /// What no history of this kind met.
    #[must_use]
    pub fn never_met(&self, scenario: Scenario) -> Vec<Encounter> {
        let never = self
            .iter()
            .filter(|(encounter, count)| *count == 0 && encounter.scenario() == scenario);
        never.map(|(encounter, _)| encounter).collect()
    }
}
