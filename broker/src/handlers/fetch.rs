//! Fetch (key 1): reads record batches.
//!
//! Kafka's rules we keep: READ on each topic; partitions in the order asked for; the first partition that has something
//! returns at least one whole batch, all others keep to the limits (KIP-74); the answer waits until `min_bytes` are
//! there, `max_wait_ms` have passed or a partition has an error; an append wakes it, and no wait is begun that an
//! append could not end. Records that are not in the hot tail need memory, which is waited for no longer than for
//! records; who gets none is answered empty and asks again; a client that read another history than ours is told where
//! it diverged (KIP-595); no offsets are told beside an error; topics go by id since version 13 (KIP-516), and who asks the
//! wrong broker is told the right one since version 16 (KIP-951). Where we differ: no fetch session is ever made
//! (session id 0, which every client accepts), so a fetch that continues one is told that it is not known; batches are returned whole. Replicas do not fetch from
//! here: a replica id is treated as a consumer's.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_log::read::gather::Fetched;
use streamhouse_log::read::waiters::Waiter;
use streamhouse_log::read::{Isolation, Offsets, PartitionAddress, ReadError};
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::ids::{LeaderEpoch, TopicId};
use streamhouse_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use streamhouse_protocol::messages::{self, FetchRequest, FetchResponse};
use streamhouse_protocol::record_batch::BatchHeader;
use streamhouse_protocol::response::FetchAnswer;
use streamhouse_runtime::{Monotonic, deadline};
use uuid::Uuid;

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::{self, Refusal};
use crate::fetch_memory::{FetchReader, Share, copied_bytes, is_copied};
use crate::partitions::{Partitions, TopicNamed};
use crate::reach::Reachable;
use crate::security::{Operation, ResourceKind};

use super::leader_hints::LeaderHints;
use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct Fetch;

/// The epochs of a fetch that names all of its partitions: it wants a new session, or none (KIP-227). Whatever session
/// it names beside them is to be closed, and here none is open.
const FULL_FETCH_EPOCHS: [i32; 2] = [0, -1];

/// The first version that names topics by id (KIP-516).
const TOPIC_IDS_SINCE: i16 = 13;

/// The first version that tells the leader to who asks another broker (KIP-951).
const LEADERS_SINCE: i16 = 16;

/// Copies of small batches that an answer may hold without memory for them.
const COPIES_FREE_BYTES: usize = 16 * 1024;

/// How long any fetch waits for memory, if it must, as it would for a slow disk: a client that does not want to wait for
/// new records does want the old ones, and would ask again at once.
const MEMORY_WAIT_MIN: Duration = Duration::from_millis(100);

impl Handler for Fetch {
    const KEY: ApiKey = ApiKey::Fetch;
    const VERSIONS: RangeInclusive<i16> = 4..=18;
    const LANE: Lane = Lane::Parked;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Read, ResourceKind::Topic));
    type Reach = Partitions;
    type Request = FetchRequest;
    type Response = FetchAnswer;

    async fn handle(
        partitions: &Partitions,
        cx: &RequestContext,
        request: FetchRequest,
    ) -> Reply<FetchAnswer> {
        if !FULL_FETCH_EPOCHS.contains(&request.session_epoch) {
            let code = error_code::log::FETCH_SESSION_ID_NOT_FOUND.code();
            return Reply::now(FetchAnswer {
                response: FetchResponse::default().with_error_code(code),
                records: Vec::new(),
            });
        }
        let (partitions, plan) = (partitions.clone(), Plan::new(partitions, cx, &request));
        Reply::later(async move { plan.answer(&partitions).await })
    }
}

/// A fetch, taken apart: it may run several times.
struct Plan {
    wanted: Vec<Wanted>,
    isolation: Isolation,
    bytes_min: usize,
    bytes_max: usize,
    wait: Duration,
    version: i16,
    reader: Arc<FetchReader>,
    hints: Option<LeaderHints>,
}

