//! The planted bugs, each with the invariant that must turn red.

use crate::invariant::Invariant;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its name, as the code asks for it.
    pub name: &'static str,
    /// What must turn red.
    pub breaks: Invariant,
    /// Where it is planted.
    pub place: &'static str,
}

/// All of them.
pub const BUGS: &[Bug] = &[];
