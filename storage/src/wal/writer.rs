//! The writing side: one turn takes a group from the queue, writes it, syncs it, and tells the listener.
//!
//! Group commit without a timer: while one group is being synced the next one gathers. A group lies in one file, and a
//! file is begun only when everything before it is durable; its header says so.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::files::{LiveFile, SpareFile};
use super::format::{self, FILE_HEADER_BYTES, FileHeader, Predecessor, RecordHeader, RecordKind};
use super::io::{write_all_at, write_all_vectored_at};
use super::queue::{Gate, Queued};
use super::shared::Shared;
use super::upkeep::{SPARES_WANTED, make_spare};
use super::{Turn, WalFile, WalIo, WalListener, WalPosition, names};
use streamhouse_runtime::planted;

/// A sync that takes longer than this is worth a warning: the disk is ill.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// What only the writing side needs.
#[derive(Debug)]
pub(super) struct Writer {
    /// The file that is being written.
    pub(super) current: Arc<LiveFile>,
    /// What is gathered of one group; kept between turns.
    pub(super) buffer: Vec<u8>,
    pub(super) group: Vec<Queued>,
    /// When the last group was synced, if no seal follows it yet.
    pub(super) unsealed_since: Option<Monotonic>,
    /// Not to be asked for a spare before.
    pub(super) spare_retry_at: Option<Monotonic>,
}

impl Writer {
    pub(super) fn new(current: Arc<LiveFile>) -> Self {
        Self {
            current,
            buffer: Vec::new(),
            group: Vec::new(),
            unsealed_since: None,
            spare_retry_at: None,
        }
    }
}

/// Which call failed, and on which file.
struct Failed {
    operation: &'static str,
    file: String,
    source: io::Error,
}

fn failed(operation: &'static str, file: &str) -> impl FnOnce(io::Error) -> Failed {
    let file = file.to_owned();
    move |source| Failed {
        operation,
        file,
        source,
    }
}

impl Shared {
    /// Writes one group, if there is one.
    pub(super) fn turn(&self, listener: &dyn WalListener) -> Turn {
        let mut writer = self.writer.lock();
        if let Some(idle) = self.gather(&mut writer) {
            self.tell_failure(listener);
            return idle;
        }
        let records = writer.group.len();
        let written = self.write_group(&mut writer, listener);
        writer.group.clear();
        if let Err(failed) = written {
            self.fail(failed.operation, &failed.file, failed.source);
            self.tell_failure(listener);
            return Turn::Stopped;
        }
        self.keep_a_spare(&mut writer);
        Turn::Wrote { records }
    }

    /// Fills `writer.group`; says what to do instead if there is nothing to write.
    fn gather(&self, writer: &mut Writer) -> Option<Turn> {
        let mut queue = self.queue.lock();
        if queue.gate == Gate::Closed {
            return Some(Turn::Stopped);
        }
        if queue.pending.is_empty() {
            let is_closing = queue.gate == Gate::Closing;
            let Some(since) = writer.unsealed_since else {
                if is_closing {
                    queue.gate = Gate::Closed;
                    return Some(Turn::Stopped);
                }
                return Some(Turn::Idle { until: None });
            };
            let seal_at = since + self.settings.seal_after;
            if !is_closing && self.ambient.clock.monotonic() < seal_at {
                return Some(Turn::Idle {
                    until: Some(seal_at),
                });
            }
            queue.push_seal();
        }
        queue.take_group(&self.settings, &mut writer.group);
        None
    }

    fn write_group(&self, writer: &mut Writer, listener: &dyn WalListener) -> Result<(), Failed> {
        let (Some(first), Some(last)) = (writer.group.first(), writer.group.last()) else {
            return Ok(());
        };
        let from = WalPosition(first.position);
        let to = WalPosition(last.position + format::record_bytes(last.payload_len()));
        let is_seal = last.kind == RecordKind::Seal;
        self.is_written_to.store(!is_seal, Ordering::Relaxed);
        if first.starts_file {
            writer.current = self.begin_file(&writer.current, from)?;
        }
        let pieces = encode(writer, self.durable_to());
        let current = Arc::clone(&writer.current);
        let offset = from.0 - current.base.0 + FILE_HEADER_BYTES;
        write_pieces(current.file.as_ref(), offset, writer, &pieces)
            .map_err(failed("write", &current.name))?;
        self.written.store(to.0, Ordering::Release);
        listener.written(to);
        let began = self.ambient.clock.monotonic();
        if !planted::bug("ack_before_fsync") {
            current
                .file
                .sync_data()
                .map_err(failed("sync", &current.name))?;
        }
        let now = self.ambient.clock.monotonic();
        self.durable.store(to.0, Ordering::Release);
        listener.durable(to);
        if now - began > SLOW_SYNC {
            tracing::warn!(file = %current.name, took = ?(now - began), "a WAL sync was slow");
        }
        writer.unsealed_since = (!is_seal).then_some(now);
        // One huge record must not hold its memory for ever.
        writer.buffer.shrink_to(2 * self.settings.group_bytes_max);
        Ok(())
    }

