//! Walks over runs in pieces of any size, against a model that looks at a list of batches.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use streamhouse_metadata::store::ObjectId;
use streamhouse_protocol::ids::Timestamp;
use streamhouse_protocol::record_batch::HEADER_SIZE;

use super::{Step, Walk};
use crate::format::entry::Point;
use crate::read::locate::Budget;
use crate::read::pieces::{Window, whole_batches};
use crate::state::locations::RunLocation;

#[derive(Clone, Copy, Debug)]
struct Known {
    base: i64,
    next: i64,
    start: usize,
    end: usize,
}

/// A run of batches with so many records and so many bytes of them each, from offset `base` on. A reader of headers
/// needs no more of a batch.
fn run(base: i64, shapes: &[(i32, usize)]) -> (Vec<u8>, Vec<Known>) {
    let (mut bytes, mut known, mut base) = (Vec::new(), Vec::new(), base);
    for (number, (records, length)) in shapes.iter().enumerate() {
        let start = bytes.len();
        let mut batch = vec![u8::try_from(number % 251).unwrap(); HEADER_SIZE + length];
        batch[..8].copy_from_slice(&base.to_be_bytes());
        let rest = i32::try_from(batch.len() - 12).unwrap();
        batch[8..12].copy_from_slice(&rest.to_be_bytes());
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes.extend(batch);
        let next = base + i64::from(*records);
        known.push(Known {
            base,
            next,
            start,
            end: bytes.len(),
        });
        base = next;
    }
    (bytes, known)
}

/// The batches that a read gives: from the one that holds `offset` on, whole, while they fit.
fn model(known: &[Known], offset: i64, budget: Budget) -> Vec<Known> {
    let mut found: Vec<Known> = Vec::new();
    let mut taken = 0;
    for batch in known.iter().filter(|batch| batch.next > offset) {
        let size = batch.end - batch.start;
        let fits = taken + size <= budget.bytes || (found.is_empty() && budget.at_least_one);
        if batch.base >= budget.end || !fits {
            break;
        }
        taken += size;
        found.push(*batch);
    }
    found
}

/// Walks as a read does, over pieces of the sizes in `cuts`, which are given again and again.
fn walk(bytes: &Bytes, cuts: &[usize], offset: i64, budget: Budget) -> (Vec<Bytes>, i64, usize) {
    let mut window = Window::default();
    let mut walk = Walk::new(bytes.len() as u64, offset, budget);
    let mut cuts = cuts.iter().cycle();
    let mut wanted = 0;
    loop {
        while window.bytes() < wanted {
            let from = window.bytes();
            let to = (from + cuts.next().unwrap()).min(bytes.len());
            assert!(from < to, "the walk wants more than there is");
            window.extend(vec![bytes.slice(from..to)]);
        }
        match walk.go(&mut window).unwrap() {
            Step::Needs(bytes) => {
                assert!(bytes > wanted, "a walk that does not get on");
                wanted = bytes;
            }
            Step::Done => break,
        }
    }
    let (start, end, next) = (walk.start, walk.end, walk.next_offset);
    (window.cut(start, end), next, end)
}

fn location(base: i64, known: &[Known], every: usize) -> RunLocation {
    let last = known.last().expect("a run has batches");
    let points = known.iter().step_by(every).skip(1).map(|batch| Point {
        offset_delta: u64::try_from(batch.base - base).unwrap(),
        byte_delta: batch.start as u64,
        max_timestamp_before: Timestamp(0),
    });
    RunLocation {
        base_offset: base,
        next_offset: last.next,
        object: ObjectId {
            incarnation: 1,
            seq: 1,
            attempt: 0,
        },
        first_byte: 0,
        bytes: last.end as u64,
        max_timestamp: Timestamp(0),
        stamp: Timestamp(0),
        crc: 0,
        points: points.collect(),
    }
}

proptest! {
    #[test]
    fn a_walk_gives_the_bytes_that_the_model_names_however_they_are_cut(
        base in 0..50_i64,
        shapes in vec((1..9_i32, 0..300_usize), 1..30),
        cuts in vec(1..500_usize, 1..8),
        place in 0..100_i64,
        bytes_max in prop_oneof![Just(0_usize), 0..5000_usize, Just(usize::MAX)],
        end in prop_oneof![Just(100_i64), 0..=100_i64],
        at_least_one: bool,
    ) {
        let (bytes, known) = run(base, &shapes);
        let bytes = Bytes::from(bytes);
        let records = known.last().unwrap().next - base;
        let offset = base + records * place / 100;
        let budget = Budget { bytes: bytes_max, end: base + records * end / 100, at_least_one };
        let (pieces, next_offset, behind) = walk(&bytes, &cuts, offset, budget);
        let wanted = model(&known, offset, budget);
        match (wanted.first(), wanted.last()) {
            (Some(first), Some(last)) => {
                prop_assert!(pieces.concat() == bytes[first.start..last.end]);
                prop_assert_eq!((next_offset, behind), (last.next, last.end));
            }
            _ => prop_assert_eq!((pieces.len(), next_offset), (0, offset)),
        }
        let batches = whole_batches(pieces).map(|batch| batch.unwrap());
        let found: Vec<_> = batches.map(|batch| (batch.base_offset(), batch.size_bytes())).collect();
        let sizes = wanted.iter().map(|batch| (batch.base, batch.end - batch.start));
        prop_assert_eq!(found, sizes.collect::<Vec<_>>());
    }

    #[test]
    fn the_points_of_a_run_bound_where_a_batch_begins(
        base in 0..50_i64,
        shapes in vec((1..9_i32, 0..300_usize), 1..30),
        every in 1..7_usize,
    ) {
        let (_, known) = run(base, &shapes);
        let location = location(base, &known, every);
        for batch in &known {
            for offset in batch.base..batch.next {
                let (from, to) = location.around(offset);
                let start = batch.start as u64;
                prop_assert!(from <= start && start < to, "{offset}: {from}..{to}");
            }
        }
    }

    #[test]
    fn any_bytes_end_a_walk_without_a_panic(
        shapes in vec((1..9_i32, 0..100_usize), 1..6),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cuts in vec(1..200_usize, 1..4),
        offset in 0..60_i64,
        bytes_max in 0..1000_usize,
    ) {
        let (mut bytes, _) = run(0, &shapes);
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let bytes = Bytes::from(bytes);
        let budget = Budget { bytes: bytes_max, end: i64::MAX, at_least_one: true };
        let mut window = Window::default();
        let mut walk = Walk::new(bytes.len() as u64, offset, budget);
        let mut cuts = cuts.iter().cycle();
        for _ in 0..10_000 {
            match walk.go(&mut window) {
                Ok(Step::Needs(wanted)) => {
                    prop_assert!(wanted > window.bytes() && wanted <= bytes.len());
                    while window.bytes() < wanted {
                        let from = window.bytes();
                        let to = (from + cuts.next().unwrap()).min(bytes.len());
                        window.extend(vec![bytes.slice(from..to)]);
                    }
                }
                Ok(Step::Done) | Err(_) => return Ok(()),
            }
        }
        prop_assert!(false, "the walk does not end");
    }
}
