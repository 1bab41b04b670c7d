//! Power cuts, and the same without syncs: then the law must be found broken.

use streamhouse_runtime::{Chance, SeededChance};

use crate::broker::{BUSY, Broker};
use crate::disk::Disk;
use crate::history::Violation;
use crate::ledger::Ledger;
use crate::load::produce;
use crate::{capabilities, say, scaled, strace};

const DISK_MIB: u64 = 512;

/// Power cuts of the default run.
const CUTS: u64 = 50;

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    if !capabilities::are_there("power cuts") {
        return;
    }
    let mut disk = Disk::ext4(DISK_MIB);
    let chance = SeededChance::new(1);
    let broker = Broker::start(&disk.data(), BUSY, &[], disk.scratch()).unwrap();
    let mut ledger = Ledger::open(&broker);
    let mut broker = Some(broker);
    let mut acknowledged = 0;
    for cut in 0..scaled(CUTS) {
        acknowledged += cut_while_producing(&disk, broker.take().unwrap(), &mut ledger, &chance);
        disk.mount_again();
        let again = Broker::start(&disk.data(), BUSY, &[], disk.scratch())
            .unwrap_or_else(|ended| panic!("after cut {cut}: {ended:?}"));
        expect_nothing(&format!("cut {cut}"), &ledger.audit(&again));
        broker = Some(again);
    }
    broker.unwrap().stop();
    say(&format!(
        "power cuts: {}, acknowledged batches before them: {acknowledged}",
        scaled(CUTS)
    ));
}

/// Without syncs the same must report loss, else the test above would prove nothing.
#[test]
fn without_syncs_a_power_cut_is_found_to_lose_records() {
    if !capabilities::are_there("power cuts without syncs") {
        return;
    }
    let mut disk = Disk::ext4(DISK_MIB);
    let chance = SeededChance::new(2);
    let broker = Broker::start(&disk.data(), BUSY, &[], disk.scratch()).unwrap();
    let mut ledger = Ledger::open(&broker);
    broker.stop();
    let no_syncs = strace::around("fdatasync,fsync", "retval=0", disk.scratch());
    let broker = Broker::start(&disk.data(), BUSY, &no_syncs, disk.scratch()).unwrap();
    let acknowledged = cut_while_producing(&disk, broker, &mut ledger, &chance);
    assert!(acknowledged > 0);
    disk.mount_again();
    match Broker::start(&disk.data(), BUSY, &[], disk.scratch()) {
        Ok(broker) => {
            let violations = ledger.audit(&broker);
            assert!(
                !violations.is_empty(),
                "{acknowledged} batches were acknowledged without a sync, and nothing is missing"
            );
        }
        // A broker that sees the loss by itself and refuses to serve is as good.
        Err(ended) => assert_eq!(ended.status.code(), Some(65), "{}", ended.words),
    }
}

/// Cuts the power after a few acknowledgements; the broker must end by itself. Gives the batches acknowledged before.
fn cut_while_producing(
    disk: &Disk,
    mut broker: Broker,
    ledger: &mut Ledger,
    chance: &SeededChance,
) -> u64 {
    let acks = 1 + chance.below(80);
    let before = produce(ledger, &broker, acks, |_| {
        broker.pause();
        disk.cut_power();
        broker.go_on();
    });
    let status = broker.wait();
    assert_eq!(
        status.code(),
        Some(74),
        "{status} without a disk: {}",
        broker.last_words()
    );
    before
}

/// No violation, or a panic that shows the first ones.
pub(crate) fn expect_nothing(when: &str, violations: &[Violation]) {
    let first: Vec<_> = violations
        .iter()
        .take(12)
        .map(Violation::to_string)
        .collect();
    assert!(
        violations.is_empty(),
        "{when}: {} violations\n{}",
        violations.len(),
        first.join("\n")
    );
}
