//! Replaying the log: every valid record in order, and the judgement on what is not valid.
//!
//! A file that has a successor ends where the successor's header says; anything unreadable before that is damage. In
//! the newest file the first unreadable place `r` is damage if any later record says that more than `r` was synced;
//! else it is the torn end of the last write, which nobody was told about.

use streamhouse_runtime::planted;

use super::chain::{Folder, FoundFile, io_error};
use super::format::{FILE_HEADER_BYTES, FileHeader, RecordKind};
use super::queue::SEAL_BYTES;
use super::scan::FileScan;
use super::{
    Bytes, ReplayVerdict, Replayed, WalDamage, WalLocation, WalLoss, WalOpenError, WalPosition,
    WalSettings, names,
};

/// One restart leaves this many positions unused: far more than can be queued, so that a position which was given to a
/// record that a crash lost never names another record.
pub(super) const POSITION_GAP: u64 = 1 << 40;

/// What replaying one file gave.
#[derive(Debug)]
pub(super) struct ReplayedFile {
    pub(super) found: FoundFile,
    pub(super) header: FileHeader,
    /// Where its valid records end.
    pub(super) end: u64,
    /// Records other than seals.
    pub(super) records: u64,
}

/// What replaying the whole log gave.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) files: Vec<ReplayedFile>,
    /// Files whose headers are damaged, under an accepted loss.
    pub(super) unreadable: Vec<(FoundFile, WalLoss)>,
    pub(super) records: u64,
    pub(super) payload_bytes: u64,
    pub(super) dropped_records: u64,
    /// Where the valid log ends.
    pub(super) end: u64,
    /// All records that end at or below this are recorded elsewhere.
    pub(super) recorded_to: u64,
    /// Ends of the records of class Run that are needed.
    pub(super) run_ends: Vec<u64>,
    pub(super) accepted_loss: Option<WalLoss>,
    /// Positions of the records that were set aside, in order.
    aside: Vec<u64>,
    /// The losses that an operator accepts.
    accept: Vec<WalLoss>,
    damage: Option<Damage>,
    /// Where the newest file begins, if its header says so.
    newest_base: Option<WalPosition>,
    has_needed: bool,
}

#[derive(Debug)]
struct Damage {
    named: WalDamage,
    /// The accepted losses in which all of it lies.
    accepted_by: Vec<WalLoss>,
}

type OnRecord<'a> = &'a mut dyn FnMut(Replayed) -> ReplayVerdict;

/// Replays the files of `folder`. Damage does not end it; see [`Replay::judge`].
pub(super) fn replay(
    folder: &mut Folder,
    mut replay: Replay,
    on_record: OnRecord<'_>,
) -> Result<Replay, WalOpenError> {
    let chain = std::mem::take(&mut folder.chain);
    // Where each file ends according to the one behind it.
    let ends: Vec<Option<u64>> = chain
        .windows(2)
        .map(|pair| end_of(&pair[0], &pair[1]))
        .collect();
    let ends = ends.into_iter().chain([None]);
    let newest = chain.last().map(|file| file.number);
    let newest_header = chain.last().and_then(|file| file.header.clone());
    replay.newest_base = newest_header.map(|header| header.base);
    let mut before: Option<u64> = None;
    for (found, end) in chain.into_iter().zip(ends) {
        if let (Some(missing), Some(before)) = (folder.missing, before)
            && before < missing
            && missing < found.number
        {
            let to = found
                .header
                .as_ref()
                .map_or(replay.end, |header| header.base.0);
            let lost = range(replay.end, to.max(replay.end + 1));
            replay.damaged(names::log_file(missing), "it is missing", lost);
            replay.end = replay.end.max(lost.to.0);
        }
        before = Some(found.number);
        let is_newest = newest == Some(found.number);
        match found.header.clone() {
            Some(header) => replay.file(found, header, (end, is_newest), on_record)?,
            None => replay.unreadable(found, end),
        }
    }
    Ok(replay)
}

