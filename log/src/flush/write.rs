//! Writing: the batches of all shards into one object, with the manifests in its footer.

use bytes::Bytes;
use streamhouse_metadata::store::{
    ManifestCommit, NewObject, ObjectId, Revision, ShardId, StoreError, WalEnd,
};
use streamhouse_storage::l0::{L0WriteError, L0Writer, Section as L0Section};
use streamhouse_storage::objects::{ObjectClass, ObjectKind, PutError};
use streamhouse_storage::wal::WalPosition;

use super::FlushError;
use super::collect::{Collected, RunBuilder, ShardPart};
use crate::Log;
use crate::format::entry::Entry;
use crate::format::manifest::{DataStart, Manifest};
use crate::format::section::{LastSeen, Section};
use crate::read::gather::object_id;

/// A flush whose bytes are safe and whose manifests are ready to be committed.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) object: Option<NewObject>,
    pub(crate) parts: Vec<SealedPart>,
    pub(crate) cut: WalPosition,
}

/// One shard's part of it.
#[derive(Debug)]
pub(crate) struct SealedPart {
    pub(crate) manifest: Manifest,
    pub(crate) commit: ManifestCommit,
    pub(crate) data_bytes: u64,
    pub(crate) runs: usize,
}

/// Bytes of manifests without an object after which a shard's next section takes them along even if it has no batches:
/// they leave memory only when an object holds them.
const BODILESS_BYTES_MAX: usize = 8 << 20;

/// An object was not written.
struct WriteFailed {
    error: FlushError,
    /// It may be in the store all the same.
    may_exist: bool,
}

impl ShardPart {
    /// Whether the shard gets a section in the object.
    fn needs_object(&self) -> bool {
        let earlier: usize = self.earlier.iter().map(Bytes::len).sum();
        self.has_batches || earlier >= BODILESS_BYTES_MAX
    }
}

impl Log {
    /// Stores the batches of `parts` in one object. Shards that only trim have no bytes; if all are such, there is no
    /// object.
    pub(crate) async fn write_object(
        &self,
        parts: Vec<ShardPart>,
        cut: WalPosition,
    ) -> Result<Sealed, FlushError> {
        let id = ObjectId {
            incarnation: self.incarnation.0,
            seq: self.next_object_seq(),
            attempt: 0,
        };
        let written = if parts.iter().any(ShardPart::needs_object) {
            self.write_parts(id, parts, cut).await
        } else {
            self.seal_only(parts, cut).await
        };
        match written {
            Ok(sealed) => Ok(sealed),
            Err(failed) => {
                if failed.may_exist {
                    self.abandon(id).await;
                }
                Err(failed.error)
            }
        }
    }

    async fn seal_only(
        &self,
        parts: Vec<ShardPart>,
        cut: WalPosition,
    ) -> Result<Sealed, WriteFailed> {
        let mut sealed = Vec::with_capacity(parts.len());
        for part in parts {
            let entries = self.write_batches(&part, None).await?;
            sealed.push(self.seal(part, entries, None, 0, cut));
        }
        Ok(Sealed {
            object: None,
            parts: sealed,
            cut,
        })
    }

    async fn write_parts(
        &self,
        id: ObjectId,
        parts: Vec<ShardPart>,
        cut: WalPosition,
    ) -> Result<Sealed, WriteFailed> {
        let key = object_id(id).key(ObjectKind::L0);
        let revision = self.store().revision().await?;
        let writer = self.objects().writer(&key, ObjectClass::Flush);
        let mut writer = L0Writer::begin(writer, self.cluster, self.wall_ms()).await?;
        let mut sealed = Vec::with_capacity(parts.len());
        let mut sections = Vec::with_capacity(parts.len());
        for part in parts {
            let needs_object = part.needs_object();
            let data = DataStart {
                object_seq: id.seq,
                attempt: id.attempt,
                first_byte: writer.position(),
            };
            let entries = self.write_batches(&part, Some(&mut writer)).await?;
            let data_bytes = writer.position() - data.first_byte;
            let earlier = part.earlier.clone();
            let part = self.seal(part, entries, needs_object.then_some(data), data_bytes, cut);
            if needs_object {
                let section = Section {
                    last_seen: self.last_seen(revision, part.manifest.shard).await?,
                    earlier,
                    body: part.commit.body.clone(),
                };
                sections.push(L0Section {
                    shard: part.manifest.shard.0,
                    body: section.encode(),
                });
            }
            sealed.push(part);
        }
        let written = writer.finish(sections).await?;
        self.cache().insert_index(&key, &written.index);
        self.note_object_bytes(id, written.bytes);
        let object = NewObject {
            id,
            key: key.to_string(),
            bytes: written.bytes,
        };
        Ok(Sealed {
            object: Some(object),
            parts: sealed,
            cut,
        })
    }

