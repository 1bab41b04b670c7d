//! Writing: the batches of all shards into one object, with the manifests in its footer.

use bytes::Bytes;
use streamhouse_metadata::store::{
    ManifestCommit, NewObject, ObjectId, Revision, ShardId, StoreError, WalEnd,
};
use streamhouse_protocol::ids::TopicPartition;
use streamhouse_storage::l0::{L0WriteError, L0Writer, Section as L0Section};
use streamhouse_storage::objects::{ObjectClass, ObjectKind, PutError};

use super::FlushError;
use super::collect::ShardPart;
use crate::Log;
use crate::append::stored::StoredBatch;
use crate::format::entry::Entry;
use crate::format::manifest::{DataStart, FlushId, Manifest};
use crate::format::section::{LastSeen, Section};
use crate::read::gather::object_id;

/// A flush whose bytes are safe and whose manifests are ready to be committed.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) object: Option<NewObject>,
    pub(crate) parts: Vec<SealedPart>,
    /// Another upload of the same, which may be in the store: given up when this one is committed.
    pub(crate) loser: Option<ObjectId>,
}

/// One shard's part of it.
#[derive(Debug)]
pub(crate) struct SealedPart {
    /// The flush whose part it is (`shared`).
    pub(crate) ticket: u64,
    pub(crate) manifest: Manifest,
    pub(crate) commit: ManifestCommit,
    /// What the shard forgets when the manifest is committed.
    pub(crate) taken: Vec<TakenCount>,
    pub(crate) data_bytes: u64,
    pub(crate) runs: usize,
}

/// How much a flush took from one partition, counted from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenCount {
    pub(crate) at: TopicPartition,
    pub(crate) entries: usize,
    pub(crate) batches: usize,
}

/// Bytes of manifests without an object after which a shard's next section takes them along even if it has no batches:
/// they leave memory only when an object holds them.
const BODILESS_BYTES_MAX: usize = 8 << 20;

/// An object was not written.
pub(crate) struct WriteFailed {
    pub(crate) error: FlushError,
    /// It may be in the store all the same.
    pub(crate) may_exist: bool,
}

impl ShardPart {
    /// Whether the shard gets a section in the object.
    pub(crate) fn needs_object(&self) -> bool {
        let earlier: usize = self.earlier.iter().map(Bytes::len).sum();
        self.has_batches() || earlier >= BODILESS_BYTES_MAX
    }

    /// Its link in the chain of flushes, if it gets a section.
    pub(crate) fn flush_id(&self) -> FlushId {
        FlushId {
            epoch: self.epoch.0,
            incarnation: self.incarnation.0,
            seq: self.flush_seq,
        }
    }

    /// What changes in the shard; `data` if it gets a section.
    pub(crate) fn manifest(&self, data: Option<DataStart>, wal_end: Option<WalEnd>) -> Manifest {
        let entries = self.partitions.iter().map(|(_, taken)| &taken.entries);
        Manifest {
            shard: self.shard,
            lsn: self.lsn,
            epoch: self.epoch,
            incarnation: self.incarnation,
            flush_seq: if data.is_some() { self.flush_seq } else { 0 },
            prev: self.prev,
            stamp: self.stamp,
            wal_end,
            data,
            entries: entries.flatten().cloned().collect(),
        }
    }
}

impl Log {
    /// Stores the batches of `parts` in one object. Shards that only trim have no bytes; if all are such, there is no
    /// object.
    pub(crate) async fn write_object(&self, parts: Vec<ShardPart>) -> Result<Sealed, FlushError> {
        let id = ObjectId {
            incarnation: self.incarnation.0,
            seq: self.next_object_seq(),
            attempt: 0,
        };
        let written = if parts.iter().any(ShardPart::needs_object) {
            self.write_parts(id, &parts).await
        } else {
            Ok(self.seal_only(&parts))
        };
        match written {
            Ok(sealed) => Ok(sealed),
            Err(failed) => {
                self.give_up_failed(id, &failed).await;
                Err(failed.error)
            }
        }
    }

    /// Gives up an object that was not written, if it may be in the store all the same.
    pub(crate) async fn give_up_failed(&self, id: ObjectId, failed: &WriteFailed) {
        if failed.may_exist {
            self.abandon(id).await;
        }
    }

    pub(crate) fn seal_only(&self, parts: &[ShardPart]) -> Sealed {
        let parts = parts.iter().map(|part| self.seal(part, None, 0));
        Sealed {
            object: None,
            parts: parts.collect(),
            loser: None,
        }
    }

