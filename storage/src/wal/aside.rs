//! Records that were set aside: a copy of an owner's records in a file of its own, so that the log need not keep them.
//!
//! An owner that cannot go on (a shard that has stopped) would hold the log's files for ever. Its records are copied into
//! `aside-0000000003.wal`, and the log goes on without them. They are replayed before the log, keep their positions, and
//! can be read at them.
//!
//! The file has the layout of the log's files, with number zero; its records lie without gaps, in the order of their
//! positions, and its note says for whom and how many bytes they are:
//!
//! ```text
//! note   owner u32 | bytes behind the header u64, little-endian
//! ```
//!
//! A file has its name only when it is whole and durable, and replaces the one before it in one step. So a crash anywhere
//! leaves the records in the log, in the old file or in the new one; what lies in several of them is replayed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use streamhouse_runtime::planted;

use super::chain::{check_identity, io_error, read_file};
use super::files::{Aside, LiveFile};
use super::format::{self, FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_LEN, RecordHeader};
use super::io::write_all_at;
use super::queue::Gate;
use super::scan::FileScan;
use super::shared::Shared;
use super::{
    AppendClass, ReplayVerdict, Replayed, SetAsideError, WalDamage, WalIdentity, WalIo,
    WalLocation, WalLoss, WalOpenError, WalPosition, names, read,
};

const NOTE_LEN: usize = 12;
/// Bytes that are written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What replaying the files of records that were set aside gave.
#[derive(Debug, Default)]
pub(super) struct AsideReplay {
    pub(super) records: u64,
    pub(super) payload_bytes: u64,
    /// The files with records that are needed.
    pub(super) needed: Vec<Aside>,
    /// The names of the others.
    pub(super) unneeded: Vec<String>,
    /// Where the last of the records ends.
    pub(super) end: u64,
    /// The damage that was accepted.
    pub(super) accepted_loss: Option<WalLoss>,
    /// The damage that was not.
    pub(super) damage: Vec<WalDamage>,
    /// Positions of all records, in order: the log's copies of them are not replayed.
    pub(super) positions: Vec<u64>,
}

/// Replays the files named in `found` (owner, name). Damage that is exactly one of `accept` is passed over.
pub(super) fn replay(
    io: &dyn WalIo,
    found: Vec<(u32, String)>,
    identity: &WalIdentity,
    accept: &[WalLoss],
    on_record: &mut dyn FnMut(Replayed) -> ReplayVerdict,
) -> Result<AsideReplay, WalOpenError> {
    let mut replay = AsideReplay::default();
    for (owner, name) in found {
        replay.file(io, (owner, name), identity, accept, on_record)?;
    }
    replay.positions.sort_unstable();
    Ok(replay)
}

impl AsideReplay {
    fn file(
        &mut self,
        io: &dyn WalIo,
        (owner, name): (u32, String),
        identity: &WalIdentity,
        accept: &[WalLoss],
        on_record: &mut dyn FnMut(Replayed) -> ReplayVerdict,
    ) -> Result<(), WalOpenError> {
        if planted::bug("aside_file_forgotten") {
            self.unneeded.push(name);
            return Ok(());
        }
        let file = read_file(io, 0, name)?;
        check_identity(&file, identity)?;
        let bytes = file.header.as_ref().and_then(|header| {
            let (for_owner, bytes) = decode_note(&header.note)?;
            (for_owner == owner).then_some(bytes)
        });
        let (Some(header), Some(bytes)) = (file.header, bytes) else {
            let (from, to) = (WalPosition(0), WalPosition(file.len.max(1)));
            self.damaged(file.name.clone(), WalLoss { from, to }, accept);
            // Nothing of it can be read any more. If that was accepted, it goes, and the acceptance has done its work.
            self.unneeded.push(file.name);
            return Ok(());
        };
        let mut aside = Aside::new(file.name, Arc::clone(&file.file), header.salt);
        let mut scan = FileScan::new(file.file.as_ref(), header.salt, 0, file.len);
        let end = FILE_HEADER_BYTES.saturating_add(bytes);
        let (mut at, mut next, mut is_needed) = (FILE_HEADER_BYTES, header.base.0, false);
        while at < end {
            let record = scan.record_in_place(at, next);
            let record = record.map_err(io_error("read", &aside.name))?;
            let Some((record, payload)) = record else {
                // How far they went is not known any more; their bytes are.
                let to = WalPosition(next.saturating_add(end - at));
                let from = WalPosition(next);
                self.damaged(aside.name.clone(), WalLoss { from, to }, accept);
                break;
            };
            let location = WalLocation {
                position: WalPosition(record.position),
                len: record.payload_len,
            };
            let Some(class) = record.kind.class() else {
                at += record.bytes();
                continue;
            };
            let payload = Bytes::copy_from_slice(payload);
            aside.push(record.position, at);
            (at, next) = (at + record.bytes(), location.end().0);
            self.records += 1;
            self.payload_bytes += payload.len() as u64;
            let verdict = on_record(Replayed {
                location,
                class,
                payload,
            });
            is_needed |= verdict == ReplayVerdict::Keep;
        }
        self.end = self.end.max(next);
        self.positions.extend(aside.positions());
        if is_needed {
            self.needed.push(aside.owned_by(owner));
        } else {
            self.unneeded.push(aside.name);
        }
        Ok(())
    }