/// Where `file` ends according to `next`.
fn end_of(file: &FoundFile, next: &FoundFile) -> Option<u64> {
    let before = next.header.as_ref()?.predecessor?;
    (before.number == file.number).then_some(before.end.0)
}

fn range(from: u64, to: u64) -> WalLoss {
    WalLoss {
        from: WalPosition(from),
        to: WalPosition(to),
    }
}

impl Replay {
    /// Nothing is replayed yet; `accept` are the losses that are passed over.
    pub(super) fn new(accept: Vec<WalLoss>) -> Self {
        Self {
            accept,
            ..Self::default()
        }
    }

    /// Records at these positions, which are in order, were replayed from elsewhere.
    pub(super) fn pass_over(&mut self, aside: Vec<u64>) {
        self.aside = aside;
    }

    /// The damage, unless there was none, or all of it is a loss that was accepted, or what is left of that.
    ///
    /// A loss shrinks while the files that name it go: the newest file is measured by its length only until another one
    /// follows, and files are recycled one by one. What was appended since lies behind the loss. So a range that reaches
    /// into the newest file was not named by an earlier start, and must be what is lost now.
    pub(super) fn judge(&mut self) -> Option<WalDamage> {
        let Damage { named, accepted_by } = self.damage.take()?;
        let was_named = |accepted: &WalLoss| {
            *accepted == named.lost
                || self.newest_base.is_some_and(|base| accepted.to <= base)
                || planted::bug("acceptance_wider_than_the_damage")
        };
        if accepted_by.iter().any(was_named) {
            self.accepted_loss = Some(named.lost);
            return None;
        }
        Some(named)
    }

    fn damaged(&mut self, file: String, reason: &'static str, lost: WalLoss) {
        if planted::bug("skip_on_crc_error") {
            return;
        }
        match &mut self.damage {
            None => {
                let accept = self.accept.iter().copied();
                let accepted_by = accept.filter(|accept| accept.contains(lost)).collect();
                let named = WalDamage { file, reason, lost };
                self.damage = Some(Damage { named, accepted_by });
            }
            Some(damage) => {
                // One range names all that is lost, from the first damage to the last.
                let all = &mut damage.named.lost;
                all.from = all.from.min(lost.from);
                all.to = all.to.max(lost.to);
                damage.accepted_by.retain(|accept| accept.contains(lost));
            }
        }
    }

    /// Others have recorded how far the log reached, and which file was begun: what is missing up to there was in files that
    /// are gone. `newest` is the highest number of a file in the folder.
    pub(super) fn lacks_files(&mut self, settings: &WalSettings, newest: u64) {
        let begins = self.newest_base.unwrap_or_default().0;
        let end = self.end.max(begins);
        let covered_to = settings.covered_to.0;
        if let Some(files) = settings
            .begun_to
            .checked_sub(newest)
            .filter(|files| *files > 0)
        {
            // Where it began is not known. Each of the files may be one of a life of its own, and none is longer than a gap.
            let gaps = POSITION_GAP.saturating_mul(files.saturating_add(1));
            let lost = range(end, covered_to.max(end.saturating_add(gaps)));
            let name = names::log_file(settings.begun_to);
            self.damaged(name, "it is missing, and it was begun", lost);
            self.end = lost.to.0;
            return;
        }
        // A seal may be the last that was durable, and damage to it loses nothing.
        if covered_to <= end.saturating_add(SEAL_BYTES) {
            return;
        }
        let room = |header: &FileHeader| header.file_bytes.saturating_sub(FILE_HEADER_BYTES);
        let cut = self.files.last();
        let cut = cut.filter(|file| covered_to <= begins.saturating_add(room(&file.header)));
        let (name, reason) = match cut {
            Some(file) => (
                file.found.name.clone(),
                "it ends before what the database has taken from it",
            ),
            None => (
                names::log_file(newest.saturating_add(1)),
                "it is missing, and the database has taken records from it",
            ),
        };
        self.damaged(name, reason, range(end, covered_to));
        self.end = covered_to;
    }

