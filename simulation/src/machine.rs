//! What a broker runs on, and what outlives its processes: a wall clock that may be wrong, and the ways to the database and
//! to the object store, which may be cut.

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use streamhouse_runtime::{Clock, Monotonic};

use crate::executor::SimulatedClock;

/// How the database can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    Fine,
    /// Connections are refused: nothing happens, and the caller knows.
    Refused,
    /// Nothing arrives, and nothing comes back.
    Silent,
    /// What is sent arrives; answers do not.
    NoAnswers,
}

/// One machine. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    skew_ms: i64,
    database: Reach,
    is_cut_from_objects: bool,
    follows_old: bool,
}

impl Machine {
    /// Moves the wall clock of this machine alone.
    pub(crate) fn jump_wall(&self, by_ms: i64) {
        let mut state = self.state.lock();
        state.skew_ms = state.skew_ms.saturating_add(by_ms);
    }

    pub(crate) fn database(&self) -> Reach {
        self.state.lock().database
    }

    pub(crate) fn set_database(&self, reach: Reach) {
        self.state.lock().database = reach;
    }

    pub(crate) fn is_cut_from_objects(&self) -> bool {
        self.state.lock().is_cut_from_objects
    }

    pub(crate) fn set_cut_from_objects(&self, is_cut: bool) {
        self.state.lock().is_cut_from_objects = is_cut;
    }

    /// Whether it talks to a server of the database that is not the primary any more.
    pub(crate) fn follows_old(&self) -> bool {
        self.state.lock().follows_old
    }

    pub(crate) fn follow_old(&self, follows: bool) {
        self.state.lock().follows_old = follows;
    }

    /// Its clock: the time that passes is the same everywhere, the wall clock is its own.
    pub(crate) fn clock(&self, world: &SimulatedClock) -> MachineClock {
        MachineClock {
            world: world.clone(),
            machine: self.clone(),
        }
    }
}

/// The clock of a machine.
#[derive(Clone, Debug)]
pub(crate) struct MachineClock {
    world: SimulatedClock,
    machine: Machine,
}

impl Clock for MachineClock {
    fn monotonic(&self) -> Monotonic {
        self.world.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        let skew = self.machine.state.lock().skew_ms;
        self.world.wall_ms().saturating_add(skew)
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        self.world.sleep_until(deadline)
    }
}
