//! Whether the database lost the last commits of a shard (`shared` durability): another server answers for it that was
//! behind when the first one was lost.
//!
//! A leader that lives knows what it saw committed. A new leader knows only the database and the objects. So a shard that was
//! led on another timeline of the server, and in which nothing was committed on this one, is looked at before it serves: if
//! an object of an earlier leader holds a flush of it that the database does not have, the shard stops. That flush may have
//! been acknowledged, or its broker may have died before the commit; [`crate::repair`] commits it in either case, which is
//! right in both: offsets were given, and what was never acknowledged may still appear.

use std::collections::BTreeSet;

use futures::future::join_all;
use streamhouse_metadata::store::{GrantRow, Incarnation, Lsn, MetadataStore, ObjectId, ShardRow};
use streamhouse_storage::l0::L0Index;
use streamhouse_storage::objects::{GetError, ObjectClass, ObjectKind, Objects};

use super::RecoverError;
use crate::format::manifest::Manifest;
use crate::format::section::Section;
use crate::read::gather::object_id;
use crate::state::recorded::Recorded;

/// Numbers that are probed behind the last object that the database knows of a life: flushes run side by side, and each
/// takes one number, also if it fails.
const NUMBERS_PROBED: u64 = 64;
/// Uploads of one object: a slow one is made twice.
const ATTEMPTS: u32 = 2;
/// Rows of objects that are read at once.
const ROWS_PER_READ: usize = 1000;

/// One shard's section in an object, as far as it can be read.
#[derive(Clone, Debug)]
pub(crate) struct FoundFlush {
    /// The object.
    pub(crate) object: ObjectId,
    /// Its size.
    pub(crate) bytes: u64,
    /// The manifest of the flush.
    pub(crate) manifest: Manifest,
    /// The section that holds it.
    pub(crate) section: Section,
}

/// Whether nothing was committed in the shard since another server answers for the database.
fn is_unproven(row: &ShardRow, grants: &[GrantRow]) -> bool {
    let is_here = |grant: &&GrantRow| grant.timeline == row.timeline;
    let Some(first_here) = grants.iter().find(is_here) else {
        return false;
    };
    let was_elsewhere = grants
        .iter()
        .any(|grant| grant.timeline != row.timeline && grant.epoch < first_here.epoch);
    was_elsewhere && first_here.at_lsn == row.next_lsn
}

/// Whether a shard may lack commits, whoever is granted it by a server with this timeline.
pub(crate) fn may_lack(row: &ShardRow, grants: &[GrantRow], timeline: u32) -> bool {
    // As of a grant that a broker of now would get.
    let now = ShardRow { timeline, ..*row };
    let was_elsewhere = grants.iter().any(|grant| grant.timeline != timeline);
    let is_here = grants.iter().any(|grant| grant.timeline == timeline);
    is_unproven(&now, grants) || (was_elsewhere && !is_here)
}

/// A flush of the shard that the database lacks, in words; none if there is none, or the shard is proven.
///
/// # Errors
/// If a store did not answer.
pub(crate) async fn find(
    store: &dyn MetadataStore,
    objects: &Objects,
    row: &ShardRow,
    recorded: &Recorded,
) -> Result<Option<String>, RecoverError> {
    let grants = store.grants(row.shard).await?;
    if !is_unproven(row, &grants) {
        return Ok(None);
    }
    let earlier = grants.iter().filter(|grant| grant.epoch < row.epoch);
    let lives: BTreeSet<Incarnation> = earlier.map(|grant| grant.incarnation).collect();
    for life in lives {
        let known = recorded.locations.objects();
        let known = known.filter(|id| id.incarnation == life.0);
        let from = known.map(|id| id.seq).max().unwrap_or(0);
        let last = last_object_of(store, life, from).await?;
        let next = last.saturating_add(1)..last.saturating_add(1 + NUMBERS_PROBED);
        let ids = next.flat_map(|seq| {
            (0..ATTEMPTS).map(move |attempt| ObjectId {
                incarnation: life.0,
                seq,
                attempt,
            })
        });
        for found in join_all(ids.map(|id| probe(objects, id))).await {
            for flush in found? {
                if flush.manifest.shard == row.shard && flush.manifest.lsn >= row.next_lsn {
                    return Ok(Some(lacks(&flush, row.next_lsn)));
                }
            }
        }
    }
    Ok(None)
}

fn lacks(flush: &FoundFlush, next_lsn: Lsn) -> String {
    format!(
        "object {} holds manifest {}, which may have been acknowledged, the database ends before {next_lsn}; stop all brokers and commit what it lacks with `streamhouse repair metadata`",
        object_id(flush.object).key(ObjectKind::L0),
        flush.manifest.lsn
    )
}

/// The number of the last object of a life that the database knows, from `from` on.
async fn last_object_of(
    store: &dyn MetadataStore,
    life: Incarnation,
    from: u64,
) -> Result<u64, RecoverError> {
    let mut last = from;
    loop {
        let after = ObjectId {
            incarnation: life.0,
            seq: last,
            attempt: u32::MAX,
        };
        let rows = store.objects(Some(after), ROWS_PER_READ).await?;
        let own = rows.iter().filter(|row| row.id.incarnation == life.0);
        let Some(newest) = own.map(|row| row.id.seq).max() else {
            return Ok(last);
        };
        last = newest;
    }
}

/// The flushes in an object that may be there.
async fn probe(objects: &Objects, id: ObjectId) -> Result<Vec<FoundFlush>, RecoverError> {
    let key = object_id(id).key(ObjectKind::L0);
    match objects.size(&key, ObjectClass::Checkpoint).await {
        Ok(bytes) => flushes_in(objects, id, bytes).await,
        Err(GetError::NotFound { .. }) => Ok(Vec::new()),
        Err(source @ (GetError::Short { .. } | GetError::Unavailable { .. })) => {
            Err(RecoverError::NotProbed {
                source: source.into(),
            })
        }
    }
}

/// The flushes in an object that is there.
///
/// # Errors
/// If it cannot be read: that says nothing about what was acknowledged. Uploads are whole or not there, so what is damaged
/// was whole once.
pub(crate) async fn flushes_in(
    objects: &Objects,
    id: ObjectId,
    bytes: u64,
) -> Result<Vec<FoundFlush>, RecoverError> {
    let key = object_id(id).key(ObjectKind::L0);
    let class = ObjectClass::Checkpoint;
    let load = || L0Index::load(objects, &key, bytes, class);
    let index = objects.read_twice(&key, class, load).await;
    let index = index.map_err(|source| RecoverError::NotProbed { source })?;
    let sections = index.sections().to_vec();
    let flushes = sections.into_iter().filter_map(|section| {
        let section = Section::decode(section.body).ok()?;
        let manifest = Manifest::decode(section.body.clone()).ok()?;
        Some(FoundFlush {
            object: id,
            bytes,
            manifest,
            section,
        })
    });
    Ok(flushes.collect())
}
