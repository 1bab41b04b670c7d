//! What the tests of the WAL share: folders, a broker's small world, a listener that remembers.

mod accounting;
mod aside;
mod crashes;
mod damage;
mod faults;
mod laws;
mod missing;
mod restarts;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, ManualClock, SeededChance, Tasks};

use super::crash::CrashIo;
use super::*;

pub(super) const IDENTITY: WalIdentity = WalIdentity {
    cluster: 0xc1,
    dir: 0xd1,
    incarnation: 1,
};
pub(super) const FILE: u64 = 8192;

/// How many times the default number of generated cases to run: `STREAMHOUSE_TEST_SCALE`, default 1.
pub(super) fn scale() -> usize {
    std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
}

/// Files of two blocks, so that a few records fill one.
pub(super) fn small() -> WalSettings {
    WalSettings {
        file_bytes: FILE,
        cap_bytes: 8 * FILE,
        entries_max: 1000,
        pool_files: 3,
        ..WalSettings::new("/wal")
    }
}

/// A listener that remembers what it heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) events: Mutex<Vec<Event>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Written(WalPosition),
    Durable(WalPosition),
    Failed(&'static str),
}

impl Heard {
    pub(super) fn durable(&self) -> WalPosition {
        let events = self.events.lock();
        let durable = events.iter().filter_map(|event| match event {
            Event::Durable(up_to) => Some(*up_to),
            Event::Written(_) | Event::Failed(_) => None,
        });
        durable.max().unwrap_or_default()
    }

    pub(super) fn failures(&self) -> usize {
        self.events
            .lock()
            .iter()
            .filter(|event| matches!(event, Event::Failed(_)))
            .count()
    }
}

impl WalListener for Heard {
    fn written(&self, up_to: WalPosition) {
        self.events.lock().push(Event::Written(up_to));
    }

    fn durable(&self, up_to: WalPosition) {
        self.events.lock().push(Event::Durable(up_to));
    }

    fn failed(&self, error: &WalFailure) {
        self.events.lock().push(Event::Failed(error.operation));
    }
}

/// An opened WAL with everything around it, driven by hand.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) wal: Wal,
    pub(super) recovery: Recovery,
    pub(super) replayed: Vec<Replayed>,
    pub(super) heard: Arc<Heard>,
    pub(super) clock: ManualClock,
}

pub(super) fn ambient(seed: u64) -> (Ambient, ManualClock) {
    let clock = ManualClock::new(0);
    let chance = Arc::new(SeededChance::new(seed));
    (
        Ambient {
            clock: Arc::new(clock.clone()),
            chance,
            tasks: Tasks::new(),
        },
        clock,
    )
}

pub(super) fn try_open(
    io: Arc<dyn WalIo>,
    settings: WalSettings,
    seed: u64,
) -> Result<Broker, WalOpenError> {
    let (ambient, clock) = ambient(seed);
    let mut replayed = Vec::new();
    let (wal, recovery) = Wal::open(io, settings, IDENTITY, ambient, &mut |record| {
        replayed.push(record);
        ReplayVerdict::Keep
    })?;
    Ok(Broker {
        wal,
        recovery,
        replayed,
        heard: Arc::default(),
        clock,
    })
}

pub(super) fn open(io: &CrashIo) -> Broker {
    try_open(Arc::new(io.clone()), small(), 7).unwrap()
}

impl Broker {
    pub(super) fn try_append(&self, payload: &[u8]) -> Result<WalLocation, AppendError> {
        self.wal.append(
            AppendClass::Run,
            Bytes::new(),
            Bytes::copy_from_slice(payload),
        )
    }

    /// Appends; when there is no spare for the next file, lets the WAL make one first.
    pub(super) fn append(&self, payload: &[u8]) -> WalLocation {
        self.try_append(payload).unwrap_or_else(|_| {
            self.write_all();
            self.keep_up();
            self.try_append(payload).unwrap()
        })
    }

    /// Turns until nothing is left to write now.
    pub(super) fn write_all(&self) {
        while matches!(self.wal.turn(self.heard.as_ref()), Turn::Wrote { .. }) {}
    }

    /// Lets the time of the seal come, and writes it.
    pub(super) fn seal(&self) {
        self.write_all();
        self.clock.advance(Duration::from_millis(20));
        self.write_all();
    }

    /// Does all upkeep that can be done.
    pub(super) fn keep_up(&self) {
        while self.wal.upkeep() {}
    }

    pub(super) fn payloads(&self) -> Vec<&[u8]> {
        self.replayed
            .iter()
            .map(|record| record.payload.as_ref())
            .collect()
    }
}
