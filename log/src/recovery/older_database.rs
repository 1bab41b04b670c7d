//! Whether the database is older than the data folder: somebody brought back a copy of it.
//!
//! Two witnesses, both beside the WAL's records, which may be recycled:
//!
//! - The headers of WAL files carry a note of what their writer last saw of the database ([`Seen`]). Each number in it only
//!   grows, so one that is lower now says that the database has forgotten something. Every start raises the epochs, so a
//!   copy from before the last start never passes.
//! - The objects of the life before this one: its next numbers are probed, and a manifest that the database does not have
//!   although a later object names its flush as committed says the same.
//!
//! Residue: a copy from the last life that lacks one flush at most is told from an upload that was never committed only by
//! the WAL's records, if there are any, or by the next note.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use streamhouse_metadata::store::{
    Incarnation, MetadataStore, Revision, RevisionCheck, ShardRow, StoreError,
};
use streamhouse_runtime::planted;
use streamhouse_storage::l0::L0Index;
use streamhouse_storage::objects::{GetError, ObjectClass, ObjectId, ObjectKind, Objects};

use super::{RecoverError, Recovery};
use crate::format::bytes::{FormatError, Reader};
use crate::format::manifest::{FlushId, Manifest};
use crate::format::section::Section;

const NOTE_FORMAT: u8 = 1;

/// Numbers that are probed behind the last one that was found. Flushes run one at a time, and each takes one number, also
/// if it makes no object: as many failures in a row may lie between two objects.
const NUMBERS_PROBED: u64 = 64;
/// Numbers that are probed side by side.
const PROBED_AT_ONCE: u64 = 16;
/// Objects that are read at most: two would do if they follow each other.
const OBJECTS_READ_MAX: usize = 64;

/// What a writer last saw of the database. Stored in the note of WAL file headers, little-endian:
///
/// ```text
/// format u8 | timeline u32 | revision u64 | tag u64 | manifests u64 | epochs u64 | coordination u64
/// ```
/// The last three are sums over all shards: of the next manifest's number, of the epoch, of the coordination sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The server's timeline; 0 with the embedded store.
    pub timeline: u32,
    /// The newest revision.
    pub revision: Revision,
    /// How many manifests were committed.
    pub manifests: u64,
    /// How often shards were granted.
    pub epochs: u64,
    /// How many writes of groups were committed.
    pub coordination: u64,
}

/// How a database was found to be older than the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderDatabase {
    /// It lacks the last revision that was seen.
    Revision {
        /// That revision.
        seen: u64,
        /// The newest one that it has.
        found: u64,
    },
    /// It has fewer of something than were seen.
    Fewer {
        /// Of what.
        what: &'static str,
        /// How many were seen.
        seen: u64,
        /// How many it has.
        found: u64,
    },
    /// It lacks a manifest that was committed.
    Manifest {
        /// The object that holds it.
        object: ObjectId,
        /// The shard.
        shard: u32,
        /// Its number.
        lsn: u64,
        /// The number that the database would give next.
        next_lsn: u64,
    },
}

impl fmt::Display for OlderDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision { seen, found } => write!(
                f,
                "the WAL last saw revision {seen} of topics and settings, the database knows another history up to {found}"
            ),
            Self::Fewer { what, seen, found } => {
                write!(
                    f,
                    "the WAL last saw {seen} {what}, the database has {found}"
                )
            }
            Self::Manifest {
                object,
                shard,
                lsn,
                next_lsn,
            } => write!(
                f,
                "object {} holds manifest {lsn} of shard {shard}, which was committed, the database ends before {next_lsn}",
                object.key(ObjectKind::L0)
            ),
        }
    }
}

