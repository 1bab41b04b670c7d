//! Whether the database lost the last commits of a shard (`shared` durability): another server answers for it that was
//! behind when the first one was lost.
//!
//! A leader that lives knows what it saw committed. A new leader knows only the database and the objects. So a shard that was
//! led on another timeline of the server, and in which nothing was committed on this one, is looked at before it serves: if
//! an object that no row names holds a flush of it that the database does not have, the shard stops. That flush may have
//! been acknowledged, or its broker may have died before the commit; [`crate::repair`] commits it in either case, which is
//! right in both: offsets were given, and what was never acknowledged may still appear.
//!
//! Which objects were lost cannot be told by their numbers: the same life may have committed other shards since, and may have
//! given up objects, on the new server. Nor by the grants of the shard alone: the last ones may be lost, too. So all
//! objects of every life that may have led it when the other server was lost are listed.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use streamhouse_metadata::store::{
    GrantRow, Incarnation, Lsn, MetadataStore, ObjectId, ShardRow, StoreError,
};
use streamhouse_runtime::planted;
use streamhouse_storage::l0::L0Index;
use streamhouse_storage::objects::{ListedObject, ObjectClass, ObjectKind, Objects};

use super::RecoverError;
use crate::format::manifest::Manifest;
use crate::format::section::Section;
use crate::read::gather::object_id;

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

/// Whether the database may lack commits of the shard: it was led on another timeline of the server and not on this one,
/// or nothing was committed in it on this one.
pub(crate) fn may_lack(row: &ShardRow, grants: &[GrantRow], timeline: u32) -> bool {
    let first_here = grants.iter().find(|grant| grant.timeline == timeline);
    let is_elsewhere = |grant: &&GrantRow| grant.timeline != timeline;
    let Some(first_here) = first_here else {
        return grants.iter().any(|grant| is_elsewhere(&grant));
    };
    let mut earlier = grants.iter().filter(is_elsewhere);
    earlier.any(|grant| grant.epoch < first_here.epoch) && first_here.at_lsn == row.next_lsn
}

/// A flush of the shard that the database lacks, in words; none if there is none. Of a shard that is proven only `lost` are
/// looked at, the lives that the database does not know.
///
/// # Errors
/// If a store did not answer.
pub(crate) async fn find(
    store: &dyn MetadataStore,
    objects: &Objects,
    row: &ShardRow,
    lost: BTreeSet<Incarnation>,
) -> Result<Option<String>, RecoverError> {
    let grants = store.grants(row.shard).await?;
    if planted::bug("loss_not_looked_for") {
        return Ok(None);
    }
    let mut suspects = lost;
    if may_lack(row, &grants, store.timeline()) {
        suspects.extend(lives(store).await?);
    }
    for life in suspects {
        // Listed first: what is committed meanwhile has a row.
        let listed: Vec<ListedObject> = objects
            .list(Some(life.0), ObjectClass::Checkpoint)
            .try_collect()
            .await
            .map_err(|source| RecoverError::NotListed { source })?;
        let known = objects_of(store, life).await?;
        for object in listed {
            let id = listed_id(&object);
            if object.key.kind() != ObjectKind::L0 || known.contains(&id) {
                continue;
            }
            let flushes = flushes_in(objects, id, object.bytes).await?;
            let lost = flushes.into_iter().find(|flush| {
                flush.manifest.shard == row.shard && flush.manifest.lsn >= row.next_lsn
            });
            if let Some(lost) = lost {
                return Ok(Some(lacks(&lost, row.next_lsn)));
            }
        }
    }
    Ok(None)
}

/// The lives that may have led any shard when a server was lost: the last leaders that are known of it, and who lives, since
/// the last grants may be lost, too; and, as they may be among these, those that led since.
async fn lives(store: &dyn MetadataStore) -> Result<BTreeSet<Incarnation>, StoreError> {
    let undead = store.brokers().await?;
    let mut lives: BTreeSet<Incarnation> = undead.iter().map(|it| it.incarnation).collect();
    let timeline = store.timeline();
    for row in store.shards().await? {
        let grants = store.grants(row.shard).await?;
        let after = grants.iter().skip(1).map(Some).chain([None]);
        for (grant, next) in grants.iter().zip(after) {
            let is_last = next.is_none_or(|next| next.timeline != grant.timeline);
            if is_last || grant.timeline == timeline {
                lives.insert(grant.incarnation);
            }
        }
    }
    Ok(lives)
}

fn lacks(flush: &FoundFlush, next_lsn: Lsn) -> String {
    format!(
        "object {} holds manifest {}, which may have been acknowledged, the database ends before {next_lsn}; stop all brokers and commit what it lacks with `streamhouse repair metadata`",
        object_id(flush.object).key(ObjectKind::L0),
        flush.manifest.lsn
    )
}

/// The ids of a life's objects that the database knows, needed or not.
pub(crate) async fn objects_of(
    store: &dyn MetadataStore,
    life: Incarnation,
) -> Result<BTreeSet<ObjectId>, StoreError> {
    let mut known = BTreeSet::new();
    let mut after = ObjectId {
        incarnation: life.0,
        seq: 0,
        attempt: 0,
    };
    loop {
        let rows = store.objects(Some(after), ROWS_PER_READ).await?;
        let is_last = rows.len() < ROWS_PER_READ;
        let own = rows.into_iter().map(|row| row.id);
        let own: Vec<ObjectId> = own.filter(|id| id.incarnation == life.0).collect();
        match own.last() {
            Some(last) if !is_last => after = *last,
            Some(_) | None => {
                known.extend(own);
                return Ok(known);
            }
        }
        known.extend(own);
    }
}

/// The id of an object that was listed, as rows spell it.
pub(crate) fn listed_id(object: &ListedObject) -> ObjectId {
    let id = object.key.id();
    ObjectId {
        incarnation: id.incarnation,
        seq: id.seq,
        attempt: id.attempt,
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
