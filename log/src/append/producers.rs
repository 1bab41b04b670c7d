//! How many producers are remembered: per partition and per shard, so that a client that takes a new producer id for
//! every batch costs bounded memory.
//!
//! A producer that is one too many is let in, and the ones that were silent for longest are forgotten, by entries that
//! precede its batch: state never depends on a setting. A producer with an open transaction, or with a batch on its way,
//! is never forgotten.

use streamhouse_protocol::ids::{ProducerId, Timestamp, TopicPartition};

use super::AppendError;
use crate::Log;
use crate::format::entry::Entry;
use crate::shard::{Inner, Shard};

/// More than the excess is forgotten at once, this fraction of the bound, so that looking for the oldest is paid once
/// for many new producers.
const FORGOTTEN_AT_ONCE: usize = 16;

/// The bounds on remembered producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBounds {
    /// Producers of one partition (`producers_per_partition_max`).
    pub per_partition: usize,
    /// Producers of all partitions of a shard (`producers_per_shard_max`).
    pub per_shard: usize,
}

impl Default for ProducerBounds {
    fn default() -> Self {
        Self {
            per_partition: 5000,
            per_shard: 20_000,
        }
    }
}

impl Log {
    /// Makes room for `newcomer`, if it is one and there is none. What is on its way counts as if it were durable.
    pub(super) fn make_room(
        &self,
        shard: &Shard,
        inner: &mut Inner,
        at: TopicPartition,
        newcomer: ProducerId,
    ) -> Result<(), AppendError> {
        if inner.staged_producer(at, newcomer).is_some() {
            return Ok(());
        }
        let bounds = *self.producer_bounds.lock();
        let excess = inner.producers_beyond(Some(at), bounds.per_partition);
        if excess > 0 {
            let gone =
                inner.longest_silent(Some(at), excess + bounds.per_partition / FORGOTTEN_AT_ONCE);
            self.forget(shard, inner, gone)?;
        }
        let excess = inner.producers_beyond(None, bounds.per_shard);
        if excess > 0 {
            let gone = inner.longest_silent(None, excess + bounds.per_shard / FORGOTTEN_AT_ONCE);
            self.forget(shard, inner, gone)?;
        }
        Ok(())
    }

    fn forget(
        &self,
        shard: &Shard,
        inner: &mut Inner,
        gone: Vec<(TopicPartition, ProducerId)>,
    ) -> Result<(), AppendError> {
        for (at, producer) in gone {
            self.stage_locked(shard, inner, Entry::EvictProducer { at, producer })?;
        }
        Ok(())
    }
}

impl Inner {
    /// How many producers (of one partition or of all) there would be beyond `bound` with one more, once everything that
    /// is staged is durable.
    fn producers_beyond(&self, only: Option<TopicPartition>, bound: usize) -> usize {
        let known = match only {
            None => self.live.producers,
            Some(at) => {
                let live = self.live.partitions.get(&at);
                live.map_or(0, |partition| partition.producers.len())
            }
        };
        // Far from the bound nothing is counted.
        if known + self.pending.len() < bound {
            return 0;
        }
        let change: isize = match only {
            Some(at) => self.staged_change(at),
            None => self
                .partitions
                .keys()
                .map(|at| self.staged_change(*at))
                .sum(),
        };
        (known.saturating_add_signed(change) + 1).saturating_sub(bound.max(1))
    }

    fn staged_change(&self, at: TopicPartition) -> isize {
        let Some(partition) = self.partitions.get(&at) else {
            return 0;
        };
        let live = self.live.partitions.get(&at);
        let staged = partition.staged_producers.iter();
        let change = staged.map(|(id, staged)| {
            let is_live = live.is_some_and(|live| live.producers.contains_key(id));
            match (is_live, staged.state.is_some()) {
                (false, true) => 1,
                (true, false) => -1,
                (true, true) | (false, false) => 0,
            }
        });
        change.sum()
    }

    /// The producers (of one partition or of all) that wrote longest ago and may be forgotten, at most `count`.
    fn longest_silent(
        &self,
        only: Option<TopicPartition>,
        count: usize,
    ) -> Vec<(TopicPartition, ProducerId)> {
        let mut silent = self.forgettable(only, Timestamp(i64::MAX));
        if count < silent.len() {
            silent.select_nth_unstable(count);
            silent.truncate(count);
        }
        silent.sort_unstable();
        silent.into_iter().map(|(_, at, id)| (at, id)).collect()
    }

    /// Producers whose last batch is older than `before` and that may be forgotten: none has an open transaction, none a
    /// batch on its way.
    pub(crate) fn forgettable(
        &self,
        only: Option<TopicPartition>,
        before: Timestamp,
    ) -> Vec<(Timestamp, TopicPartition, ProducerId)> {
        let mut found = Vec::new();
        let wanted = self.live.partitions.iter();
        for (at, partition) in wanted.filter(|(at, _)| only.is_none_or(|only| only == **at)) {
            let staged = self.partitions.get(at).map(|log| &log.staged_producers);
            let may_go = partition.producers.iter().filter(|(id, producer)| {
                producer.last_stamp < before
                    && producer.open_transaction.is_none()
                    && staged.is_none_or(|staged| !staged.contains_key(*id))
            });
            found.extend(may_go.map(|(id, producer)| (producer.last_stamp, *at, *id)));
        }
        found
    }
}