impl Seen {
    /// What there is to see now.
    pub(crate) async fn read(store: &dyn MetadataStore) -> Result<Self, StoreError> {
        let mut seen = Self {
            revision: store.revision().await?,
            ..Self::default()
        };
        for row in store.shards().await? {
            let epoch = u64::try_from(row.epoch.0).unwrap_or(0);
            let coordination = store.coordination_seq(row.shard).await?.unwrap_or(0);
            seen.manifests = seen.manifests.saturating_add(row.next_lsn.0);
            seen.epochs = seen.epochs.saturating_add(epoch);
            seen.coordination = seen.coordination.saturating_add(coordination);
        }
        Ok(seen)
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(NOTE_FORMAT);
        out.put_u32_le(self.timeline);
        out.put_u64_le(self.revision.number);
        out.put_u64_le(self.revision.tag);
        out.put_u64_le(self.manifests);
        out.put_u64_le(self.epochs);
        out.put_u64_le(self.coordination);
        out.freeze()
    }

    /// Reads the stored form; none if nobody wrote one.
    ///
    /// # Errors
    /// If the bytes are damaged or newer than this release.
    pub fn decode(note: Bytes) -> Result<Option<Self>, FormatError> {
        if note.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader::new(note);
        let format = reader.u8("note format")?;
        if format > NOTE_FORMAT {
            return Err(FormatError::Newer {
                what: "the note of a WAL file",
                needed: format,
                known: NOTE_FORMAT,
            });
        }
        let seen = Self {
            timeline: reader.u32("timeline")?,
            revision: Revision {
                number: reader.u64("revision")?,
                tag: reader.u64("tag")?,
            },
            manifests: reader.u64("manifests")?,
            epochs: reader.u64("epochs")?,
            coordination: reader.u64("coordination")?,
        };
        reader.finish()?;
        Ok(Some(seen))
    }

    /// What `now` lacks that was seen.
    fn lacks(&self, now: &Self) -> Option<OlderDatabase> {
        let counts = [
            ("grants of shards", self.epochs, now.epochs),
            ("manifests", self.manifests, now.manifests),
            ("writes of groups", self.coordination, now.coordination),
        ];
        let fewer = counts.into_iter().find(|(_, seen, found)| found < seen);
        fewer.map(|(what, seen, found)| OlderDatabase::Fewer { what, seen, found })
    }
}

/// Holds the database against what the WAL's last writer saw of it.
///
/// # Errors
/// If it is older, or does not answer. Nothing was changed.
pub(crate) async fn check_note(store: &dyn MetadataStore, note: Bytes) -> Result<(), RecoverError> {
    if planted::bug("older_database_unnoticed") {
        return Ok(());
    }
    let seen = match Seen::decode(note) {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::warn!(%error, "whether the database is older than the WAL cannot be told from its files");
            return Ok(());
        }
    };
    let now = Seen::read(store).await?;
    let older = match store.check_revision(seen.revision).await? {
        RevisionCheck::Missing => Some(OlderDatabase::Revision {
            seen: seen.revision.number,
            found: now.revision.number,
        }),
        RevisionCheck::Kept | RevisionCheck::Pruned => seen.lacks(&now),
    };
    older.map_or(Ok(()), |older| Err(RecoverError::OlderDatabase(older)))
}

/// A flush that the database does not have.
#[derive(Debug)]
struct Unknown {
    object: ObjectId,
    flush: FlushId,
    lsn: u64,
}

/// All of them, by shard.
#[derive(Debug, Default)]
struct UnknownFlushes(BTreeMap<u32, Vec<Unknown>>);

impl UnknownFlushes {
    /// Looks at one more manifest, in the order of their objects. Gives a manifest that the database lacks although this
    /// one names its flush as predecessor: it does so only once that was committed.
    fn meet(
        &mut self,
        row: &ShardRow,
        object: ObjectId,
        manifest: &Manifest,
    ) -> Option<OlderDatabase> {
        if manifest.lsn < row.next_lsn {
            return None;
        }
        let earlier = self.0.entry(row.shard.0).or_default();
        let committed = earlier.iter().find(|known| known.flush == manifest.prev);
        if let Some(known) = committed {
            return Some(OlderDatabase::Manifest {
                object: known.object,
                shard: row.shard.0,
                lsn: known.lsn,
                next_lsn: row.next_lsn.0,
            });
        }
        earlier.push(Unknown {
            object,
            flush: manifest.flush_id(),
            lsn: manifest.lsn.0,
        });
        None
    }
}

