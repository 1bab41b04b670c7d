//! The log on disk: all batches that wait are written with one call and made durable with one `fdatasync`.
//!
//! The file is written with zeroes first, so that a sync has no new blocks to record, and is begun again from its start when
//! it is full. While one group is synced, the next one gathers: there is no timer.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use tokio::sync::watch;

/// The size of the file.
const FILE_BYTES: u64 = 512 << 20;

/// The newest batches stay in memory, as consumers would want them. It also spares the allocator: memory that is freed at
/// once goes back to the system, and has to be mapped again for the next batch.
const TAIL_BYTES: usize = 64 << 20;

/// The most buffers that one call takes (IOV_MAX).
const BUFFERS_MAX: usize = 1024;

/// Bytes in front of each batch: its place and its size, as a log would need them to be read again.
const ENTRY_HEAD_BYTES: usize = 16;

/// The log; batches get places 1, 2, 3, ...
pub(crate) struct Wal {
    shared: Arc<Shared>,
    durable: watch::Receiver<u64>,
}

struct Shared {
    /// What waits for the next group. Held for a push or a swap only.
    waiting: Mutex<Waiting>,
    some: Condvar,
}

#[derive(Default)]
struct Waiting {
    batches: Vec<Bytes>,
    /// The place of the last batch that was appended.
    last: u64,
}

/// Tells how far the log is durable.
pub(crate) struct Durable(watch::Receiver<u64>);

impl Durable {
    /// Waits until the batch at `place` is durable, and tells the last place that is.
    pub(crate) async fn reached(&mut self, place: u64) -> io::Result<u64> {
        let reached = self.0.wait_for(|durable| *durable >= place).await;
        let gone = |_| io::Error::other("the log has ended");
        reached.map(|durable| *durable).map_err(gone)
    }
}

impl Wal {
    /// Makes the file and starts the thread that writes it.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)?;
        let zeroes = vec![0; 1 << 20];
        let mut written = 0;
        while written < FILE_BYTES {
            file.write_all(&zeroes)?;
            written += 1 << 20;
        }
        file.sync_all()?;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            some: Condvar::new(),
        });
        let (done, durable) = watch::channel(0);
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || {
                if let Err(error) = write_groups(&writer, &file, &done) {
                    // Without a log nothing can be acknowledged: readers of `done` see it end.
                    let _ = writeln!(io::stderr(), "error: the log cannot be written: {error}");
                }
            })?;
        Ok(Self { shared, durable })
    }

    /// Puts a batch in line and tells its place.
    pub(crate) fn append(&self, batch: Bytes) -> u64 {
        let mut waiting = self.shared.waiting();
        waiting.batches.push(batch);
        waiting.last += 1;
        let place = waiting.last;
        drop(waiting);
        self.shared.some.notify_one();
        place
    }

    /// How far the log is durable.
    pub(crate) fn durable(&self) -> Durable {
        Durable(self.durable.clone())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits, at least one batch, and the place of the last one.
    fn group(&self, empty: Vec<Bytes>) -> (Vec<Bytes>, u64) {
        let waiting = self.waiting();
        let mut waiting = self
            .some
            .wait_while(waiting, |waiting| waiting.batches.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut waiting.batches, empty), waiting.last)
    }
}

fn write_groups(shared: &Shared, file: &File, done: &watch::Sender<u64>) -> io::Result<()> {
    let (mut at, mut group) = (0, Vec::new());
    let (mut tail, mut tail_bytes) = (VecDeque::new(), 0);
    loop {
        let last;
        (group, last) = shared.group(group);
        at = write_group(file, at, &group, last)?;
        rustix::fs::fdatasync(file)?;
        done.send_replace(last);
        for batch in group.drain(..) {
            tail_bytes += batch.len();
            tail.push_back(batch);
        }
        while tail_bytes > TAIL_BYTES {
            tail_bytes -= tail
                .pop_front()
                .map_or(tail_bytes, |oldest: Bytes| oldest.len());
        }
    }
}

/// Writes a group at `at`, or at the beginning where the rest of the file is too small, and tells where it ends.
fn write_group(file: &File, at: u64, group: &[Bytes], last: u64) -> io::Result<u64> {
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let total: u64 = group
        .iter()
        .map(|batch| size(batch.len() + ENTRY_HEAD_BYTES))
        .sum();
    let mut at = if at + total > FILE_BYTES { 0 } else { at };
    let first = last + 1 - size(group.len());
    let heads: Vec<[u8; ENTRY_HEAD_BYTES]> = (first..)
        .zip(group)
        .map(|(place, batch)| entry_head(place, size(batch.len())))
        .collect();
    let buffers: Vec<IoSlice<'_>> = heads
        .iter()
        .zip(group)
        .flat_map(|(head, batch)| [IoSlice::new(head), IoSlice::new(batch)])
        .collect();
    for buffers in buffers.chunks(BUFFERS_MAX) {
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let written = rustix::io::pwritev(file, buffers, at)?;
        if written != wanted {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at += size(written);
    }
    Ok(at)
}

fn entry_head(place: u64, size: u64) -> [u8; ENTRY_HEAD_BYTES] {
    let mut head = [0; ENTRY_HEAD_BYTES];
    head[..8].copy_from_slice(&place.to_be_bytes());
    head[8..].copy_from_slice(&size.to_be_bytes());
    head
}
