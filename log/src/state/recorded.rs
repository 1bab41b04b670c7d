//! The recorded state of a shard: everything whose manifest is in the database, with the places of its bytes.

use streamhouse_metadata::store::Lsn;

use super::locations::{Locations, RunLocation};
use super::{ApplyError, ShardState};
use crate::format::entry::Entry;
use crate::format::manifest::{FlushId, Manifest};

/// State and places, as of one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The shard's state.
    pub state: ShardState,
    /// Where its runs lie.
    pub locations: Locations,
    /// The number that the next manifest gets.
    pub next_lsn: Lsn,
    /// The last flush: what the next one names as its predecessor.
    pub last_flush: FlushId,
}

/// A manifest does not follow the recorded state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its number is not the next one.
    #[error("manifest {found} does not follow: the next one is {expected}")]
    Lsn {
        /// The number that would follow.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// It holds runs but names no object.
    #[error("manifest {0} holds runs but names no object")]
    NoObject(u64),
    /// One of its entries does not follow.
    #[error("manifest {lsn}: {source}")]
    Entry {
        /// Its number.
        lsn: u64,
        /// Why.
        source: ApplyError,
    },
}

impl Recorded {
    /// What a checkpoint would hold that forgot the producers.
    pub(crate) fn without_producers(&self) -> Self {
        let mut forgetful = self.clone();
        forgetful.state.producers = 0;
        for partition in forgetful.state.partitions.values_mut() {
            partition.producers.clear();
        }
        forgetful
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// If it does not follow. The state may be half changed then: the caller stops the shard.
    pub fn apply(&mut self, manifest: &Manifest) -> Result<(), RecordError> {
        let lsn = manifest.lsn.0;
        if manifest.lsn != self.next_lsn {
            return Err(RecordError::Lsn {
                expected: self.next_lsn.0,
                found: lsn,
            });
        }
        let mut byte = manifest.data.map_or(0, |data| data.first_byte);
        for entry in &manifest.entries {
            self.state
                .apply(entry, manifest.stamp)
                .map_err(|source| RecordError::Entry { lsn, source })?;
            match entry {
                Entry::Run(run) => {
                    let object = manifest.object().ok_or(RecordError::NoObject(lsn))?;
                    self.locations.push(
                        run.at,
                        RunLocation {
                            base_offset: run.base_offset,
                            next_offset: run.next_offset(),
                            object,
                            first_byte: byte,
                            bytes: run.bytes,
                            max_timestamp: run.max_timestamp,
                            stamp: manifest.stamp,
                            crc: run.crc,
                            points: run.points.clone(),
                        },
                    );
                    byte = byte.saturating_add(run.bytes);
                }
                Entry::Trim { at, log_start } => self.locations.trim(*at, *log_start),
                Entry::DropPartition { at } => self.locations.drop_partition(*at),
                Entry::EvictProducer { .. } => {}
            }
        }
        // No shard comes so far; a number that says so is damaged.
        self.next_lsn = Lsn(lsn.saturating_add(1));
        if manifest.data.is_some() {
            self.last_flush = manifest.flush_id();
        }
        Ok(())
    }
}