impl Recovery {
    /// Probes the next objects of the lives before for manifests that were committed and that the database lacks.
    pub(crate) async fn check_next_objects(&self, objects: &Objects) -> Result<(), RecoverError> {
        for incarnation in &self.predecessors {
            if planted::bug("older_database_unnoticed") {
                continue;
            }
            let found = self.next_objects(objects, *incarnation).await;
            if let Some(older) = found {
                return Err(RecoverError::OlderDatabase(older));
            }
        }
        Ok(())
    }

    async fn next_objects(
        &self,
        objects: &Objects,
        incarnation: Incarnation,
    ) -> Option<OlderDatabase> {
        let known = self.last_object_of(incarnation);
        let (mut last, mut next) = (known, known.saturating_add(1));
        let mut unknown = UnknownFlushes::default();
        let mut read = 0;
        while next <= last.saturating_add(NUMBERS_PROBED) && read < OBJECTS_READ_MAX {
            let ids = (next..next.saturating_add(PROBED_AT_ONCE)).map(|seq| ObjectId {
                incarnation: incarnation.0,
                seq,
                // Only a folder's own broker looks here, and it uploads once.
                attempt: 0,
            });
            next = next.saturating_add(PROBED_AT_ONCE);
            for (id, bytes) in join_all(ids.map(|id| size_of(objects, id))).await {
                let Some(bytes) = bytes else { continue };
                (last, read) = (id.seq, read + 1);
                for manifest in manifests_of(objects, id, bytes).await {
                    let row = self.row_of(manifest.shard.0);
                    if let Some(older) = row.and_then(|row| unknown.meet(row, id, &manifest)) {
                        return Some(older);
                    }
                }
            }
        }
        None
    }

    fn row_of(&self, shard: u32) -> Option<&ShardRow> {
        let mut rows = self.shards.iter().map(|recovering| &recovering.row);
        rows.find(|row| row.shard.0 == shard)
    }

    /// The last object of a life that the recorded state names.
    fn last_object_of(&self, incarnation: Incarnation) -> u64 {
        let named = self.shards.iter().flat_map(|recovering| {
            let runs = recovering.inner.recorded.locations.objects();
            let checkpoint = recovering.row.checkpoint.map(|pointer| pointer.object);
            runs.chain(checkpoint)
        });
        let own = named.filter(|id| id.incarnation == incarnation.0);
        own.map(|id| id.seq).max().unwrap_or(0)
    }
}

/// The size of an object, if it is there. What cannot be looked at proves nothing.
async fn size_of(objects: &Objects, id: ObjectId) -> (ObjectId, Option<u64>) {
    let key = id.key(ObjectKind::L0);
    let size = objects.size(&key, ObjectClass::Checkpoint).await;
    let bytes = match size {
        Ok(bytes) => Some(bytes),
        Err(GetError::NotFound { .. }) => None,
        Err(error @ (GetError::Short { .. } | GetError::Unavailable { .. })) => {
            tracing::warn!(%key, %error, "an object was not probed");
            None
        }
    };
    (id, bytes)
}

/// The manifests in an object, as far as they can be read.
async fn manifests_of(objects: &Objects, id: ObjectId, bytes: u64) -> Vec<Manifest> {
    let key = id.key(ObjectKind::L0);
    let class = ObjectClass::Checkpoint;
    let load = || L0Index::load(objects, &key, bytes, class);
    let index = objects.read_twice(&key, class, load).await;
    let sections = index.map_or_else(|_| Vec::new(), |index| index.sections().to_vec());
    let manifests = sections.into_iter().filter_map(|section| {
        let section = Section::decode(section.body).ok()?;
        Manifest::decode(section.body).ok()
    });
    manifests.collect()
}

#[cfg(test)]
mod tests;