    async fn last_seen(&self, revision: Revision, shard: ShardId) -> Result<LastSeen, StoreError> {
        let seq = self.store().coordination_seq(shard).await?;
        Ok(LastSeen {
            // The embedded store has no timelines.
            timeline: 0,
            revision: revision.number,
            tag: revision.tag,
            coordination_seq: seq.unwrap_or(0),
        })
    }

    /// Appends the batches of a part to the object and gives its entries with batches joined to runs.
    async fn write_batches(
        &self,
        part: &ShardPart,
        mut writer: Option<&mut L0Writer>,
    ) -> Result<Vec<Entry>, WriteFailed> {
        let mut out = Vec::new();
        let mut runs = RunBuilder::default();
        for (at, count) in &part.partitions {
            let mut done = 0;
            while done < *count {
                let chunk = self.collect_chunk(part.shard, *at, done..*count).await?;
                done += chunk.len();
                for Collected { entry, bytes } in chunk {
                    let Entry::Run(batch) = &entry else {
                        out.extend(runs.finish().map(Entry::Run));
                        out.push(entry);
                        continue;
                    };
                    out.extend(runs.push(batch, &bytes).map(Entry::Run));
                    if let Some(writer) = &mut writer {
                        writer.append(bytes).await?;
                    }
                }
            }
        }
        out.extend(runs.finish().map(Entry::Run));
        Ok(out)
    }

    fn seal(
        &self,
        part: ShardPart,
        entries: Vec<Entry>,
        data: Option<DataStart>,
        data_bytes: u64,
        cut: WalPosition,
    ) -> SealedPart {
        let wal_end = Some(WalEnd {
            dir: self.wal_dir,
            position: cut.0,
        });
        let runs = entries
            .iter()
            .filter(|entry| matches!(entry, Entry::Run(_)))
            .count();
        let manifest = Manifest {
            shard: part.shard,
            lsn: part.lsn,
            epoch: part.epoch,
            incarnation: part.incarnation,
            flush_seq: if data.is_some() { part.flush_seq } else { 0 },
            prev: part.prev,
            stamp: part.stamp,
            wal_end,
            data,
            entries,
        };
        let inner = self.shard_of(part.shard).lock();
        let locations = &inner.recorded.locations;
        let commit = ManifestCommit {
            shard: part.shard,
            epoch: part.epoch,
            incarnation: part.incarnation,
            lsn: part.lsn,
            body: manifest.encode(),
            wal_end,
            released: locations.released_by(&manifest.entries, manifest.object()),
        };
        SealedPart {
            manifest,
            commit,
            data_bytes,
            runs,
        }
    }
}

impl From<L0WriteError> for WriteFailed {
    fn from(error: L0WriteError) -> Self {
        let may_exist = match &error {
            L0WriteError::Put(PutError::MayHaveHappened { .. }) => true,
            L0WriteError::Put(PutError::DidNotHappen { .. })
            | L0WriteError::TooLarge { .. }
            | L0WriteError::Sections => false,
        };
        Self {
            error: FlushError::Object(error.to_string()),
            may_exist,
        }
    }
}

/// Before an object was finished something else failed: there is none.
impl From<FlushError> for WriteFailed {
    fn from(error: FlushError) -> Self {
        Self {
            error,
            may_exist: false,
        }
    }
}

impl From<StoreError> for WriteFailed {
    fn from(error: StoreError) -> Self {
        FlushError::from(error).into()
    }
}
