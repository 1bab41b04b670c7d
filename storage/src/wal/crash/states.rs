//! From a disk's log to the states that a crash may leave behind.

use std::collections::BTreeMap;

use streamhouse_runtime::Chance;

use super::disk::{CrashIo, Image, Op};

const SECTOR: usize = 512;

/// How the disk forgets what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// The process died, the system lived: every write is there.
    Kill,
    /// The power went: nothing that was not synced is there.
    Forget,
    /// The power went: any subset of un-synced sectors and of un-synced names is there, each sector in any version.
    Sectors,
    /// The power went while writes were carried out in order: the last one that began is torn at any byte.
    Torn,
}

impl CrashStyle {
    /// All styles.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Forget, Self::Sectors, Self::Torn];
}

/// All that happened to a disk, in order.
#[derive(Clone, Debug)]
pub struct History {
    start: Image,
    log: Vec<Op>,
}

impl History {
    pub(super) fn new(start: Image, log: Vec<Op>) -> Self {
        Self { start, log }
    }

    /// How many operations there are; moments are `0..=len`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// A cursor at moment zero.
    #[must_use]
    pub fn cursor(&self) -> CrashCursor<'_> {
        let mut durable = self.start.files.clone();
        let files = self
            .log
            .iter()
            .filter(|op| matches!(op, Op::Create { .. }))
            .count();
        durable.resize(
            durable.len().max(self.start.files.len() + files),
            Vec::new(),
        );
        let pending = vec![Vec::new(); durable.len()];
        let durable = Image {
            files: durable,
            names: self.start.names.clone(),
        };
        CrashCursor {
            history: self,
            at: 0,
            durable,
            pending,
            pending_names: Vec::new(),
        }
    }

    /// The state that a crash at `moment` may leave, drawn by `chance`.
    #[must_use]
    pub fn crash_at(&self, moment: usize, style: CrashStyle, chance: &dyn Chance) -> CrashIo {
        let mut cursor = self.cursor();
        while cursor.moment() < moment && cursor.advance() {}
        cursor.crash(style, chance)
    }
}

/// Walks through a history and materialises crash states at each moment.
#[derive(Debug)]
pub struct CrashCursor<'a> {
    history: &'a History,
    at: usize,
    /// What every crash state at this moment holds.
    durable: Image,
    /// Per file the operations since its last sync, as places in the log.
    pending: Vec<Vec<usize>>,
    /// Operations on names since the last sync of the folder.
    pending_names: Vec<usize>,
}

