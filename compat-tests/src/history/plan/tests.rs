//! A seed decides the same things every time, and every kind of harm is done.

use std::collections::BTreeSet;
use std::mem::discriminant;

use super::{Fault, PARTITIONS, Plan, Shape};

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        operations: 1_000,
        faults: 12,
        rewinds: false,
    }
}

#[test]
fn a_seed_gives_the_same_faults_in_order_and_before_the_end() {
    for seed in 0..50 {
        let faults = plan(seed).faults();
        assert_eq!(faults, plan(seed).faults());
        assert_eq!(faults.len(), 12);
        assert!(faults.is_sorted_by_key(|(at, _)| *at), "{faults:?}");
        assert!(faults.iter().all(|(at, _)| *at < 1_000), "{faults:?}");
    }
    assert_ne!(plan(1).faults(), plan(2).faults());
}

#[test]
fn the_first_faults_are_one_of_each_kind() {
    for seed in 0..50 {
        let faults = plan(seed).faults();
        let first: Vec<Fault> = faults.iter().take(5).map(|(_, fault)| *fault).collect();
        let kinds: Vec<_> = first.iter().map(discriminant).collect();
        let wanted = [
            Fault::Kill,
            Fault::Lose(0),
            Fault::Stop(0),
            Fault::Stop(0),
            Fault::Restart,
        ];
        assert_eq!(kinds, wanted.map(|fault| discriminant(&fault)));
        let lengths: Vec<u32> = first
            .iter()
            .filter_map(|fault| match fault {
                Fault::Stop(length) => Some(*length),
                Fault::Kill | Fault::Lose(_) | Fault::Restart | Fault::Rewind => None,
            })
            .collect();
        assert!(lengths[0] < 3_000 && lengths[1] > 3_000, "{lengths:?}");
    }
}

#[test]
fn records_are_of_every_kind_and_go_everywhere() {
    let mut chance = plan(3).chance(1);
    let shapes: Vec<Shape> = (0..2_000).map(|_| Shape::draw(&mut chance)).collect();
    let kinds: BTreeSet<char> = shapes.iter().map(|shape| shape.kind).collect();
    assert_eq!(kinds, BTreeSet::from(['h', 'k', 'n', 'v']));
    let partitions: BTreeSet<usize> = shapes.iter().map(|shape| shape.partition).collect();
    assert_eq!(partitions.len(), PARTITIONS);
    assert!(shapes.iter().any(|shape| shape.bytes == 0));
    assert!(shapes.iter().any(|shape| shape.bytes > 50_000));
}
