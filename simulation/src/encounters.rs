//! What a default run must have met: rare faults, and what the broker made of them.
//!
//! A fault that was drawn and never mattered shows nothing. So what is counted is not the fault but what followed: a
//! damaged checkpoint counts when a shard has stopped for it, a zombie when the database has refused what it sent. The list
//! is closed, as that of [`crate::sites`], so that what no history ever met can be named.

use std::fmt;

macro_rules! encounters {
    ($($variant:ident = $name:literal;)+) => {
        /// Something rare that happened, and was noticed as it must be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the name says it")]
        pub enum Encounter {
            $($variant,)+
        }

        impl Encounter {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

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
    CheckpointReadWrongOnce = "a checkpoint was gone or wrong once, and right when it was read again";
    ObjectRefused = "a read met a damaged object and was refused";
    CheckpointDamaged = "a shard stopped for its damaged checkpoint";
    ManifestDamaged = "a shard stopped for a damaged manifest";
    SetAside = "a broker started with records in files of their own";
    CameBack = "a shard came back with records that had been set aside";
    WalDamaged = "a start was refused for a damaged WAL";
    OlderDatabase = "a start was refused for an older database";
    FlushForgotten = "the database forgot a flush";
    StoppedRunning = "a shard stopped while the broker ran, for the flush that was forgotten";
    DatabaseAccepted = "it was accepted that the database is older than the objects";
    LossNamed = "a shard stopped at the start for records that do not follow the database";
    LossAccepted = "a loss was accepted, and the shard served again";
    FlushCameBack = "a flush that the database forgot came back from the WAL";
    ZombieUpload = "a zombie uploaded an object";
    ZombieCommit = "a zombie's commit was refused";
    ZombieCheckpoint = "a zombie's checkpoint was refused";
    ZombieGroups = "a zombie's group write was refused";
    ZombieSweep = "a zombie looked for garbage";
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

    /// What no history met.
    #[must_use]
    pub fn never_met(&self) -> Vec<Encounter> {
        let never = self.iter().filter(|(_, count)| *count == 0);
        never.map(|(encounter, _)| encounter).collect()
    }
}