struct Wanted {
    topic: messages::TopicName,
    topic_id: Uuid,
    index: i32,
    offset: i64,
    bytes_max: usize,
    believed_epoch: i32,
    /// The epoch of the record before `offset`, if the client says; else -1.
    read_epoch: i32,
    address: Result<PartitionAddress, Refusal>,
    /// The largest batch that its topic takes.
    batch_bytes_max: usize,
}

/// One partition's part of the answer.
enum Found {
    /// It was read.
    Records {
        offsets: Offsets,
        records: Records,
        /// Whether its records count against the memory of answers.
        holds_memory: bool,
    },
    /// What the client read last is not what is here: the epoch that it read ends before (KIP-595).
    Diverging {
        offsets: Offsets,
        epoch: LeaderEpoch,
        end: i64,
    },
    /// It was not looked for: there is no such partition, or the client may not know.
    NotAsked(Refusal),
    /// It cannot be read from there.
    Refused(Refusal),
}

/// Whole batches in offset order, in pieces as they lie in memory.
struct Records {
    pieces: Vec<Bytes>,
    /// The offset behind the last.
    next_offset: i64,
}

/// How much one partition may take.
#[derive(Clone, Copy)]
struct Take {
    bytes: usize,
    at_least_one: bool,
    /// Until when it may wait for memory: not at all while the answer holds some, or has enough.
    wait_until: Option<Monotonic>,
}

impl Plan {
    fn new(partitions: &Partitions, cx: &RequestContext, request: &FetchRequest) -> Self {
        let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let mut wanted = Vec::new();
        let catalogue = partitions.topics.current();
        for topic in &request.topics {
            let named = if cx.api_version >= TOPIC_IDS_SINCE {
                TopicNamed::Id(TopicId(topic.topic_id.as_u128()))
            } else {
                TopicNamed::Name(&topic.topic)
            };
            let found = partitions.authorized(cx, Operation::Read, named);
            let rule = found
                .as_ref()
                .map(|found| partitions.rule(&catalogue, found));
            let batch_bytes_max = rule.map_or(0, |rule| rule.append.batch_bytes_max);
            for partition in &topic.partitions {
                let address = match &found {
                    Ok(found) => partitions.address(Some(found), partition.partition),
                    Err(refusal) => Err(refusal.clone()),
                };
                wanted.push(Wanted {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    index: partition.partition,
                    offset: partition.fetch_offset,
                    bytes_max: size(partition.partition_max_bytes),
                    believed_epoch: partition.current_leader_epoch,
                    read_epoch: partition.last_fetched_epoch,
                    address,
                    batch_bytes_max,
                });
            }
        }
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let bytes_max = size(request.max_bytes).min(partitions.limits.bytes_max);
        Self {
            wanted,
            isolation: if request.isolation_level == 1 {
                Isolation::ReadCommitted
            } else {
                Isolation::ReadUncommitted
            },
            // As in Kafka: nobody waits for more than the answer may hold.
            bytes_min: size(request.min_bytes).min(bytes_max),
            bytes_max,
            wait: wait.min(partitions.limits.wait_max),
            version: cx.api_version,
            reader: Arc::clone(&cx.peer.fetch_reader),
            hints: LeaderHints::since(LEADERS_SINCE, partitions, cx),
        }
    }

    async fn answer(self, partitions: &Partitions) -> FetchAnswer {
        let now = partitions.clock.monotonic();
        let until = now + self.wait;
        let memory_until = now + self.wait.max(MEMORY_WAIT_MIN);
        let mut found = self.collect(partitions, memory_until).await;
        let mut missing = self.missing(&found);
        let may_wait = !self.wait.is_zero() && !self.wanted.is_empty();
        while may_wait && missing > 0 {
            drop(found);
            let waiter = self.park(partitions, missing);
            // What arrived before the waiter was registered does not wake it: look again.
            found = self.collect(partitions, memory_until).await;
            let still_missing = self.missing(&found);
            if still_missing < missing {
                // It would wait for bytes that are here already; another one waits for the rest.
                missing = still_missing;
                continue;
            }
            drop(found);
            let _woken_or_late = deadline(&*partitions.clock, until, waiter.enough()).await;
            found = self.collect(partitions, memory_until).await;
            break;
        }
        self.respond(found)
    }

