//! Repair after the database lost its last commits: what it lacks lies in objects, and is committed again, so that every
//! acknowledged record is back at its offset.
//!
//! Every section of an object holds the manifest of its flush, and the manifests without an object since the flush before;
//! it names that flush. From the last flush that the database has, the chain of these names leads to the last one that was
//! stored. Where two sections follow the same flush, the one of the higher epoch counts: its leader was granted the shard
//! when the other flush was not committed. What was stored and never acknowledged is committed, too: it may still appear.
//!
//! What no object holds is gone: trims since the last flush, committed offsets of groups, topics and their settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use streamhouse_metadata::store::{
    Commit, CommitError, CommitOutcome, GrantOutcome, GrantRequest, Incarnation, Lsn,
    ManifestCommit, MetadataStore, NewObject, ObjectId, ShardId, ShardRow, StoreError,
};
use streamhouse_protocol::ids::TopicId;
use streamhouse_storage::objects::{ListError, ObjectClass, ObjectKind, Objects};

use crate::format::bytes::FormatError;
use crate::format::manifest::{FlushId, Manifest};
use crate::read::gather::object_id;
use crate::recovery::lives::unmark_dead;
use crate::recovery::lost_suffix::{FoundFlush, flushes_in, may_lack};
use crate::recovery::{RecoverError, load_shard};
use crate::state::recorded::{RecordError, Recorded};

/// Rows of objects that are read at once.
const ROWS_PER_READ: usize = 1000;

/// What a repair works on. No broker may run.
pub struct RepairParts {
    /// The database.
    pub store: Arc<dyn MetadataStore>,
    /// The object store.
    pub objects: Objects,
    /// A life of its own, which nobody had before.
    pub incarnation: Incarnation,
}

impl fmt::Debug for RepairParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairParts")
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Manifests that were committed again, by shard.
    pub manifests: BTreeMap<ShardId, u64>,
    /// Objects that are named again.
    pub objects: u64,
    /// Records in them.
    pub records: u64,
    /// Topics that the database does not know any more although records of them are stored.
    pub unknown_topics: BTreeSet<TopicId>,
}