    /// Makes a spare the next file of the log, whose first record will start at `base`.
    fn begin_file(&self, before: &LiveFile, base: WalPosition) -> Result<Arc<LiveFile>, Failed> {
        let spare = self.files.lock().take_spare();
        // Admission claimed it; without it nothing can be written.
        let spare =
            spare.ok_or_else(|| failed("take", "a spare")(io::ErrorKind::NotFound.into()))?;
        let header = FileHeader {
            number: before.number + 1,
            salt: self.ambient.chance.next_u64(),
            base,
            file_bytes: self.settings.file_bytes,
            identity: self.identity,
            predecessor: Some(Predecessor {
                number: before.number,
                salt: before.salt,
                end: self.durable_to(),
            }),
            note: self.note.lock().to_vec(),
        };
        let name = spare.name.clone();
        let live = enter_log(self.io.as_ref(), spare, &header).map_err(failed("begin", &name))?;
        self.files.lock().begin(Arc::clone(&live), base);
        self.wake_upkeep();
        Ok(live)
    }

    /// Sees to it that the next file can begin, in haste (without zeros) if upkeep was not fast enough.
    fn keep_a_spare(&self, writer: &mut Writer) {
        let is_short = {
            let queue = self.queue.lock();
            queue.spares < SPARES_WANTED
                && queue.files < self.settings.cap_files()
                && queue.gate == Gate::Open
        };
        let now = self.ambient.clock.monotonic();
        if !is_short || writer.spare_retry_at.is_some_and(|at| now < at) {
            return;
        }
        writer.spare_retry_at = match make_spare(self, false) {
            Ok(()) => None,
            Err(_) => Some(now + super::shared::RETRY_AFTER),
        };
    }

    fn tell_failure(&self, listener: &dyn WalListener) {
        let mut failure = self.failure.lock();
        if failure.is_told {
            return;
        }
        let Some(first) = failure.first.clone() else {
            return;
        };
        failure.is_told = true;
        drop(failure);
        listener.failed(&first);
    }
}

/// A body of at least this size is written from where it lies; smaller ones are gathered, since each slice of a write costs
/// about as much as copying a few kilobytes.
const BODY_BYTES_APART: usize = 8 * 1024;

/// A part of a group as it is written.
enum Piece {
    /// These bytes of the writer's buffer.
    Gathered(Range<usize>),
    /// The body of this record of the group.
    Body(usize),
}

/// Puts headers, heads and small bodies into the buffer; large bodies stay where they are.
fn encode(writer: &mut Writer, durable_to: WalPosition) -> Vec<Piece> {
    let Writer {
        current,
        buffer,
        group,
        ..
    } = writer;
    buffer.clear();
    let mut pieces = Vec::new();
    let mut gathered_from = 0;
    for (index, record) in group.iter().enumerate() {
        let payload_len = record.payload_len();
        let header = RecordHeader {
            salt: current.salt,
            position: record.position,
            synced_upto: durable_to.0,
            payload_len,
            kind: record.kind,
        };
        buffer.extend_from_slice(&header.encode(record.payload_crc));
        buffer.extend_from_slice(&record.head);
        if record.body.len() < BODY_BYTES_APART {
            buffer.extend_from_slice(&record.body);
        } else {
            pieces.push(Piece::Gathered(gathered_from..buffer.len()));
            pieces.push(Piece::Body(index));
            gathered_from = buffer.len();
        }
        let pad = usize::try_from(format::padding(u64::from(payload_len))).unwrap_or(0);
        buffer.extend_from_slice(&[0; 8][..pad]);
    }
    pieces.push(Piece::Gathered(gathered_from..buffer.len()));
    pieces
}

fn write_pieces(
    file: &dyn WalFile,
    offset: u64,
    writer: &Writer,
    pieces: &[Piece],
) -> io::Result<()> {
    let slice = |piece: &Piece| {
        IoSlice::new(match piece {
            Piece::Gathered(range) => &writer.buffer[range.clone()],
            Piece::Body(index) => &writer.group[*index].body,
        })
    };
    let mut slices: Vec<_> = pieces.iter().map(slice).collect();
    write_all_vectored_at(file, offset, &mut slices)
}

/// Gives a spare its header and then its place in the log. The name changes only when the header is durable, so a
/// file with a number always has a sound header.
pub(super) fn enter_log(
    io: &dyn WalIo,
    spare: SpareFile,
    header: &FileHeader,
) -> io::Result<Arc<LiveFile>> {
    write_all_at(spare.file.as_ref(), 0, &header.encode())?;
    if !planted::bug("header_without_fsync") {
        spare.file.sync_data()?;
    }
    let name = names::log_file(header.number);
    io.rename(&spare.name, &name)?;
    if !planted::bug("no_folder_fsync") {
        io.sync_dir()?;
    }
    Ok(Arc::new(LiveFile {
        number: header.number,
        name,
        base: header.base,
        salt: header.salt,
        file_bytes: header.file_bytes,
        file: spare.file,
    }))
}