    fn damaged(&mut self, file: String, lost: WalLoss, accept: &[WalLoss]) {
        if accept.contains(&lost) {
            self.accepted_loss = Some(lost);
            return;
        }
        self.damage.push(WalDamage {
            file,
            lost,
            reason: "records that were set aside are unreadable",
        });
    }
}

impl Shared {
    /// See [`super::Wal::set_aside`].
    pub(super) fn set_aside(
        self: &Arc<Self>,
        owner: u32,
        records: &[(WalLocation, AppendClass)],
    ) -> Result<String, SetAsideError> {
        if self.queue.lock().gate != Gate::Open {
            return Err(SetAsideError::Closed);
        }
        let name = names::aside_file(owner);
        let records: BTreeMap<WalPosition, (WalLocation, AppendClass)> = records
            .iter()
            .map(|record| (record.0.position, *record))
            .collect();
        let is_there = |location: &WalPosition| {
            let files = self.files.lock();
            files
                .aside(owner)
                .is_some_and(|aside| aside.view(*location).is_some())
        };
        if records.keys().all(is_there) {
            return Ok(name);
        }
        let unfinished = names::unfinished_aside(owner);
        let written = self.write_aside((owner, &unfinished), &name, records.values());
        let aside = match written {
            Ok(aside) => aside,
            Err(error) => {
                // What is left of it goes now, or at the next start.
                let _ = self.io.remove(&unfinished);
                return Err(error);
            }
        };
        self.files.lock().put_aside(aside);
        Ok(name)
    }

    fn write_aside<'a>(
        self: &Arc<Self>,
        (owner, unfinished): (u32, &str),
        name: &str,
        records: impl Iterator<Item = &'a (WalLocation, AppendClass)> + Clone,
    ) -> Result<Aside, SetAsideError> {
        let failed = |operation| {
            move |source| SetAsideError::Io {
                operation,
                file: name.to_owned(),
                source: Arc::new(source),
            }
        };
        let salt = self.ambient.chance.next_u64();
        let bytes = records.clone().map(|(location, _)| bytes_of(*location));
        let bytes: u64 = bytes.sum();
        let first = records.clone().next();
        let header = FileHeader {
            number: 0,
            salt,
            base: first.map_or(WalPosition(0), |(location, _)| location.position),
            file_bytes: 0,
            identity: self.identity,
            predecessor: None,
            note: encode_note(owner, bytes),
        };
        // A crash, or a failure before, may have left one.
        let _ = self.io.remove(unfinished);
        let file = self.io.create(unfinished).map_err(failed("create"))?;
        file.reserve(FILE_HEADER_BYTES + bytes)
            .map_err(failed("reserve"))?;
        let mut aside = Aside::new(name.to_owned(), Arc::clone(&file), salt).owned_by(owner);
        let mut chunk = header.encode();
        let mut at = 0;
        for (location, class) in records {
            if chunk.len() >= CHUNK_BYTES {
                write_all_at(file.as_ref(), at, &chunk).map_err(failed("write"))?;
                at += chunk.len() as u64;
                chunk.clear();
            }
            let payload = read::read_one(&self.pin(location.position)?, *location)?;
            aside.push(location.position.0, at + chunk.len() as u64);
            encode(*location, *class, salt, &payload, &mut chunk);
        }
        write_all_at(file.as_ref(), at, &chunk).map_err(failed("write"))?;
        file.sync_data().map_err(failed("sync"))?;
        self.io.rename(unfinished, name).map_err(failed("rename"))?;
        self.io.sync_dir().map_err(failed("sync the name of"))?;
        Ok(aside)
    }
}

fn bytes_of(location: WalLocation) -> u64 {
    location.end().0 - location.position.0
}

fn encode(location: WalLocation, class: AppendClass, salt: u64, payload: &[u8], out: &mut Vec<u8>) {
    let header = RecordHeader {
        salt,
        position: location.position.0,
        synced_upto: 0,
        payload_len: location.len,
        kind: class.into(),
    };
    out.extend_from_slice(&header.encode(format::payload_crc(payload, &[])));
    out.extend_from_slice(payload);
    let end = out.len() - payload.len() - RECORD_HEADER_LEN;
    let whole = usize::try_from(bytes_of(location)).unwrap_or(usize::MAX);
    out.resize(end.saturating_add(whole), 0);
}

fn encode_note(owner: u32, bytes: u64) -> Vec<u8> {
    let mut note = owner.to_le_bytes().to_vec();
    note.extend_from_slice(&bytes.to_le_bytes());
    note
}

fn decode_note(note: &[u8]) -> Option<(u32, u64)> {
    if note.len() != NOTE_LEN {
        return None;
    }
    let (owner, bytes) = note.split_first_chunk()?;
    let bytes = bytes.first_chunk()?;
    Some((u32::from_le_bytes(*owner), u64::from_le_bytes(*bytes)))
}

impl Aside {
    /// The file as a read at `position` sees it: as if the record lay in a file of the log that begins where it must.
    pub(super) fn view(&self, position: WalPosition) -> Option<Arc<LiveFile>> {
        let offset = self.offset_of(position.0)?;
        // Records before this one are fewer than positions before it: the difference is never negative.
        let base = position.0.checked_sub(offset - FILE_HEADER_BYTES)?;
        Some(Arc::new(LiveFile {
            number: 0,
            name: self.name.clone(),
            base: WalPosition(base),
            salt: self.salt,
            file_bytes: 0,
            file: Arc::clone(&self.file),
        }))
    }
}