impl CrashCursor<'_> {
    /// How many operations have happened.
    #[must_use]
    pub fn moment(&self) -> usize {
        self.at
    }

    /// Lets one more operation happen; false at the end.
    pub fn advance(&mut self) -> bool {
        let Some(op) = self.history.log.get(self.at) else {
            return false;
        };
        match op {
            Op::Write { file, .. } | Op::SetLen { file, .. } => self.pending[*file].push(self.at),
            Op::Sync { file } => {
                for place in std::mem::take(&mut self.pending[*file]) {
                    apply(&self.history.log[place], &mut self.durable.files[*file]);
                }
            }
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => {
                self.pending_names.push(self.at);
            }
            Op::SyncDir => {
                for place in std::mem::take(&mut self.pending_names) {
                    apply_name(&self.history.log[place], &mut self.durable.names);
                }
            }
        }
        self.at += 1;
        true
    }

    /// What a crash at this moment may leave behind.
    #[must_use]
    pub fn crash(&self, style: CrashStyle, chance: &dyn Chance) -> CrashIo {
        let mut image = self.durable.clone();
        match style {
            CrashStyle::Forget => {}
            CrashStyle::Kill => self.keep_until(self.at, &mut image),
            CrashStyle::Torn => self.tear(&mut image, chance),
            CrashStyle::Sectors => {
                self.keep_some_names(&mut image, chance);
                for (file, places) in self.pending.iter().enumerate() {
                    self.keep_some_sectors(places, &mut image.files[file], chance);
                }
            }
        }
        CrashIo::from_image(image)
    }

    /// Applies every pending operation before `end`, in order.
    fn keep_until(&self, end: usize, image: &mut Image) {
        for (file, places) in self.pending.iter().enumerate() {
            for place in places.iter().filter(|place| **place < end) {
                apply(&self.history.log[*place], &mut image.files[file]);
            }
        }
        for place in self.pending_names.iter().filter(|place| **place < end) {
            apply_name(&self.history.log[*place], &mut image.names);
        }
    }

    fn tear(&self, image: &mut Image, chance: &dyn Chance) {
        let mut places: Vec<usize> = self.pending.iter().flatten().copied().collect();
        places.extend(&self.pending_names);
        places.sort_unstable();
        if places.is_empty() {
            return;
        }
        let last = places[below(chance, places.len())];
        self.keep_until(last, image);
        if let Op::Write {
            file,
            offset,
            bytes,
        } = &self.history.log[last]
        {
            let torn = Op::Write {
                file: *file,
                offset: *offset,
                bytes: bytes[..below(chance, bytes.len() + 1)].to_vec(),
            };
            apply(&torn, &mut image.files[*file]);
        }
    }

    fn keep_some_names(&self, image: &mut Image, chance: &dyn Chance) {
        for place in &self.pending_names {
            if chance.below(2) == 0 {
                apply_name(&self.history.log[*place], &mut image.names);
            }
        }
    }

    fn keep_some_sectors(&self, places: &[usize], content: &mut Vec<u8>, chance: &dyn Chance) {
        // Some states keep nearly all, some nearly nothing: a fair coin per sector would never show a long prefix.
        let odds = 1 + chance.below(9);
        let mut kept: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        for place in places {
            match &self.history.log[*place] {
                Op::Write { offset, bytes, .. } => {
                    split_by_sector(
                        usize::try_from(*offset).unwrap_or(usize::MAX),
                        bytes,
                        &mut kept,
                    );
                }
                Op::SetLen { .. } if chance.below(10) < odds => {
                    apply(&self.history.log[*place], content);
                }
                Op::SetLen { .. }
                | Op::Sync { .. }
                | Op::Create { .. }
                | Op::Rename { .. }
                | Op::Remove { .. }
                | Op::SyncDir => {}
            }
        }
        for versions in kept.values() {
            let count = if chance.below(10) < odds {
                1 + below(chance, versions.len())
            } else {
                0
            };
            for (at, bytes) in &versions[..count] {
                write_inside(content, *at, bytes);
            }
        }
    }
}

/// Cuts a write into the pieces that lie in one sector each.
fn split_by_sector<'a>(
    offset: usize,
    bytes: &'a [u8],
    sectors: &mut BTreeMap<usize, Vec<(usize, &'a [u8])>>,
) {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
        sectors.entry(at / SECTOR).or_default().push((at, piece));
        at += piece.len();
        rest = behind;
    }
}

/// Writes as far as the file goes: a file whose new length was lost has no place for the rest.
fn write_inside(content: &mut [u8], at: usize, bytes: &[u8]) {
    if at < content.len() {
        let end = content.len().min(at + bytes.len());
        content[at..end].copy_from_slice(&bytes[..end - at]);
    }
}

fn apply(op: &Op, content: &mut Vec<u8>) {
    match op {
        Op::Write { offset, bytes, .. } => {
            let at = usize::try_from(*offset).unwrap_or(usize::MAX);
            if content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Op::SetLen { len, .. } => content.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        Op::Sync { .. }
        | Op::Create { .. }
        | Op::Rename { .. }
        | Op::Remove { .. }
        | Op::SyncDir => {}
    }
}

fn apply_name(op: &Op, names: &mut BTreeMap<String, usize>) {
    match op {
        Op::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Op::Rename { from, to } => {
            // A rename of a name whose own creation was lost has nothing to rename.
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Op::Remove { name } => {
            names.remove(name);
        }
        Op::Write { .. } | Op::SetLen { .. } | Op::Sync { .. } | Op::SyncDir => {}
    }
}

fn below(chance: &dyn Chance, bound: usize) -> usize {
    usize::try_from(chance.below(bound as u64)).unwrap_or(0)
}
