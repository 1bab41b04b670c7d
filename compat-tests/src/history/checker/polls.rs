//! What one consumer is given: offset after offset, without a step back and without a gap, from where it began. A topic
//! without transactions and compaction has no gaps of its own.

use std::collections::BTreeMap;

use super::Verdict;
use super::bindings::Bindings;
use crate::history::anomaly::Anomaly;
use crate::history::event::{History, What, Who};

/// Gaps that are looked at one by one; a history with more is wrong anyway.
const GAPS_MAX: usize = 10_000;

/// Offsets of one gap that are looked at, to tell a record that was passed over from offsets that nobody knows.
const GAP_OFFSETS_MAX: i64 = 100_000;

/// Where each consumer stands.
#[derive(Debug)]
pub(super) struct Polls {
    /// The next offset; absent where the consumer may begin anywhere.
    next: BTreeMap<(Who, i32), i64>,
    gaps: Vec<Gap>,
    /// Ends up to which final readers have read.
    whole: BTreeMap<i32, i64>,
}

#[derive(Debug)]
struct Gap {
    at: usize,
    who: Who,
    partition: i32,
    from: i64,
    to: i64,
}

impl Polls {
    pub(super) fn new() -> Self {
        Self {
            next: BTreeMap::new(),
            gaps: Vec::new(),
            whole: BTreeMap::new(),
        }
    }

    /// Up to where a final reader has read a partition.
    pub(super) fn whole(&self, partition: i32) -> Option<i64> {
        self.whole.get(&partition).copied()
    }

    /// The next event.
    pub(super) fn see(&mut self, history: &History, verdict: &mut Verdict, at: usize) {
        let event = &history.events[at];
        let who = event.who;
        if let What::Assigned { partition, from } = event.what {
            match from {
                Some(offset) => self.next.insert((who, partition), offset),
                None => self.next.remove(&(who, partition)),
            };
        }
        if let What::Revoked { partition } = event.what {
            self.next.remove(&(who, partition));
        }
        if let What::Read {
            partition, offset, ..
        } = event.what
        {
            let next = self.next.insert((who, partition), offset.saturating_add(1));
            let next = next.unwrap_or(offset);
            if offset < next {
                verdict.find(Anomaly::NonmonotonicPoll, at, || {
                    let name = history.name(who);
                    format!("{name} was given offset {offset} of partition {partition} where {next} is next")
                });
            }
            self.gap(at, who, partition, next..offset);
        }
        if let What::Whole { partition, end } = event.what {
            let next = self.next.get(&(who, partition)).copied().unwrap_or(0);
            self.gap(at, who, partition, next..end);
            let known = self.whole.entry(partition).or_insert(end);
            *known = end.max(*known);
        }
    }

    fn gap(&mut self, at: usize, who: Who, partition: i32, offsets: std::ops::Range<i64>) {
        if !offsets.is_empty() && self.gaps.len() < GAPS_MAX {
            self.gaps.push(Gap {
                at,
                who,
                partition,
                from: offsets.start,
                to: offsets.end,
            });
        }
    }

    /// Tells gaps that hold something from gaps that do not.
    pub(super) fn end(&self, history: &History, bindings: &Bindings, verdict: &mut Verdict) {
        for gap in &self.gaps {
            let looked_at = gap.from..gap.to.min(gap.from.saturating_add(GAP_OFFSETS_MAX));
            let mut looked_at = looked_at;
            let known = looked_at.find(|offset| bindings.is_known(gap.partition, *offset));
            let anomaly = if known.is_some() {
                Anomaly::PollSkip
            } else {
                Anomaly::OffsetGap
            };
            verdict.find(anomaly, gap.at, || {
                let name = history.name(gap.who);
                let missing = known.unwrap_or(gap.from);
                format!(
                    "{name} came from offset {} of partition {} to {} and was not given {missing}",
                    gap.from, gap.partition, gap.to
                )
            });
        }
    }
}
