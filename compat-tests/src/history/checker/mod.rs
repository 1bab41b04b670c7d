//! Judges a history: a pure function from events to a verdict, in the manner of the checker that Jepsen uses for Kafka.
//!
//! It looks at the events twice. The first walk (`ledger`) writes down what became of every record that was sent, because a
//! reader's line may stand before the sender's. The second one follows the readers and the watchers, event by event; what can
//! only be said of the whole is said at the end. All is linear in the number of events, but for sorting the commits, and
//! takes some 100 bytes for each record that was sent.
//!
//! What is allowed: an outcome that the client does not know, in both directions; an offset that the client does not tell; a
//! member that begins again at the committed offset after a rebalance; a commit that comes late if nobody knows its outcome.

mod bindings;
mod groups;
mod ledger;
mod order;
mod polls;
mod slots;
mod watermarks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;

use super::anomaly::Anomaly;
use super::event::{Fault, History, RecordId, Role, What};

use self::bindings::Bindings;
use self::groups::Groups;
use self::ledger::Ledger;
use self::polls::Polls;
use self::watermarks::Watermarks;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) anomaly: Anomaly,
    /// The event at which it went wrong.
    pub(crate) event: usize,
    pub(crate) text: String,
}

/// What a history holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledged without an offset: the client sent it twice and was told so.
    pub(crate) without_offset: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
    /// Records whose producer does not know, or never heard, the outcome, and that are there.
    pub(crate) unknown_but_there: u64,
    /// Records that were read before a kill and acknowledged after it: sent again, and there once.
    pub(crate) retried: u64,
    pub(crate) reads: u64,
    pub(crate) commits: u64,
    pub(crate) lost_answers: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) restarts: u64,
}

/// The judgement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// The first finding of each kind.
    first: BTreeMap<Anomaly, Finding>,
    counts: BTreeMap<Anomaly, u64>,
    /// Partitions with records that no final reader has read to the end: loss could not have been seen there.
    pub(crate) unread: Vec<i32>,
    pub(crate) tally: Tally,
}

impl Verdict {
    /// Whether nothing is wrong and loss would have been seen.
    pub(crate) fn is_good(&self) -> bool {
        self.first.is_empty() && self.unread.is_empty()
    }

    /// The first operation at which the history went wrong.
    pub(crate) fn first(&self) -> Option<&Finding> {
        self.first.values().min_by_key(|finding| finding.event)
    }

    /// The first finding of each kind and how many there are, the earliest one first.
    pub(crate) fn findings(&self) -> Vec<(&Finding, u64)> {
        let mut findings: Vec<_> = self
            .first
            .values()
            .map(|finding| (finding, self.count(finding.anomaly)))
            .collect();
        findings.sort_by_key(|(finding, _)| finding.event);
        findings
    }

    /// How many of one kind were found.
    pub(crate) fn count(&self, anomaly: Anomaly) -> u64 {
        self.counts.get(&anomaly).copied().unwrap_or(0)
    }

    /// Notes a finding. The words are made for the first of each kind only.
    fn find(&mut self, anomaly: Anomaly, event: usize, text: impl FnOnce() -> String) {
        *self.counts.entry(anomaly).or_default() += 1;
        let is_first = self
            .first
            .get(&anomaly)
            .is_none_or(|known| event < known.event);
        if is_first {
            let text = text();
            self.first.insert(
                anomaly,
                Finding {
                    anomaly,
                    event,
                    text,
                },
            );
        }
    }
}

/// Judges a history; an error where it is no history, such as an answer about a record that was never sent.
pub(crate) fn check(history: &History) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut ledger = Ledger::of(history, &mut verdict)?;
    let mut bindings = Bindings::new(&ledger);
    let mut polls = Polls::new();
    let mut watermarks = Watermarks::new();
    let mut groups = Groups::of(history);
    let finals = roles(history, Role::Final);
    for (at, event) in history.events.iter().enumerate() {
        bindings.see(history, &mut ledger, &mut verdict, at, &finals);
        polls.see(history, &mut verdict, at);
        watermarks.see(history, &mut verdict, at);
        groups.see(history, &mut verdict, at);
        tally(&mut verdict.tally, &event.what);
    }
    verdict.tally.events = history.events.len();
    polls.end(history, &bindings, &mut verdict);
    order::check(history, &bindings, &ledger, &mut verdict);
    ledger.end(history, &polls, &mut verdict);
    groups.end(&mut verdict);
    Ok(verdict)
}

/// Who plays a role, by index of the name.
fn roles(history: &History, role: Role) -> Vec<bool> {
    let mut plays = vec![false; history.clients()];
    for event in &history.events {
        if event.what == What::Role(role) {
            plays[usize::from(event.who.0)] = true;
        }
    }
    plays
}

fn tally(tally: &mut Tally, what: &What) {
    match what {
        What::Send { .. } => tally.sent += 1,
        What::Ack { offset, .. } => {
            tally.acknowledged += 1;
            tally.without_offset += u64::from(offset.is_none());
        }
        What::Failed { .. } => tally.failed += 1,
        What::Unknown { .. } => tally.unknown += 1,
        What::Read { .. } => tally.reads += 1,
        What::CommitAsked => tally.commits += 1,
        What::Fault(Fault::Kill) => tally.kills += 1,
        What::Fault(Fault::Stop(_)) => tally.stops += 1,
        What::Fault(Fault::Restart) => tally.restarts += 1,
        What::Fault(Fault::Lose(answers)) => tally.lost_answers += u64::from(*answers),
        What::Fault(Fault::Rewind)
        | What::Role(_)
        | What::Assigned { .. }
        | What::Revoked { .. }
        | What::Whole { .. }
        | What::EndsAsked
        | What::Ends { .. }
        | What::Commit { .. }
        | What::CommittedAsked
        | What::Committed { .. }
        | What::Note => {}
    }
}

/// A record as people read it.
fn shown(history: &History, id: RecordId) -> String {
    format!("{}.{}", history.name(id.producer), id.number)
}