    pub(crate) async fn write_parts(
        &self,
        id: ObjectId,
        parts: &[ShardPart],
    ) -> Result<Sealed, WriteFailed> {
        let key = object_id(id).key(ObjectKind::L0);
        let revision = match &self.shared {
            Some(shared) => shared.seen().1,
            None => self.store().revision().await?,
        };
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
            self.write_batches(part, &mut writer).await?;
            let data_bytes = writer.position() - data.first_byte;
            let earlier = part.earlier.clone();
            let part = self.seal(part, needs_object.then_some(data), data_bytes);
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
        let object = NewObject {
            id,
            key: key.to_string(),
            bytes: written.bytes,
        };
        Ok(Sealed {
            object: Some(object),
            parts: sealed,
            loser: None,
        })
    }

    async fn last_seen(&self, revision: Revision, shard: ShardId) -> Result<LastSeen, StoreError> {
        if let Some(shared) = &self.shared {
            // Producers wait: nothing is asked that was told already.
            return Ok(LastSeen {
                timeline: shared.seen().0,
                revision: revision.number,
                tag: revision.tag,
                coordination_seq: self.shard_of(shard).lock().coordination_seq,
            });
        }
        let seq = self.store().coordination_seq(shard).await?;
        Ok(LastSeen {
            // The embedded store has no timelines.
            timeline: 0,
            revision: revision.number,
            tag: revision.tag,
            coordination_seq: seq.unwrap_or(0),
        })
    }

    /// Appends the batches of a part to the object, in the order of its runs.
    async fn write_batches(
        &self,
        part: &ShardPart,
        writer: &mut L0Writer,
    ) -> Result<(), WriteFailed> {
        for (at, taken) in &part.partitions {
            if !taken.in_memory.is_empty() {
                append_all(writer, taken.in_memory.clone()).await?;
                continue;
            }
            let read = async |from| {
                if from == taken.batches {
                    return Ok(Vec::new());
                }
                self.collect_chunk(part.shard, *at, from..taken.batches)
                    .await
            };
            let mut done = 0;
            let mut bytes = 0;
            let mut chunk = read(0).await?;
            while !chunk.is_empty() {
                done += chunk.len();
                // The next ones are read while these are written.
                let (next, written) = tokio::join!(read(done), append_all(writer, chunk));
                bytes += written?;
                chunk = next?;
            }
            // Every run lies behind the one before: one byte too few would move all that follow.
            if bytes != taken.bytes() {
                return Err(FlushError::Wal(format!(
                    "{bytes} bytes were found of {} that the runs of {at} hold",
                    taken.bytes()
                ))
                .into());
            }
        }
        Ok(())
    }

    fn seal(&self, part: &ShardPart, data: Option<DataStart>, data_bytes: u64) -> SealedPart {
        let wal_end = self.wal_dir.map(|dir| WalEnd {
            dir,
            position: part.wal_end.0,
        });
        let taken = part.partitions.iter().map(|(at, taken)| TakenCount {
            at: *at,
            entries: taken.entries.len(),
            batches: taken.batches,
        });
        let manifest = part.manifest(data, wal_end);
        let entries = manifest.entries.iter();
        let runs = entries.filter(|entry| matches!(entry, Entry::Run(_)));
        let commit = ManifestCommit {
            shard: part.shard,
            epoch: part.epoch,
            incarnation: part.incarnation,
            lsn: part.lsn,
            body: manifest.encode(),
            wal_end,
            released: Vec::new(),
            clears_wal_dir: false,
        };
        SealedPart {
            ticket: part.ticket,
            taken: taken.collect(),
            runs: runs.count(),
            manifest,
            commit,
            data_bytes,
        }
    }

    /// Notes which objects the shard needs no more when the part is committed: told by what is recorded just before.
    pub(crate) fn release(&self, part: &mut SealedPart) {
        let inner = self.shard_of(part.commit.shard).lock();
        let locations = &inner.recorded.locations;
        part.commit.released =
            locations.released_by(&part.manifest.entries, part.manifest.object());
    }
}

/// Appends batches one behind the other and says how many bytes they were.
async fn append_all(writer: &mut L0Writer, batches: Vec<StoredBatch>) -> Result<u64, L0WriteError> {
    let mut bytes = 0;
    for batch in batches {
        bytes += batch.len() as u64;
        for piece in batch.pieces() {
            writer.append(piece.clone()).await?;
        }
    }
    Ok(bytes)
}

impl From<L0WriteError> for WriteFailed {
    fn from(error: L0WriteError) -> Self {
        let reason = error.to_string();
        let (error, may_exist) = match error {
            L0WriteError::Put(PutError::MayHaveHappened { .. }) => {
                (FlushError::Object(reason), true)
            }
            L0WriteError::Put(PutError::DidNotHappen { .. }) => (FlushError::Object(reason), false),
            L0WriteError::TooLarge { .. } | L0WriteError::Sections => {
                (FlushError::Unwritable(reason), false)
            }
        };
        Self { error, may_exist }
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
