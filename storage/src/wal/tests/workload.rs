//! One life of a broker on the disk in memory, and the judgement on what a later life finds.

use std::ops::Range;

use streamhouse_runtime::{Chance, SeededChance};

use super::*;

/// What one life appended and was told, with the moments at which it was told.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Everything that was in the log when the life began, and everything that it appended, in order.
    pub(super) records: Vec<(WalLocation, Bytes)>,
    /// The moment at which its recovery was complete.
    pub(super) since: usize,
    /// (moment of the disk, durable up to) for each group.
    durable: Vec<(usize, u64)>,
    /// (moment, recycled to) for each call.
    recycled: Vec<(usize, u64)>,
    /// (moment, how many records had been appended).
    appended: Vec<(usize, usize)>,
}

/// What the state at a moment must at least and may at most hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Records before this may be gone.
    pub(super) may_start: usize,
    /// Records before this (and not recycled) must be there.
    pub(super) must_end: usize,
    /// Records at or behind this did not exist yet.
    pub(super) may_end: usize,
}

fn at(marks: &[(usize, u64)], moment: usize) -> u64 {
    marks
        .iter()
        .filter(|(when, _)| *when <= moment)
        .map(|(_, value)| *value)
        .max()
        .unwrap_or(0)
}

impl Life {
    /// Opens the WAL on `io` and takes over what it holds.
    pub(super) fn begin(io: &CrashIo, seed: u64) -> (Self, Broker) {
        let broker = try_open(Arc::new(io.clone()), small(), seed).unwrap();
        let records: Vec<(WalLocation, Bytes)> = broker
            .replayed
            .iter()
            .map(|record| (record.location, record.payload.clone()))
            .collect();
        // What a recovery has replayed is as good as acknowledged: whoever was told stays told.
        let durable = vec![(0, broker.wal.durable_to().0)];
        let appended = vec![(0, records.len())];
        (
            Self {
                records,
                since: io.moment(),
                durable,
                recycled: Vec::new(),
                appended,
            },
            broker,
        )
    }

    /// Lives for `steps` random steps.
    pub(super) fn live(
        &mut self,
        io: &CrashIo,
        broker: &Broker,
        steps: usize,
        chance: &dyn Chance,
    ) {
        for _ in 0..steps {
            self.step(io, broker, chance);
        }
    }

    fn step(&mut self, io: &CrashIo, broker: &Broker, chance: &dyn Chance) {
        match chance.below(16) {
            0..8 => self.append(io, broker, chance),
            8..12 => {
                self.turn(io, broker);
            }
            12 => {
                broker.clock.advance(Duration::from_millis(20));
                self.turn(io, broker);
            }
            13 => {
                broker.wal.upkeep();
            }
            14 => self.recycle(io, broker, chance),
            _ => broker.wal.set_note(Bytes::from(vec![1; 9])).unwrap(),
        }
    }

    fn append(&mut self, io: &CrashIo, broker: &Broker, chance: &dyn Chance) {
        let len = match chance.below(8) {
            0 => 0,
            1..6 => chance.below(300),
            6 => chance.below(1200),
            _ => chance.below(small().payload_bytes_max() + 1),
        };
        let mut payload = Vec::new();
        while (payload.len() as u64) < len {
            payload.extend_from_slice(&chance.next_u64().to_le_bytes());
        }
        payload.truncate(usize::try_from(len).unwrap());
        let class = if chance.below(4) == 0 {
            AppendClass::Other
        } else {
            AppendClass::Run
        };
        let payload = Bytes::from(payload);
        let head = payload.slice(..payload.len() / 3);
        let body = payload.slice(payload.len() / 3..);
        match broker.wal.append(class, head, body) {
            Ok(location) => self.records.push((location, payload)),
            Err(AppendError::Full | AppendError::Closed) => {}
            Err(AppendError::TooLarge) => panic!("the largest payload is a setting"),
        }
        self.appended.push((io.moment(), self.records.len()));
    }

    pub(super) fn turn(&mut self, io: &CrashIo, broker: &Broker) -> Turn {
        let turn = broker.wal.turn(broker.heard.as_ref());
        // The listener was told before the turn ended; the moment is that of the sync.
        self.durable.push((io.moment(), broker.heard.durable().0));
        turn
    }

    fn recycle(&mut self, io: &CrashIo, broker: &Broker, chance: &dyn Chance) {
        let Some(last) = self.records.len().checked_sub(1) else {
            return;
        };
        let back = usize::try_from(chance.below(20)).unwrap();
        let position = self.records[last.saturating_sub(back)].0.position;
        self.recycled
            .push((io.moment(), position.0.min(broker.wal.durable_to().0)));
        broker.wal.recycle_to(position);
    }

    /// What had been reported durable by then.
    pub(super) fn durable_at(&self, moment: usize) -> WalPosition {
        WalPosition(at(&self.durable, moment))
    }

    pub(super) fn bounds(&self, moment: usize) -> Bounds {
        let (durable, recycled) = (at(&self.durable, moment), at(&self.recycled, moment));
        let below = |position: u64| {
            self.records
                .partition_point(|(location, _)| location.end().0 <= position)
        };
        let appended = self.appended.iter().filter(|(when, _)| *when <= moment);
        Bounds {
            may_start: below(recycled),
            must_end: below(durable),
            may_end: appended.map(|(_, count)| *count).max().unwrap_or(0),
        }
    }

    /// Checks laws 1 to 4 for what was replayed after a crash at `moment`.
    pub(super) fn judge(&self, moment: usize, replayed: &[Replayed]) -> Result<(), String> {
        let bounds = self.bounds(moment);
        let found = match replayed {
            // No records lie wherever they may.
            [] => bounds.may_start..bounds.may_start,
            [first, ..] => self.place_of(first, replayed)?,
        };
        if found.start > bounds.may_start {
            return Err(format!(
                "records {}..{} are lost",
                bounds.may_start, found.start
            ));
        }
        if found.end < bounds.must_end {
            return Err(format!(
                "durable records {}..{} are lost",
                found.end, bounds.must_end
            ));
        }
        if found.end > bounds.may_end {
            return Err(format!("record {} came from the future", found.end));
        }
        Ok(())
    }

    /// Which of the life's records these are: a run without gaps, byte for byte.
    fn place_of(&self, first: &Replayed, replayed: &[Replayed]) -> Result<Range<usize>, String> {
        let start = self
            .records
            .iter()
            .position(|(location, _)| *location == first.location)
            .ok_or_else(|| format!("a ghost at {:?}", first.location))?;
        for (place, record) in (start..).zip(replayed) {
            let Some((location, payload)) = self.records.get(place) else {
                return Err(format!("a ghost at {:?}", record.location));
            };
            if *location != record.location {
                return Err(format!(
                    "{location:?} is missing before {:?}",
                    record.location
                ));
            }
            if *payload != record.payload {
                return Err(format!("{location:?} holds other bytes"));
            }
        }
        Ok(start..start + replayed.len())
    }
}

/// A chance for one case of a generated test.
pub(super) fn chance(test: u64, case: u64) -> SeededChance {
    SeededChance::new(test.wrapping_mul(0x1_0000_0000).wrapping_add(case))
}