    /// A waiter for `missing` bytes, registered at every partition that can be waited for.
    fn park(&self, partitions: &Partitions, missing: usize) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::wanting(i64::try_from(missing).unwrap_or(i64::MAX)));
        let addresses = self.wanted.iter().map(|wanted| wanted.address.as_ref());
        for address in addresses.flatten() {
            // A partition that cannot be waited for has an error by now, which the next look finds.
            let _ = partitions.log.park(*address, &waiter);
        }
        waiter
    }

    /// How many bytes are missing to what the client waits for; none if a partition cannot be read, or holds more than
    /// this answer can take of it: an append would not make the answer any longer.
    fn missing(&self, found: &[Found]) -> usize {
        if !found.iter().all(Found::is_read) {
            return 0;
        }
        let bytes: usize = found.iter().map(Found::bytes).sum();
        let missing = self.bytes_min.saturating_sub(bytes);
        let mut partitions = found.iter();
        let is_full =
            bytes > 0 && missing > 0 && partitions.any(|found| found.has_more(self.isolation));
        if is_full { 0 } else { missing }
    }

    async fn collect(&self, partitions: &Partitions, memory_until: Monotonic) -> Vec<Found> {
        let mut left = self.bytes_max;
        let mut bytes_found = 0;
        let mut holds_memory = false;
        let mut found = Vec::with_capacity(self.wanted.len());
        for wanted in &self.wanted {
            let take = Take {
                bytes: wanted.bytes_max.min(left),
                at_least_one: bytes_found == 0,
                wait_until: (!holds_memory && bytes_found < self.bytes_min.max(1))
                    .then_some(memory_until),
            };
            let one = wanted.read(partitions, self, take).await;
            left = left.saturating_sub(one.bytes());
            bytes_found += one.bytes();
            holds_memory |= one.holds_memory();
            found.push(one);
        }
        found
    }

    fn respond(mut self, found: Vec<Found>) -> FetchAnswer {
        let mut topics: Vec<FetchableTopicResponse> = Vec::new();
        let mut records = Vec::with_capacity(found.len());
        for (wanted, found) in self.wanted.into_iter().zip(found) {
            let (mut data, pieces) = found.shown(wanted.index, self.isolation, self.version);
            if let (Some(hints), Ok(address)) = (&mut self.hints, &wanted.address)
                && let Some(leader) = hints.of(data.error_code, address.shard)
            {
                data.current_leader = LeaderIdAndEpoch::default()
                    .with_leader_id(messages::BrokerId(leader.broker.0))
                    .with_leader_epoch(leader.epoch.0);
            }
            records.push(pieces);
            match topics
                .last_mut()
                .filter(|topic| topic.topic == wanted.topic && topic.topic_id == wanted.topic_id)
            {
                Some(topic) => topic.partitions.push(data),
                None => topics.push(
                    FetchableTopicResponse::default()
                        .with_topic(wanted.topic)
                        .with_topic_id(wanted.topic_id)
                        .with_partitions(vec![data]),
                ),
            }
        }
        let brokers = self.hints.into_iter().flat_map(LeaderHints::brokers);
        FetchAnswer {
            response: FetchResponse::default()
                .with_responses(topics)
                .with_node_endpoints(brokers.map(endpoint).collect()),
            records,
        }
    }
}

