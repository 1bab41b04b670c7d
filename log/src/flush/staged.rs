//! Collecting with `shared` durability: what a flush takes from each shard is staged, and durable only once it is recorded.
//!
//! Flushes of a shard run side by side, each of what the one before left: objects are uploaded in any order, manifests are
//! committed in theirs (`turn.rs`). So a manifest follows one that may not be committed yet, and is numbered behind
//! it; it is committed only if that one is. What a flush takes stays in the shard until its manifest is committed; if the
//! flush fails, those behind it in the shard are void, and the next one takes all of it again, under numbers
//! that no flush had: an object of a flush that came to nothing never stands for another one.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;

use bytes::Bytes;
use streamhouse_metadata::store::{Lsn, ShardId};
use streamhouse_protocol::ids::{Timestamp, TopicPartition};
use streamhouse_runtime::planted;
use streamhouse_storage::wal::WalPosition;

use super::collect::ShardPart;
use super::shared::SharedFlush;
use crate::Log;
use crate::append::stored::StoredBatch;
use crate::flush::pace::Backlog;
use crate::format::manifest::FlushId;
use crate::shard::unrecorded::{Taken, Unrecorded};
use crate::shard::{Becomes, InFlight, Inner, Standing};

/// What one partition adds to a flush.
#[derive(Default)]
struct Joining {
    joined: Unrecorded,
    batches: Vec<StoredBatch>,
}

impl Log {
    /// What is staged and in no flush, beginning at shard `first`, until `bytes_max` bytes of batches are taken by the
    /// flush with this ticket. Says with which shard the next flush should begin, so that none waits for ever.
    pub(crate) fn collect_staged(
        &self,
        flush: &SharedFlush,
        ticket: u64,
        first: usize,
        bytes_max: u64,
    ) -> (Vec<ShardPart>, usize) {
        let shards = self.shards();
        let mut parts = Vec::new();
        let mut left = bytes_max;
        for turn in 0..shards.len() {
            let index = (first + turn) % shards.len();
            if left == 0 {
                return (in_order(parts), index);
            }
            let shard = &shards[index];
            let mut inner = shard.lock();
            if !inner.may_flush() {
                // It is flushed never.
                flush.unqueued(std::mem::take(&mut inner.queued));
                continue;
            }
            if let Some((part, taken)) = inner.collect_staged(shard.id, ticket, left) {
                inner.queued.remove(taken);
                flush.unqueued(taken);
                left = left.saturating_sub(taken.bytes);
                parts.push(part);
            }
        }
        (in_order(parts), first)
    }
}

/// The sections of an object are in the order of their shards, wherever the flush began.
fn in_order(mut parts: Vec<ShardPart>) -> Vec<ShardPart> {
    parts.sort_unstable_by_key(|part| part.shard);
    parts
}

impl Inner {
    fn may_flush(&self) -> bool {
        self.standing != Standing::Elsewhere && self.stopped.is_none()
    }

    /// Takes what no flush took yet, at least one entry, and no more than `bytes_max` if there are several.
    fn collect_staged(
        &mut self,
        shard: ShardId,
        ticket: u64,
        bytes_max: u64,
    ) -> Option<(ShardPart, Backlog)> {
        let mut joining: BTreeMap<TopicPartition, Joining> = BTreeMap::new();
        let mut taken = Backlog::default();
        let mut stamp = Timestamp::NONE;
        let in_flight = match planted::bug("what_is_in_flight_taken_again") {
            true => 0,
            false => self.in_flight.iter().map(|it| it.taken.entries).sum(),
        };
        for pending in self.pending.iter().skip(in_flight) {
            let (batch, size) = (pending.batch.as_ref(), pending.bytes());
            if taken.entries > 0 && taken.bytes + size > bytes_max {
                break;
            }
            taken.add(Backlog {
                entries: 1,
                bytes: size,
            });
            stamp = stamp.max(pending.stamp);
            let partition = joining.entry(pending.entry.at()).or_default();
            partition
                .joined
                .push(&pending.entry, pending.stamp, pending.location, batch);
            partition.batches.extend(batch.cloned());
        }
        let partitions = all_of(joining.into_iter());
        if partitions.is_empty() {
            return None;
        }
        let (prev, earlier) = self.behind_flight();
        let part = ShardPart {
            shard,
            ticket,
            epoch: self.epoch,
            incarnation: self.incarnation,
            lsn: Lsn(self.recorded.next_lsn.0 + self.in_flight.len() as u64),
            prev,
            flush_seq: self.flushing.next_seq(),
            stamp,
            earlier,
            wal_end: WalPosition(0),
            partitions,
        };
        let becomes = if part.needs_object() {
            Becomes::Section(part.flush_id())
        } else {
            Becomes::Bodiless(part.manifest(None, None).encode())
        };
        self.in_flight.push_back(InFlight {
            ticket,
            taken,
            becomes,
        });
        Some((part, taken))
    }

    /// What a manifest behind those that are on their way names as its predecessor, and which bodies it takes along.
    fn behind_flight(&self) -> (FlushId, Vec<Bytes>) {
        let mut prev = self.recorded.last_flush;
        let mut bodiless = self.flushing.bodiless.clone();
        for flight in &self.in_flight {
            match &flight.becomes {
                Becomes::Section(flush) => {
                    prev = *flush;
                    bodiless.clear();
                }
                Becomes::Bodiless(body) => bodiless.push(body.clone()),
            }
        }
        (prev, bodiless)
    }
}

fn all_of(joining: IntoIter<TopicPartition, Joining>) -> Vec<(TopicPartition, Taken)> {
    let taken = joining.filter_map(|(at, mut partition)| {
        let mut taken = partition.joined.take(None)?;
        taken.in_memory = partition.batches;
        Some((at, taken))
    });
    taken.collect()
}
