//! The two kinds of worlds: one broker on its disk, and several brokers over one database and one object store.

use std::fmt;

use crate::plan::{self, Operation};
use crate::run::{Outcome, run_with};
use crate::{cluster, run};

/// A kind of world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// One broker with `local` durability.
    #[default]
    Single,
    /// Three brokers with `shared` durability.
    Cluster,
}

impl Scenario {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Single, Self::Cluster];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Cluster => "cluster",
        }
    }

    /// The history of `seed` with that many operations of clients.
    #[must_use]
    pub fn history(self, seed: u64, operations: usize) -> Vec<Operation> {
        match self {
            Self::Single => plan::history(seed, operations),
            Self::Cluster => cluster::plan::history(seed, operations),
        }
    }

    /// Lets `operations` happen in the world of `seed`.
    #[must_use]
    pub fn run(self, seed: u64, operations: &[Operation], is_logged: bool) -> Outcome {
        match self {
            Self::Single => run_with(self, seed, is_logged, |world| run::live(world, operations)),
            Self::Cluster => run_with(self, seed, is_logged, |world| {
                cluster::run::live(world, operations);
            }),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
