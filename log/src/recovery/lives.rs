//! Lives that the database lost (`shared` durability): a broker may have registered, led, written and died within the commits
//! that a failover took back. Nothing in the database names it, so the object store is asked: each life leaves a mark there
//! before it first serves.
//!
//! A mark goes when the life is over, old enough that no replica is that far behind, and known to the database or without
//! objects. A repair, which looks at all objects, takes the marks of all that do not live.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use streamhouse_metadata::store::{Incarnation, MetadataStore, StoreError};
use streamhouse_storage::objects::{MarkedLife, ObjectClass, ObjectKind, Objects};
use tokio::sync::{Mutex, OnceCell};

use super::RecoverError;
use super::lost_suffix::{listed_id, objects_of};

/// What a log knows of the marks.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// Its own life has left its mark.
    marked: OnceCell<()>,
    /// The lost lives that were found, and on which timeline of the server: a failover begins another one.
    lost: Mutex<Option<(u32, BTreeSet<Incarnation>)>>,
}

impl Lives {
    /// Leaves the mark of the log's own life, once.
    pub(crate) async fn mark(
        &self,
        objects: &Objects,
        life: Incarnation,
    ) -> Result<(), RecoverError> {
        let mark = || objects.mark_life(life.0);
        let marked = self.marked.get_or_try_init(mark).await;
        marked.map_err(|source| RecoverError::NotMarked { source })?;
        Ok(())
    }

    /// The lives that the database does not know and that left objects without a row. Looked for once on a timeline: who
    /// begins later is known to the database on it.
    pub(crate) async fn lost(
        &self,
        store: &dyn MetadataStore,
        objects: &Objects,
    ) -> Result<BTreeSet<Incarnation>, RecoverError> {
        let mut found = self.lost.lock().await;
        let timeline = store.timeline();
        if let Some((_, lost)) = found.as_ref().filter(|(on, _)| *on == timeline) {
            return Ok(lost.clone());
        }
        // The marks first: whoever registers meanwhile is known.
        let marked = marked(objects).await?;
        let known = known(store).await?;
        let mut lost = BTreeSet::new();
        for life in marked {
            let life = Incarnation(life.incarnation);
            if !known.contains(&life) && has_more(store, objects, life).await? {
                tracing::warn!(%life, "the database does not know a broker that wrote objects");
                lost.insert(life);
            }
        }
        *found = Some((timeline, lost.clone()));
        Ok(lost)
    }
}

async fn marked(objects: &Objects) -> Result<Vec<MarkedLife>, RecoverError> {
    let marked = objects.marked_lives().await;
    marked.map_err(|source| RecoverError::NotListed { source })
}

/// The lives that the database knows.
async fn known(store: &dyn MetadataStore) -> Result<BTreeSet<Incarnation>, StoreError> {
    let mut known = living(store).await?;
    for row in store.shards().await? {
        let grants = store.grants(row.shard).await?;
        known.extend(grants.into_iter().map(|grant| grant.incarnation));
        known.extend(row.incarnation);
    }
    Ok(known)
}

async fn living(store: &dyn MetadataStore) -> Result<BTreeSet<Incarnation>, StoreError> {
    let brokers = store.brokers().await?;
    Ok(brokers.into_iter().map(|it| it.incarnation).collect())
}

/// Whether a life has objects of flushes that no row names.
async fn has_more(
    store: &dyn MetadataStore,
    objects: &Objects,
    life: Incarnation,
) -> Result<bool, RecoverError> {
    // Listed first: what is committed meanwhile has a row.
    let listed: Vec<_> = objects
        .list(Some(life.0), ObjectClass::Checkpoint)
        .try_collect()
        .await
        .map_err(|source| RecoverError::NotListed { source })?;
    let known = objects_of(store, life).await?;
    let mut flushes = listed.iter().filter(|it| it.key.kind() == ObjectKind::L0);
    Ok(flushes.any(|object| !known.contains(&listed_id(object))))
}

/// Takes away the marks that were left before `before_ms`, of lives that are over and cannot have been lost; `own` is
/// not over.
pub(crate) async fn unmark_old(
    store: &dyn MetadataStore,
    objects: &Objects,
    own: Incarnation,
    before_ms: i64,
) -> Result<(), RecoverError> {
    let mut old = marked(objects).await?;
    old.retain(|life| life.modified_ms < before_ms && life.incarnation != own.0);
    if old.is_empty() {
        return Ok(());
    }
    let (living, known) = (living(store).await?, known(store).await?);
    for life in old {
        let life = Incarnation(life.incarnation);
        if living.contains(&life) {
            continue;
        }
        if known.contains(&life) || !has_more(store, objects, life).await? {
            unmark(objects, life).await?;
        }
    }
    Ok(())
}

/// Takes away the marks of all that do not live.
///
/// # Errors
/// A store did not answer; some marks may be there still.
pub(crate) async fn unmark_dead(
    store: &dyn MetadataStore,
    objects: &Objects,
) -> Result<(), RecoverError> {
    let living = living(store).await?;
    for life in marked(objects).await? {
        let life = Incarnation(life.incarnation);
        if !living.contains(&life) {
            unmark(objects, life).await?;
        }
    }
    Ok(())
}

async fn unmark(objects: &Objects, life: Incarnation) -> Result<(), RecoverError> {
    let unmarked = objects.unmark_life(life.0).await;
    unmarked.map_err(|source| RecoverError::NotMarked { source })
}
