//! Where partitions begin and end, as watchers are told: an end never goes back, nothing is read or acknowledged behind it,
//! and the beginning stays where it is, since nothing is deleted. Only what had happened before the question counts.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::anomaly::Anomaly;
use crate::history::event::{History, What, Who};

/// The least end that a partition must have by now, and why.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    told: i64,
    acknowledged: i64,
    read: i64,
}

/// What is known of every partition.
#[derive(Debug)]
pub(super) struct Watermarks {
    known: BTreeMap<i32, Known>,
    /// The same at the last question of each watcher.
    asked: BTreeMap<Who, BTreeMap<i32, Known>>,
}

impl Watermarks {
    pub(super) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The next event.
    pub(super) fn see(&mut self, history: &History, verdict: &mut Verdict, at: usize) {
        let event = &history.events[at];
        if let What::Ack {
            partition,
            offset: Some(offset),
            ..
        } = event.what
        {
            let known = self.known.entry(partition).or_default();
            known.acknowledged = known.acknowledged.max(offset.saturating_add(1));
        }
        if let What::Read {
            partition, offset, ..
        } = event.what
        {
            let known = self.known.entry(partition).or_default();
            known.read = known.read.max(offset.saturating_add(1));
        }
        if event.what == What::EndsAsked {
            self.asked.insert(event.who, self.known.clone());
        }
        if let What::Ends {
            partition,
            start,
            end,
        } = event.what
        {
            if start != 0 {
                verdict.find(Anomaly::LogStartMoved, at, || {
                    format!("partition {partition} begins at {start}, and nothing was deleted")
                });
            }
            let asked = self.asked.get(&event.who);
            let least = asked.and_then(|asked| asked.get(&partition).copied());
            compare(verdict, at, (partition, end), least.unwrap_or_default());
            let known = self.known.entry(partition).or_default();
            known.told = known.told.max(end);
        }
    }
}

fn compare(verdict: &mut Verdict, at: usize, (partition, end): (i32, i64), least: Known) {
    let promises = [
        (least.told, Anomaly::HighWatermarkRegress, "was told before"),
        (
            least.acknowledged,
            Anomaly::AckBeyondEnd,
            "follows from what was acknowledged before",
        ),
        (
            least.read,
            Anomaly::ReadBeyondEnd,
            "follows from what was read before",
        ),
    ];
    for (promised, anomaly, why) in promises {
        if end < promised {
            verdict.find(anomaly, at, || {
                format!("partition {partition} ends at {end}, and {promised} {why}")
            });
        }
    }
}
