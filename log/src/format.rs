//! Our stored formats: WAL records, manifests, object sections, checkpoints. On disk: never renumber.
//!
//! A fact is written once as an [`entry::Entry`] and read everywhere through the same decoder: the WAL record of a batch
//! decodes to the entry that the manifest of its flush will hold.

pub mod bytes;
pub mod checkpoint;
pub mod entry;
pub mod manifest;
pub mod section;
pub mod wal_record;

#[cfg(test)]
mod tests;
