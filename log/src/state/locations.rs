//! Where recorded batches lie: for each partition its runs in offset order, each a byte range of an object.

use std::collections::{BTreeMap, VecDeque};

use streamhouse_metadata::store::ObjectId;
use streamhouse_protocol::ids::{Timestamp, TopicPartition};

use crate::format::entry::{Entry, Point};

/// A run and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLocation {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset behind the last record.
    pub next_offset: i64,
    /// The object.
    pub object: ObjectId,
    /// First byte of the run in it.
    pub first_byte: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Largest record timestamp; negative if no record carries one.
    pub max_timestamp: Timestamp,
    /// The shard's clock when the last of it was flushed: what a file's time of change is to Kafka's segments.
    pub stamp: Timestamp,
    /// CRC32C of the bytes.
    pub crc: u32,
    /// Places inside, for seeks.
    pub points: Vec<Point>,
}

impl RunLocation {
    /// The time from which the run ages, as Kafka's `LogSegment.largestTimestamp`: that of its records, or that of its writing
    /// if they carry none.
    #[must_use]
    pub fn ages_from(&self) -> Timestamp {
        if self.max_timestamp.0 >= 0 {
            self.max_timestamp
        } else {
            self.stamp
        }
    }
}

/// All recorded runs of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    partitions: BTreeMap<TopicPartition, PartitionRuns>,
    /// How many runs keep each object.
    objects: BTreeMap<ObjectId, u64>,
}

/// The runs of one partition, in offset order, and their bytes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PartitionRuns {
    runs: VecDeque<RunLocation>,
    bytes: u64,
}

impl Locations {
    /// The runs of a partition, oldest first.
    #[must_use]
    pub fn runs(&self, at: TopicPartition) -> Option<&VecDeque<RunLocation>> {
        self.partitions.get(&at).map(|partition| &partition.runs)
    }

    /// All partitions and their runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &VecDeque<RunLocation>)> {
        let partitions = self.partitions.iter();
        partitions.map(|(at, partition)| (at, &partition.runs))
    }

    /// The objects that hold at least one run.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.objects.keys().copied()
    }

    /// Whether an object holds at least one run.
    #[must_use]
    pub fn needs(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// The runs of a partition from the one that holds `offset` on.
    pub fn from_offset(
        &self,
        at: TopicPartition,
        offset: i64,
    ) -> impl Iterator<Item = &RunLocation> {
        let runs = self.runs(at);
        let first = runs.map_or(0, |runs| {
            runs.partition_point(|run| run.next_offset <= offset)
        });
        runs.into_iter().flat_map(move |runs| runs.range(first..))
    }

    /// Bytes of a partition's recorded runs.
    #[must_use]
    pub fn bytes(&self, at: TopicPartition) -> u64 {
        self.partitions
            .get(&at)
            .map_or(0, |partition| partition.bytes)
    }

    pub(crate) fn push(&mut self, at: TopicPartition, run: RunLocation) {
        *self.objects.entry(run.object).or_default() += 1;
        let partition = self.partitions.entry(at).or_default();
        partition.bytes = partition.bytes.saturating_add(run.bytes);
        partition.runs.push_back(run);
    }

    /// Forgets the runs that lie wholly below `log_start`.
    pub(crate) fn trim(&mut self, at: TopicPartition, log_start: i64) {
        let Some(partition) = self.partitions.get_mut(&at) else {
            return;
        };
        let is_gone = |run: &RunLocation| run.next_offset <= log_start;
        while let Some(run) = partition.runs.pop_front_if(|run| is_gone(run)) {
            partition.bytes = partition.bytes.saturating_sub(run.bytes);
            release(&mut self.objects, run.object);
        }
        if partition.runs.is_empty() {
            self.partitions.remove(&at);
        }
    }

    pub(crate) fn drop_partition(&mut self, at: TopicPartition) {
        for run in self.partitions.remove(&at).unwrap_or_default().runs {
            release(&mut self.objects, run.object);
        }
    }

    /// The objects that no run will need any more once `entries` are applied, whose own runs lie in `object`: their
    /// release belongs into the same statement as the manifest of these entries.
    #[must_use]
    pub fn released_by(&self, entries: &[Entry], object: Option<ObjectId>) -> Vec<ObjectId> {
        let gone_to = trimmed_by(entries);
        let mut lost: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for (at, to) in &gone_to {
            let runs = self.runs(*at).into_iter().flatten();
            for run in runs.take_while(|run| run.next_offset <= *to) {
                *lost.entry(run.object).or_default() += 1;
            }
        }
        let unused = |(object, lost): (ObjectId, u64)| {
            (self.objects.get(&object) == Some(&lost)).then_some(object)
        };
        let stays = |entry: &Entry| match entry {
            Entry::Run(run) => gone_to
                .get(&run.at)
                .is_none_or(|to| *to < run.next_offset()),
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => false,
        };
        let unused_from_the_start = object.filter(|_| !entries.iter().any(stays));
        let earlier = lost.into_iter().filter_map(unused);
        earlier.chain(unused_from_the_start).collect()
    }
}

/// Up to where entries trim each partition; a drop trims everything.
fn trimmed_by(entries: &[Entry]) -> BTreeMap<TopicPartition, i64> {
    let mut gone_to: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for entry in entries {
        let (at, to) = match entry {
            Entry::Trim { at, log_start } => (*at, *log_start),
            Entry::DropPartition { at } => (*at, i64::MAX),
            Entry::Run(_) | Entry::EvictProducer { .. } => continue,
        };
        let known = gone_to.entry(at).or_insert(to);
        *known = to.max(*known);
    }
    gone_to
}

fn release(objects: &mut BTreeMap<ObjectId, u64>, object: ObjectId) {
    if let Some(runs) = objects.get_mut(&object) {
        *runs -= 1;
        if *runs == 0 {
            objects.remove(&object);
        }
    }
}
