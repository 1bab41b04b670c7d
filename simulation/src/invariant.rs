//! What must always hold, by number, and how a breach of it is told.

use std::fmt;

/// An invariant of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1: once a shard is granted anew, nobody commits under an earlier grant; epochs never fall along the offsets.
    Fencing,
    /// I2: offsets from the log start to the high watermark follow each other without a gap.
    Contiguity,
    /// I3: an offset means one record for ever.
    SingleBinding,
    /// I4: the objects of everything committed are there, whole.
    NoDangling,
    /// I5: what was acknowledged is there, and what was refused is not.
    Acknowledged,
    /// I6: only what is durable is visible; what an observer saw never goes back.
    Visibility,
    /// I7: a sequence number of a producer is in the log once, and in order.
    Idempotence,
    /// I8: a commit has one effect, however often it was sent.
    CommitOnce,
    /// I9: bytes are deleted only when nobody can need them.
    NoZombieDelete,
    /// I13: committed offsets stay, generations have one owner per partition.
    Groups,
    /// I14: nothing is served from a database that has forgotten what this broker saw in it.
    Regression,
    /// I15: what waits, what is kept in memory and what is kept in the WAL is bounded.
    Bounded,
    /// A broker that lives leaves no object behind that nobody knows of.
    NoLeak,
    /// Only one broker at a time answers for a shard: the one that leads it, and only while its lease holds.
    OneLeader,
    /// When the faults are over, the broker starts, and every shard serves.
    Serves,
}

impl Invariant {
    /// Its number and name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fencing => "I1 fencing",
            Self::Contiguity => "I2 contiguity",
            Self::SingleBinding => "I3 single binding",
            Self::NoDangling => "I4 no dangling object",
            Self::Acknowledged => "I5 acknowledged means kept",
            Self::Visibility => "I6 visibility",
            Self::Idempotence => "I7 idempotence",
            Self::CommitOnce => "I8 commit once",
            Self::NoZombieDelete => "I9 no zombie delete",
            Self::Groups => "I13 groups",
            Self::Regression => "I14 regression",
            Self::Bounded => "I15 bounded resources",
            Self::NoLeak => "no leak",
            Self::OneLeader => "one leader answers",
            Self::Serves => "the broker serves again",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of what.
    pub invariant: Invariant,
    /// What was seen, and what had to be.
    pub what: String,
}

impl Violation {
    /// A breach of `invariant`.
    #[must_use]
    pub fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self {
            invariant,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