/// Why a repair ended. What was committed stays; calling it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The metadata store failed.
    #[error("the metadata store failed: {0}")]
    Store(#[from] StoreError),
    /// The objects could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The state of a shard could not be loaded.
    #[error(transparent)]
    Load(#[from] RecoverError),
    /// A broker runs.
    #[error("shard {shard} is led by a broker that lives; stop all brokers, and repair again")]
    Held {
        /// The shard.
        shard: u32,
    },
    /// A manifest does not follow.
    #[error("shard {shard}: {source}; nothing more was committed in it")]
    Record {
        /// The shard.
        shard: u32,
        /// Why.
        source: RecordError,
    },
    /// A manifest without an object cannot be read.
    #[error("shard {shard}: a manifest cannot be read: {source}")]
    Format {
        /// The shard.
        shard: u32,
        /// Why.
        source: FormatError,
    },
    /// A commit failed.
    #[error("the commit failed: {0}; repair again")]
    Commit(#[from] CommitError),
    /// Somebody took a shard meanwhile.
    #[error("a broker took shard {shard} meanwhile; stop all brokers, and repair again")]
    Fenced {
        /// The shard.
        shard: u32,
    },
}

/// A shard on its way back.
struct Repairing {
    row: ShardRow,
    recorded: Recorded,
    /// What follows, in order.
    chain: Vec<FoundFlush>,
    is_unproven: bool,
}

/// Commits what the database lacks and objects hold.
///
/// # Errors
/// See [`RepairError`].
pub async fn repair(parts: &RepairParts) -> Result<Repaired, RepairError> {
    let mut repaired = Repaired::default();
    let unknown = unknown_flushes(parts).await?;
    let mut shards = BTreeMap::new();
    for row in parts.store.shards().await? {
        let grants = parts.store.grants(row.shard).await?;
        let loaded = load_shard(&*parts.store, &parts.objects, &row).await?;
        let chain = chain(&row, loaded.recorded.last_flush, &unknown);
        let is_unproven = may_lack(&row, &grants, parts.store.timeline());
        if !chain.is_empty() || is_unproven {
            let repairing = Repairing {
                row: granted(parts, row).await?,
                recorded: loaded.recorded,
                chain,
                is_unproven,
            };
            shards.insert(row.shard, repairing);
        }
    }
    let topics = parts.store.topics().await?;
    let known = topics.topics.iter().map(|topic| topic.id);
    let known: BTreeSet<TopicId> = known
        .chain(topics.tombstones.iter().map(|t| t.id))
        .collect();
    while let Some(id) = next_object(&shards) {
        commit_object(parts, &mut shards, id, &known, &mut repaired).await?;
    }
    for repairing in shards.values_mut() {
        if repairing.is_unproven && !repaired.manifests.contains_key(&repairing.row.shard) {
            prove(parts, repairing).await?;
        }
    }
    // Nothing of them can be missing any more.
    unmark_dead(&*parts.store, &parts.objects).await?;
    Ok(repaired)
}

/// The flushes in objects that the database does not know.
async fn unknown_flushes(parts: &RepairParts) -> Result<Vec<FoundFlush>, RepairError> {
    let mut known = BTreeSet::new();
    let mut after = None;
    loop {
        let rows = parts.store.objects(after, ROWS_PER_READ).await?;
        known.extend(rows.iter().map(|row| row.id));
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
    }
    let mut found = Vec::new();
    // Another class than that of the reads below: a listing that waits to be read on keeps its places among the requests.
    let mut listing = parts.objects.list(None, ObjectClass::Garbage);
    while let Some(object) = listing.try_next().await? {
        let id = object.key.id();
        let id = ObjectId {
            incarnation: id.incarnation,
            seq: id.seq,
            attempt: id.attempt,
        };
        if object.key.kind() == ObjectKind::L0 && !known.contains(&id) {
            found.extend(flushes_in(&parts.objects, id, object.bytes).await?);
        }
    }
    Ok(found)
}

/// The flushes of a shard that follow `last`, one another.
fn chain(row: &ShardRow, last: FlushId, found: &[FoundFlush]) -> Vec<FoundFlush> {
    let mut chain: Vec<FoundFlush> = Vec::new();
    let (mut last, mut next_lsn) = (last, row.next_lsn);
    loop {
        let follows = found.iter().filter(|flush| {
            let manifest = &flush.manifest;
            manifest.shard == row.shard && manifest.prev == last && manifest.lsn >= next_lsn
        });
        let newest = follows.max_by_key(|flush| {
            let manifest = &flush.manifest;
            (manifest.epoch, flush.object.seq, flush.object.attempt)
        });
        let Some(next) = newest else { return chain };
        last = next.manifest.flush_id();
        next_lsn = Lsn(next.manifest.lsn.0.saturating_add(1));
        chain.push(next.clone());
    }
}

async fn granted(parts: &RepairParts, row: ShardRow) -> Result<ShardRow, RepairError> {
    let shard = row.shard;
    let request = GrantRequest::own(parts.incarnation, None, [shard]);
    let outcomes = parts.store.grant(request).await?;
    match outcomes.into_iter().next() {
        Some(GrantOutcome::Granted(row)) => Ok(row),
        Some(
            GrantOutcome::Held { .. }
            | GrantOutcome::Changed { .. }
            | GrantOutcome::Dead { .. }
            | GrantOutcome::WalElsewhere { .. }
            | GrantOutcome::UnknownShard,
        )
        | None => Err(RepairError::Held { shard: shard.0 }),
    }
}

/// An object that comes next in every shard that has it.
fn next_object(shards: &BTreeMap<ShardId, Repairing>) -> Option<ObjectId> {
    let heads = shards.values().filter_map(|shard| shard.chain.first());
    let mut heads: Vec<ObjectId> = heads.map(|flush| flush.object).collect();
    heads.sort_unstable();
    let comes_later = |id: &ObjectId| {
        let mut chains = shards.values().map(|shard| shard.chain.iter().skip(1));
        chains.any(|mut later| later.any(|flush| flush.object == *id))
    };
    let free = heads.iter().find(|id| !comes_later(id));
    // Flushes of one shard follow each other in time, so that some object is the first of all.
    free.or(heads.first()).copied()
}

async fn commit_object(
    parts: &RepairParts,
    shards: &mut BTreeMap<ShardId, Repairing>,
    id: ObjectId,
    known: &BTreeSet<TopicId>,
    repaired: &mut Repaired,
) -> Result<(), RepairError> {
    let mut manifests = Vec::new();
    let mut object = None;
    for (shard, repairing) in shards.iter_mut() {
        if repairing
            .chain
            .first()
            .is_none_or(|flush| flush.object != id)
        {
            continue;
        }
        let flush = repairing.chain.remove(0);
        let mut earlier = Vec::new();
        for body in &flush.section.earlier {
            let manifest = decode(*shard, body.clone())?;
            if manifest.lsn >= repairing.recorded.next_lsn {
                earlier.push(repairing.apply(parts, &manifest, body.clone())?);
            }
        }
        let committed = earlier.len() as u64 + 1;
        commit(parts, None, earlier).await?;
        for entry in &flush.manifest.entries {
            let topic = entry.at().topic;
            if !known.contains(&topic) {
                repaired.unknown_topics.insert(topic);
            }
        }
        repaired.records += flush.manifest.records();
        manifests.push(repairing.apply(parts, &flush.manifest, flush.section.body)?);
        *repaired.manifests.entry(*shard).or_default() += committed;
        object = Some(NewObject {
            id,
            key: object_id(id).key(ObjectKind::L0).to_string(),
            bytes: flush.bytes,
        });
    }
    commit(parts, object, manifests).await?;
    repaired.objects += 1;
    Ok(())
}

/// Says for good that the shard lacks nothing on this timeline: a manifest that changes nothing.
async fn prove(parts: &RepairParts, repairing: &mut Repairing) -> Result<(), RepairError> {
    let manifest = Manifest {
        shard: repairing.row.shard,
        lsn: repairing.recorded.next_lsn,
        epoch: repairing.row.epoch,
        incarnation: parts.incarnation,
        flush_seq: 0,
        prev: repairing.recorded.last_flush,
        stamp: repairing.recorded.state.stamp,
        wal_end: None,
        data: None,
        entries: Vec::new(),
    };
    let body = manifest.encode();
    let committed = repairing.apply(parts, &manifest, body)?;
    commit(parts, None, vec![committed]).await
}

impl Repairing {
    /// Applies a manifest, and makes the commit that says so again.
    fn apply(
        &mut self,
        parts: &RepairParts,
        manifest: &Manifest,
        body: Bytes,
    ) -> Result<ManifestCommit, RepairError> {
        let locations = &self.recorded.locations;
        let released = locations.released_by(&manifest.entries, manifest.object());
        let shard = self.row.shard;
        let applied = self.recorded.apply(manifest);
        applied.map_err(|source| RepairError::Record {
            shard: shard.0,
            source,
        })?;
        Ok(ManifestCommit {
            shard,
            epoch: self.row.epoch,
            incarnation: parts.incarnation,
            lsn: manifest.lsn,
            body,
            wal_end: None,
            clears_wal_dir: false,
            released,
        })
    }
}

fn decode(shard: ShardId, body: Bytes) -> Result<Manifest, RepairError> {
    Manifest::decode(body).map_err(|source| RepairError::Format {
        shard: shard.0,
        source,
    })
}

async fn commit(
    parts: &RepairParts,
    object: Option<NewObject>,
    manifests: Vec<ManifestCommit>,
) -> Result<(), RepairError> {
    if manifests.is_empty() {
        return Ok(());
    }
    let shards: Vec<u32> = manifests.iter().map(|manifest| manifest.shard.0).collect();
    let outcomes = parts.store.commit(Commit { object, manifests }).await?;
    let mut refused = shards.iter().zip(outcomes);
    match refused.find(|(_, outcome)| *outcome == CommitOutcome::Refused) {
        Some((shard, _)) => Err(RepairError::Fenced { shard: *shard }),
        None => Ok(()),
    }
}