fn endpoint(broker: Reachable) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(messages::BrokerId(broker.broker.0))
        .with_host(text(&*broker.endpoint.host))
        .with_port(i32::from(broker.endpoint.port))
        .with_rack(broker.rack.as_deref().map(text))
}

impl Wanted {
    async fn read(&self, partitions: &Partitions, plan: &Plan, take: Take) -> Found {
        let isolation = plan.isolation;
        let address = match &self.address {
            Ok(address) => *address,
            Err(refusal) => return Found::NotAsked(refusal.clone()),
        };
        let offsets = match self.check(partitions, address) {
            Ok(Checked::MayRead(offsets)) => offsets,
            Ok(Checked::Diverging(found)) => return found,
            Err(refusal) => return Found::Refused(refusal),
        };
        let is_free = self.offset < offsets.log_start
            || take.bytes == 0 && !take.at_least_one
            || partitions.log.is_hot(address, self.offset).unwrap_or(true);
        if is_free {
            let read = partitions.log.read(
                address,
                self.offset,
                isolation,
                take.bytes,
                take.at_least_one,
            );
            return match read.await {
                Ok(fetched) => Found::hot(fetched, partitions, plan, take),
                Err(error) => Found::Refused(Refusal::from(&error)),
            };
        }
        let share = Share {
            bytes: take.bytes.max(1),
            batch_bytes: self.batch_bytes_max * usize::from(take.at_least_one),
        };
        let reserved = match take.wait_until {
            Some(until) => {
                let reserving =
                    partitions
                        .memory
                        .reserve(&plan.reader, share, &*partitions.clock, until);
                reserving.await
            }
            None => partitions.memory.try_reserve(&plan.reader, share),
        };
        let Some(reserved) = reserved else {
            let nothing = Fetched {
                offsets,
                pieces: Vec::new(),
                next_offset: self.offset,
            };
            return Found::of(nothing, false);
        };
        let bytes = reserved.bytes.min(take.bytes);
        match partitions
            .log
            .read(address, self.offset, isolation, bytes, take.at_least_one)
            .await
        {
            Ok(mut fetched) => {
                fetched.pieces = reserved.hold(fetched.pieces);
                let holds_memory = !fetched.pieces.is_empty();
                Found::of(fetched, holds_memory)
            }
            Err(error) => Found::Refused(Refusal::from(&error)),
        }
    }

    /// Compares what the client believes with the partition's epochs.
    fn check(
        &self,
        partitions: &Partitions,
        address: PartitionAddress,
    ) -> Result<Checked, Refusal> {
        let offsets = partitions
            .log
            .offsets(address)
            .map_err(|error| Refusal::from(&error))?;
        Partitions::check_epoch(offsets.leader_epoch, self.believed_epoch)?;
        if self.read_epoch < 0 {
            return Ok(Checked::MayRead(offsets));
        }
        let read_epoch = LeaderEpoch(self.read_epoch);
        let known = partitions.epoch_end(address, &offsets, read_epoch)?;
        // As in Kafka: an epoch that never was has no end that the offset could be compared with.
        let (epoch, end) = known.ok_or_else(|| {
            Refusal::from(&ReadError::OutOfRange {
                offset: self.offset,
                log_start: offsets.log_start,
                log_end: offsets.log_end,
            })
        })?;
        let end = if epoch == offsets.leader_epoch {
            offsets.log_end
        } else {
            end
        };
        // Below the log start nothing can diverge; the read says that it is out of range.
        if self.offset < offsets.log_start || epoch == read_epoch && end >= self.offset {
            return Ok(Checked::MayRead(offsets));
        }
        Ok(Checked::Diverging(Found::Diverging {
            offsets,
            epoch,
            end,
        }))
    }
}

/// What becomes of a partition whose epochs were looked at.
enum Checked {
    MayRead(Offsets),
    Diverging(Found),
}

