//! The order of a log: records of one producer lie in a partition in the order in which they were sent, whatever became of
//! those between.

use std::collections::BTreeMap;

use super::bindings::Bindings;
use super::ledger::Ledger;
use super::{Verdict, shown};
use crate::history::anomaly::Anomaly;
use crate::history::event::{History, Who};

/// Walks through all that was read, offset by offset.
pub(super) fn check(
    history: &History,
    bindings: &Bindings,
    ledger: &Ledger,
    verdict: &mut Verdict,
) {
    let mut last: BTreeMap<(Who, i32), (u32, i64)> = BTreeMap::new();
    for (partition, offset, id) in bindings.read() {
        let Some((first, at)) = ledger.get(id).and_then(|sent| sent.read) else {
            continue;
        };
        if first != offset {
            // A duplicate, which is another finding.
            continue;
        }
        let key = (id.producer, partition);
        if let Some((number, before)) = last.get(&key).copied()
            && id.number < number
        {
            verdict.find(Anomaly::Reordered, at, || {
                format!(
                    "{} lies at offset {offset} of partition {partition}, behind number {number} at {before}",
                    shown(history, id)
                )
            });
        }
        last.insert(key, (id.number, offset));
    }
}
