//! The files in use: which position lies in which file, which files wait to be recycled, which are spare.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{WalFile, WalPosition};

/// A file of the log. Whoever holds a clone of the `Arc` pins it: it is not recycled before the clone is dropped.
#[derive(Debug)]
pub(super) struct LiveFile {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) base: WalPosition,
    pub(super) salt: u64,
    /// Its length, which was a setting when it was made.
    pub(super) file_bytes: u64,
    pub(super) file: Arc<dyn WalFile>,
}

/// A file that waits to be used. Its bytes are zeros or of an earlier use; its name is durable.
#[derive(Debug)]
pub(super) struct SpareFile {
    pub(super) name: String,
    pub(super) file: Arc<dyn WalFile>,
    /// Whether its blocks were written before, so that syncs into it are fast.
    pub(super) is_filled: bool,
}

/// A live file and where its records end; `None` for the file that is being written.
#[derive(Debug)]
struct Slot {
    live: Arc<LiveFile>,
    end: Option<WalPosition>,
}

/// A file that nobody needs, to be recycled when nobody reads it.
#[derive(Debug)]
pub(super) struct RetiredFile {
    pub(super) live: Arc<LiveFile>,
    /// Bytes of records in it.
    pub(super) bytes: u64,
}

/// A file with the records that were set aside for one owner.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) owner: u32,
    pub(super) name: String,
    pub(super) file: Arc<dyn WalFile>,
    pub(super) salt: u64,
    /// Position and offset in the file of each record, in order.
    places: Vec<(u64, u64)>,
}

impl Aside {
    pub(super) fn new(name: String, file: Arc<dyn WalFile>, salt: u64) -> Self {
        Self {
            owner: 0,
            name,
            file,
            salt,
            places: Vec::new(),
        }
    }

    pub(super) fn owned_by(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// Adds a record behind all others.
    pub(super) fn push(&mut self, position: u64, offset: u64) {
        self.places.push((position, offset));
    }

    /// Where in the file the record with this position lies.
    pub(super) fn offset_of(&self, position: u64) -> Option<u64> {
        let place = self
            .places
            .binary_search_by_key(&position, |(position, _)| *position);
        Some(self.places[place.ok()?].1)
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.iter().map(|(position, _)| *position)
    }
}

/// All files of one WAL. Guarded by one lock, which is never held over IO.
#[derive(Debug, Default)]
pub(super) struct Files {
    slots: BTreeMap<u64, Slot>,
    retired: VecDeque<RetiredFile>,
    spares: VecDeque<SpareFile>,
    /// By owner.
    asides: BTreeMap<u32, Aside>,
    next_serial: u64,
}

impl Files {
    pub(super) fn new(next_serial: u64) -> Self {
        Self {
            next_serial,
            ..Self::default()
        }
    }

    /// A name's number that no spare had yet.
    pub(super) fn take_serial(&mut self) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        serial
    }

    /// Adds the file that is written from now on, and closes the one before it at `end`.
    pub(super) fn begin(&mut self, live: Arc<LiveFile>, end: WalPosition) {
        if let Some(mut last) = self.slots.last_entry() {
            last.get_mut().end.get_or_insert(end);
        }
        self.slots.insert(live.base.0, Slot { live, end: None });
    }

    /// Adds a file that recovery read, whose records end at `end`.
    pub(super) fn add_closed(&mut self, live: Arc<LiveFile>, end: WalPosition) {
        self.slots.insert(
            live.base.0,
            Slot {
                live,
                end: Some(end),
            },
        );
    }

    /// Adds a file that holds nothing.
    pub(super) fn add_retired(&mut self, live: Arc<LiveFile>) {
        self.retired.push_back(RetiredFile { live, bytes: 0 });
    }

    /// The file in which `position` lies, pinned.
    pub(super) fn pin(&self, position: WalPosition) -> Option<Arc<LiveFile>> {
        let mut asides = self.asides.values();
        if let Some(view) = asides.find_map(|aside| aside.view(position)) {
            return Some(view);
        }
        let (_, slot) = self.slots.range(..=position.0).next_back()?;
        let inside = slot.end.is_none_or(|end| position < end);
        inside.then(|| Arc::clone(&slot.live))
    }

    /// Adds the file of an owner, in place of the one before.
    pub(super) fn put_aside(&mut self, aside: Aside) {
        self.asides.insert(aside.owner, aside);
    }

    /// The file of an owner.
    pub(super) fn aside(&self, owner: u32) -> Option<&Aside> {
        self.asides.get(&owner)
    }

    /// Retires every closed file that ends at or below `position`, oldest first; true if there was one.
    pub(super) fn retire_below(&mut self, position: WalPosition) -> bool {
        let mut any = false;
        while let Some(oldest) = self.slots.first_entry() {
            let Some(end) = oldest.get().end.filter(|end| *end <= position) else {
                break;
            };
            let slot = oldest.remove();
            let bytes = end.0 - slot.live.base.0;
            self.retired.push_back(RetiredFile {
                live: slot.live,
                bytes,
            });
            any = true;
        }
        any
    }

    /// The oldest retired file, if nobody has it pinned. Later ones wait for it: recycling goes in order.
    pub(super) fn take_unpinned(&mut self) -> Option<RetiredFile> {
        // Retired files are not in `slots`, so that nobody can pin them any more: a count of one stays one.
        let is_free = self
            .retired
            .front()
            .is_some_and(|file| Arc::strong_count(&file.live) == 1);
        if is_free {
            self.retired.pop_front()
        } else {
            None
        }
    }

    /// Puts a file back that could not be recycled.
    pub(super) fn put_back(&mut self, file: RetiredFile) {
        self.retired.push_front(file);
    }

    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    pub(super) fn add_spare(&mut self, spare: SpareFile) {
        self.spares.push_back(spare);
    }

    pub(super) fn take_spare(&mut self) -> Option<SpareFile> {
        // Those that were made in haste are left for when there is nothing better.
        let best = self
            .spares
            .iter()
            .position(|spare| spare.is_filled)
            .unwrap_or(0);
        self.spares.remove(best)
    }

    pub(super) fn spare_count(&self) -> usize {
        self.spares.len()
    }
}
