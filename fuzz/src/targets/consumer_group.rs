//! A group of the consumer protocol (KIP-848) as the coordinator stored it.
//!
//! What was read is written in one way only, whatever it was read from, so that a restart changes nothing; and no partition has
//! two readers.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_coordinator::group::classic::Now;
use streamhouse_coordinator::group::{ConsumerGroup, GroupSettings};
use streamhouse_protocol::ids::Timestamp;
use streamhouse_runtime::Monotonic;

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "consumer_group",
    reads: "a stored group of the consumer protocol",
    executions: 200_000,
    length_max: 8 << 10,
    // Texts and topics are named by four bytes, and each of them is held in full.
    memory: Memory {
        per_byte: 256,
        free: 64 << 10,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

const NONE: [u8; 4] = [0xff; 4];

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn text(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(0);
    [&number(length)[..], text].concat()
}

/// Partitions of the first topic.
fn partitions(indexes: &[u32]) -> Vec<u8> {
    if indexes.is_empty() {
        return number(0).to_vec();
    }
    let count = u32::try_from(indexes.len()).unwrap_or(0);
    let indexes = indexes.iter().map(|index| number(*index));
    let head = [number(1), number(0), number(count)].concat();
    [head, indexes.collect::<Vec<_>>().concat()].concat()
}

/// A member that subscribes by name (text 0) or by regex (text 1), with what it has, gives up, and is to have.
fn member(id: &[u8], instance: Option<&[u8]>, held: [&[u32]; 3]) -> Vec<u8> {
    let is_static = instance.is_some();
    [
        text(id),
        instance.map_or_else(|| NONE.to_vec(), text),
        NONE.to_vec(),
        text(b"client"),
        text(b"/127.0.0.1"),
        number(300_000).to_vec(),
        if is_static {
            [number(0), number(1)].concat()
        } else {
            [number(1), number(0), NONE].concat()
        },
        vec![u8::from(is_static)],
        number(6).to_vec(),
        number(5).to_vec(),
        vec![u8::from(!held[1].is_empty())],
        held.map(partitions).concat(),
    ]
    .concat()
}

fn group(members: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(members.len()).unwrap_or(0);
    let tables = [
        number(1).to_vec(),
        vec![7; 16],
        number(2).to_vec(),
        text(b"orders"),
        text(b"ord.*"),
    ];
    let resolutions = [
        number(1).to_vec(),
        number(1).to_vec(),
        9_u64.to_be_bytes().to_vec(),
        number(1).to_vec(),
        number(0).to_vec(),
    ];
    [
        vec![129],
        number(7).to_vec(),
        number(6).to_vec(),
        1_u64.to_be_bytes().to_vec(),
        1_700_000_000_000_i64.to_be_bytes().to_vec(),
        tables.concat(),
        resolutions.concat(),
        number(count).to_vec(),
        members.concat(),
    ]
    .concat()
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        group(&[]),
        group(&[
            member(b"a", None, [&[0, 1], &[2], &[0, 1]]),
            member(b"b", Some(b"static"), [&[3], &[], &[2, 3]]),
        ]),
        group(&[member(b"a", None, [&[], &[], &[]])]),
    ]
}

fn read(stored: &[u8]) -> Option<ConsumerGroup> {
    let now = Now {
        monotonic: Monotonic(Duration::from_secs(5)),
        wall: Timestamp(1_700_000_000_000),
    };
    ConsumerGroup::decode(stored, now, &GroupSettings::default().consumer).ok()
}

fn check(input: &[u8]) -> Verdict {
    let Some(group) = read(input) else {
        return Verdict::Refused;
    };
    let stored: Bytes = group.encode();
    let again = read(&stored).expect("what was written can be read");
    assert_eq!(again.encode(), stored);
    assert_eq!(again.bytes(), group.bytes());
    let described = group.describe(&GroupSettings::default());
    let mut held = BTreeSet::new();
    for member in &described.members {
        for partition in &member.assigned {
            assert!(held.insert(*partition), "{partition:?} has two readers");
        }
    }
    Verdict::Accepted
}
