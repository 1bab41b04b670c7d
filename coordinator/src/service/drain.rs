//! Giving a shard's groups away: nothing new is accepted, and what was accepted is written first, so that nobody who waits
//! hears of a doubt that there need not be.

use streamhouse_metadata::ShardId;

use super::{Groups, Inner, Place, Served};

/// How far a shard is on its way out.
enum Draining {
    /// Something is not written yet.
    Waits,
    /// All is written.
    Written,
    /// It is not here any more.
    Gone,
}

impl Groups {
    /// Coordinates the groups of a shard no longer, and completes when everything that was accepted for them is written, or
    /// when the shard was let go meanwhile. Parked members hear at once that this broker does not coordinate them, and find
    /// the next one. Takes as long as the metadata store: who gives up calls [`Groups::resume`].
    pub async fn drain(&self, shard: ShardId) {
        self.inner.leave(shard);
        loop {
            let mut settled = std::pin::pin!(self.inner.settled.notified());
            // Registered before the look, so that what happens between look and wait is not missed.
            settled.as_mut().enable();
            match self.inner.draining(shard) {
                Draining::Waits => settled.await,
                Draining::Written => return self.unload(shard),
                Draining::Gone => return,
            }
        }
    }

    /// A shard that was to be given away stays after all.
    pub fn resume(&self, shard: ShardId) {
        let mut served = self.inner.served.lock();
        if let Some(Place::Loaded(shard)) = served.shards.get_mut(&shard) {
            shard.is_leaving = false;
        }
        drop(served);
        // Timers that were passed over are looked at again.
        self.inner.earlier.notify_one();
    }

    /// Whether the groups of a shard are coordinated here.
    #[must_use]
    pub fn serves(&self, shard: ShardId) -> bool {
        let served = self.inner.served.lock();
        match served.shards.get(&shard) {
            Some(Place::Loaded(shard)) => !shard.is_leaving,
            Some(Place::Loading(_)) | None => false,
        }
    }

    /// Whether a shard has groups: members, or offsets of consumers that may come back.
    #[must_use]
    pub fn has_groups(&self, shard: ShardId) -> bool {
        let served = self.inner.served.lock();
        match served.shards.get(&shard) {
            Some(Place::Loaded(shard)) => !shard.groups.is_empty(),
            Some(Place::Loading(_)) | None => false,
        }
    }
}

impl Inner {
    fn leave(&self, shard: ShardId) {
        let mut served = self.served.lock();
        let Some(Place::Loaded(shard)) = served.shards.get_mut(&shard) else {
            return;
        };
        shard.is_leaving = true;
        for slot in shard.groups.values_mut() {
            slot.joins.clear();
            slot.syncs.clear();
        }
        drop(served);
        self.unwritten.notify_one();
    }

    fn draining(&self, shard: ShardId) -> Draining {
        let served: &Served = &self.served.lock();
        match served.shards.get(&shard) {
            Some(Place::Loaded(shard)) if shard.in_flight.is_some() || shard.has_unwritten() => {
                Draining::Waits
            }
            Some(Place::Loaded(_)) => Draining::Written,
            // A load that comes to its end finds that the shard was let go.
            Some(Place::Loading(_)) | None => Draining::Gone,
        }
    }
}
