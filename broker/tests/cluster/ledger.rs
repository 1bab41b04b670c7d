//! What producers were told, and what must therefore be read.
//!
//! The law: every acknowledged record lies at its offset, with its bytes; nothing else is there, since producers repeat
//! what has no answer until it has one; offsets follow each other from 0; each producer's records lie in the order in which
//! it sent them. What a reader saw on the way lies there at the end.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use streamhouse_runtime::Monotonic;

use crate::wait::now;

/// One record: who wrote it, and its place among what that producer wrote to this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) producer: usize,
    pub(crate) sequence: i32,
}

impl Written {
    /// Its value: it names itself, and its length is drawn from its name.
    pub(crate) fn value(self, partition: i32) -> Vec<u8> {
        let mut value = format!("{} {} {partition} ", self.producer, self.sequence).into_bytes();
        let mixed = (self.sequence.unsigned_abs() ^ partition.unsigned_abs() << 7)
            .wrapping_mul(0x2c1b_3c6d)
            >> 22;
        value.resize(value.len() + usize::try_from(mixed).unwrap(), b'.');
        value
    }
}

/// All records of one partition, by offset.
type Lying = BTreeMap<i64, Written>;

/// What is known of a topic.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeMap<i32, Lying>,
    records: usize,
    /// When each partition last acknowledged something.
    last: BTreeMap<i32, Monotonic>,
}

impl Ledger {
    /// Notes that a batch was acknowledged: `records` of a producer from `sequence` on, at `offset`.
    pub(crate) fn acknowledge(&self, partition: i32, offset: i64, first: Written, records: i32) {
        let mut told = self.told.lock();
        for index in 0..records {
            let written = Written {
                sequence: first.sequence + index,
                ..first
            };
            let at = offset + i64::from(index);
            let before = told
                .acknowledged
                .entry(partition)
                .or_default()
                .insert(at, written);
            assert_eq!(
                before, None,
                "two records were acknowledged at {partition}:{at}: {written:?}"
            );
            told.records += 1;
        }
        told.last.insert(partition, now());
    }

    /// How many records were acknowledged.
    pub(crate) fn records(&self) -> usize {
        self.told.lock().records
    }

    /// When each partition last acknowledged something.
    pub(crate) fn last(&self) -> BTreeMap<i32, Monotonic> {
        self.told.lock().last.clone()
    }

    /// Holds everything that was read from a partition against the law.
    pub(crate) fn check(&self, partition: i32, read: &BTreeMap<i64, Vec<u8>>) {
        let told = self.told.lock();
        let nothing = Lying::new();
        let lying = told.acknowledged.get(&partition).unwrap_or(&nothing);
        let mut next: BTreeMap<usize, i32> = BTreeMap::new();
        for (offset, written) in lying {
            let found = read.get(offset);
            assert!(
                found == Some(&written.value(partition)),
                "{partition}:{offset} was acknowledged as {written:?} and is {}",
                shown(found)
            );
            let expected = next.entry(written.producer).or_default();
            assert_eq!(
                written.sequence, *expected,
                "order of producer {} in partition {partition} at {offset}",
                written.producer
            );
            *expected += 1;
        }
        for (expected, (offset, value)) in (0..).zip(read) {
            assert_eq!(*offset, expected, "partition {partition} has a gap");
            assert!(
                lying.contains_key(offset),
                "{partition}:{offset} was not acknowledged and is {}",
                shown(Some(value))
            );
        }
    }
}

/// The beginning of a value.
fn shown(value: Option<&Vec<u8>>) -> String {
    let value = value.map(|value| &value[..value.len().min(30)]);
    value.map_or("missing".to_owned(), |value| {
        String::from_utf8_lossy(value).into_owned()
    })
}