    fn unreadable(&mut self, found: FoundFile, end: Option<u64>) {
        let to = end.unwrap_or(
            self.end
                .saturating_add(POSITION_GAP)
                .saturating_add(found.len),
        );
        let lost = range(self.end, to.max(self.end + 1));
        self.damaged(found.name.clone(), "its header is unreadable", lost);
        self.end = lost.to.0;
        self.unreadable.push((found, lost));
    }

    fn file(
        &mut self,
        found: FoundFile,
        header: FileHeader,
        (end, is_newest): (Option<u64>, bool),
        on_record: OnRecord<'_>,
    ) -> Result<(), WalOpenError> {
        let handle = std::sync::Arc::clone(&found.file);
        let base = header.base.0;
        self.is_behind_others(&found, base);
        let mut scan = FileScan::new(handle.as_ref(), header.salt, base, found.len);
        let (mut at, mut records, mut synced_upto) = (base, 0, None);
        while end.is_none_or(|end| at < end) {
            let record = scan.record_at(at).map_err(io_error("read", &found.name))?;
            if let Some((record, payload)) = record {
                at += record.bytes();
                if let Some(class) = record.kind.class() {
                    records += 1;
                    let location = WalLocation {
                        position: WalPosition(record.position),
                        len: record.payload_len,
                    };
                    let payload = Bytes::copy_from_slice(payload);
                    self.record(
                        Replayed {
                            location,
                            class,
                            payload,
                        },
                        on_record,
                    );
                }
                continue;
            }
            if end.is_none() && synced_upto.is_none() {
                let survey = scan.survey(at).map_err(io_error("read", &found.name))?;
                synced_upto = Some(survey.synced_upto);
                // Only counted if it turns out that nothing here was durable.
                self.dropped_records = survey.records;
            }
            // A file in the middle whose successor is unreadable has no known end; its own records tell.
            let known_end = end.or(synced_upto).unwrap_or(0);
            if known_end <= at {
                break;
            }
            self.dropped_records = 0;
            let resume = scan.find_from(at).map_err(io_error("read", &found.name))?;
            let resume = resume.map_or(known_end, |found| found.min(known_end));
            self.damaged(
                found.name.clone(),
                "records are unreadable",
                range(at, resume),
            );
            at = resume;
        }
        let full = base.saturating_add(header.file_bytes.saturating_sub(FILE_HEADER_BYTES));
        if is_newest && found.len != header.file_bytes && at < full {
            self.damaged(found.name.clone(), "its length is wrong", range(at, full));
        }
        self.end = at;
        self.files.push(ReplayedFile {
            found,
            header,
            end: at,
            records,
        });
        Ok(())
    }

    /// A file begins where the one before it ends, or later: else a position would name bytes of two files.
    fn is_behind_others(&mut self, found: &FoundFile, base: u64) {
        if self.damage.is_none() && base < self.end {
            self.damaged(
                found.name.clone(),
                "it begins before the end of another",
                range(base, self.end),
            );
        }
    }

    fn record(&mut self, replayed: Replayed, on_record: OnRecord<'_>) {
        // Behind damage that nobody accepted the log is only measured.
        if self
            .damage
            .as_ref()
            .is_some_and(|damage| damage.accepted_by.is_empty())
        {
            return;
        }
        let (kind, end) = (RecordKind::from(replayed.class), replayed.location.end().0);
        let position = replayed.location.position.0;
        let verdict = if self.aside.binary_search(&position).is_ok() {
            // It was replayed from there, and is kept there.
            ReplayVerdict::Recorded
        } else {
            self.records += 1;
            self.payload_bytes += replayed.payload.len() as u64;
            on_record(replayed)
        };
        match verdict {
            ReplayVerdict::Keep => {
                self.has_needed = true;
                if kind == RecordKind::Run {
                    self.run_ends.push(end);
                }
            }
            ReplayVerdict::Recorded => {
                if !self.has_needed {
                    self.recorded_to = end;
                }
            }
        }
    }
}