impl Found {
    /// Records of the hot tail. Small batches are copied into the answer, which needs memory; without any the first
    /// partition gives a few of them.
    fn hot(mut fetched: Fetched, partitions: &Partitions, plan: &Plan, take: Take) -> Self {
        let copied = copied_bytes(&fetched.pieces);
        let free = COPIES_FREE_BYTES * usize::from(take.at_least_one);
        if copied <= free {
            return Self::of(fetched, false);
        }
        let share = Share {
            bytes: copied,
            batch_bytes: 0,
        };
        let reserved = partitions.memory.try_reserve(&plan.reader, share);
        let granted = reserved.as_ref().map_or(free, |reserved| reserved.bytes);
        let mut copied = 0;
        let cut = fetched.pieces.iter().position(|piece| {
            copied += piece.len() * usize::from(is_copied(piece));
            copied > granted
        });
        // Every piece of the hot tail is a batch.
        if let Some(cut) = cut
            && let Ok(header) = BatchHeader::parse(&fetched.pieces[cut])
        {
            fetched.next_offset = header.base_offset();
            fetched.pieces.truncate(cut);
        }
        let holds_memory = reserved.is_some();
        if let Some(reserved) = reserved {
            fetched.pieces = reserved.hold_copies(&fetched.pieces);
        }
        Self::of(fetched, holds_memory)
    }

    fn of(fetched: Fetched, holds_memory: bool) -> Self {
        Self::Records {
            offsets: fetched.offsets,
            records: Records {
                pieces: fetched.pieces,
                next_offset: fetched.next_offset,
            },
            holds_memory,
        }
    }

    const fn is_read(&self) -> bool {
        matches!(self, Self::Records { .. })
    }

    const fn holds_memory(&self) -> bool {
        matches!(
            self,
            Self::Records {
                holds_memory: true,
                ..
            }
        )
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Records { records, .. } => records.pieces.iter().map(Bytes::len).sum(),
            Self::Diverging { .. } | Self::NotAsked(_) | Self::Refused(_) => 0,
        }
    }

    /// Whether more lies behind what was read: a read ends at its limits, and where the memory of answers ends.
    fn has_more(&self, isolation: Isolation) -> bool {
        match self {
            Self::Records {
                offsets, records, ..
            } => records.next_offset < offsets.readable_end(isolation),
            Self::Diverging { .. } | Self::NotAsked(_) | Self::Refused(_) => false,
        }
    }

    /// What the client sees, and the pieces of its records. Kafka tells no offsets beside an error, and has a list of
    /// aborted transactions, though an empty one, beside those errors that it finds before it looks at the partition.
    fn shown(self, index: i32, isolation: Isolation, version: i16) -> (PartitionData, Vec<Bytes>) {
        let data = PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_aborted_transactions(None);
        let located = |data: PartitionData, offsets: Offsets| {
            let data = data
                .with_high_watermark(offsets.high_watermark)
                .with_last_stable_offset(offsets.last_stable);
            if version >= 5 {
                data.with_log_start_offset(offsets.log_start)
            } else {
                data
            }
        };
        let code = |refusal: &Refusal| error_code::log::of_fetch(refusal, version);
        match self {
            Self::Records {
                offsets, records, ..
            } => {
                let aborted = (isolation == Isolation::ReadCommitted).then(Vec::new);
                let data = located(data, offsets).with_aborted_transactions(aborted);
                (data, records.pieces)
            }
            Self::Diverging {
                offsets,
                epoch,
                end,
            } => {
                let diverging = EpochEndOffset::default()
                    .with_epoch(epoch.0)
                    .with_end_offset(end);
                let data = located(data, offsets).with_diverging_epoch(diverging);
                (data, Vec::new())
            }
            Self::NotAsked(refusal) => {
                let data = data.with_aborted_transactions(Some(Vec::new()));
                (data.with_error_code(code(&refusal)), Vec::new())
            }
            Self::Refused(refusal) => (data.with_error_code(code(&refusal)), Vec::new()),
        }
    }
}
