//! Writing: the batches of all shards into one object, with the manifests in its footer.

use bytes::Bytes;
use streamhouse_metadata::store::{ManifestCommit, NewObject, ObjectId, WalEnd};
use streamhouse_storage::l0::{L0Writer, Section as L0Section};
use streamhouse_storage::objects::{ObjectClass, ObjectKind};
use streamhouse_storage::wal::WalPosition;

use super::FlushError;
use super::collect::{Collected, RunBuilder, ShardPart};
use crate::Log;
use crate::format::entry::{Entry, Run};
use crate::format::manifest::{DataStart, Manifest};
use crate::format::section::{LastSeen, Section};
use crate::format::wal_record::WalHead;
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

impl Log {
    /// Stores the batches of `parts` in one object. Shards that only trim have no bytes; if all are such, there is no
    /// object.
    pub(crate) async fn write_object(
        &self,
        parts: Vec<ShardPart>,
        cut: WalPosition,
    ) -> Result<Sealed, FlushError> {
        let holds_data = |part: &ShardPart| {
            part.entries
                .iter()
                .any(|e| matches!(e.entry, Entry::Run(_)))
        };
        if !parts.iter().any(holds_data) {
            let sealed = parts.into_iter().map(|part| {
                let entries = part
                    .entries
                    .iter()
                    .map(|collected| collected.entry.clone())
                    .collect();
                self.seal(part, entries, None, 0, cut)
            });
            return Ok(Sealed {
                object: None,
                parts: sealed.collect(),
                cut,
            });
        }
        let id = ObjectId {
            incarnation: self.incarnation.0,
            seq: self.next_object_seq(),
            attempt: 0,
        };
        let key = object_id(id).key(ObjectKind::L0);
        let writer = self.objects().writer(&key, ObjectClass::Flush);
        let mut writer = L0Writer::begin(writer, self.cluster, self.wall_ms())
            .await
            .map_err(object_error)?;
        let mut sealed = Vec::with_capacity(parts.len());
        let mut sections = Vec::with_capacity(parts.len());
        for part in parts {
            let data = DataStart {
                object_seq: id.seq,
                attempt: id.attempt,
                first_byte: writer.position(),
            };
            let has_data = holds_data(&part);
            let entries = self.write_batches(&part.entries, &mut writer).await?;
            let data_bytes = writer.position() - data.first_byte;
            let earlier = part.earlier.clone();
            let part = self.seal(part, entries, has_data.then_some(data), data_bytes, cut);
            if has_data {
                let section = Section {
                    last_seen: LastSeen::default(),
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
        let written = writer.finish(sections).await.map_err(object_error)?;
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

    /// Appends the batches among `entries` to the object and gives the entries with batches joined to runs.
    async fn write_batches(
        &self,
        entries: &[Collected],
        writer: &mut L0Writer,
    ) -> Result<Vec<Entry>, FlushError> {
        let mut out = Vec::new();
        let mut runs = RunBuilder::default();
        for collected in entries {
            let Entry::Run(batch) = &collected.entry else {
                out.extend(runs.finish().map(Entry::Run));
                out.push(collected.entry.clone());
                continue;
            };
            let bytes = self.batch_bytes(collected, batch).await?;
            out.extend(runs.push(batch, &bytes).map(Entry::Run));
            writer.append(bytes).await.map_err(object_error)?;
        }
        out.extend(runs.finish().map(Entry::Run));
        Ok(out)
    }

    async fn batch_bytes(&self, collected: &Collected, batch: &Run) -> Result<Bytes, FlushError> {
        if let Some(bytes) = &collected.bytes {
            return Ok(bytes.clone());
        }
        let payload = self
            .wal()
            .read(collected.location)
            .await
            .map_err(|error| FlushError::Wal(error.to_string()))?;
        let (head, bytes) =
            WalHead::decode(payload).map_err(|error| FlushError::Wal(error.to_string()))?;
        if head.offset == batch.base_offset && bytes.len() as u64 == batch.bytes {
            Ok(bytes)
        } else {
            Err(FlushError::Wal(
                "the WAL holds another batch at this place".to_owned(),
            ))
        }
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
        let commit = ManifestCommit {
            shard: part.shard,
            epoch: part.epoch,
            incarnation: part.incarnation,
            lsn: part.lsn,
            body: manifest.encode(),
            wal_end,
            released: part.released,
        };
        SealedPart {
            manifest,
            commit,
            data_bytes,
            runs,
        }
    }
}

fn object_error(error: impl std::fmt::Display) -> FlushError {
    FlushError::Object(error.to_string())
}
