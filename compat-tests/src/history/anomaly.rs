//! The one list of what can be wrong with a history. The table in `docs/internals/testing.md` is this one; a test compares them.

use std::fmt;

/// A way in which a history breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Anomaly {
    LostWrite,
    Unseen,
    Duplicate,
    Reordered,
    Changed,
    Invented,
    WrongPartition,
    FailedYetRead,
    InconsistentOffsets,
    AckOffsetDiffers,
    NonmonotonicSend,
    NonmonotonicPoll,
    PollSkip,
    OffsetGap,
    HighWatermarkRegress,
    AckBeyondEnd,
    ReadBeyondEnd,
    LogStartMoved,
    CommittedMovedBack,
    CommittedLost,
    CommittedInvented,
    CommittedUndelivered,
    ResumedElsewhere,
}

/// A row of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) anomaly: Anomaly,
    /// What reports and the page call it.
    pub(crate) name: &'static str,
    /// The promise that it breaks.
    pub(crate) invariant: &'static str,
    pub(crate) meaning: &'static str,
}

const fn row(
    anomaly: Anomaly,
    name: &'static str,
    invariant: &'static str,
    meaning: &'static str,
) -> Row {
    Row {
        anomaly,
        name,
        invariant,
        meaning,
    }
}

/// All of them, in the order of `Anomaly`.
pub(crate) const ANOMALIES: &[Row] = &[
    row(
        Anomaly::LostWrite,
        "lost-write",
        "I5 acknowledged",
        "a record that was acknowledged or read is not there at the end, although the log is longer",
    ),
    row(
        Anomaly::Unseen,
        "unseen",
        "I5 acknowledged",
        "a record was acknowledged at an offset at or behind the end of the log at the end",
    ),
    row(
        Anomaly::Duplicate,
        "duplicate",
        "I7 idempotence",
        "a record lies at two offsets",
    ),
    row(
        Anomaly::Reordered,
        "reordered",
        "I7 idempotence",
        "records of one producer lie in a partition in another order than they were sent",
    ),
    row(
        Anomaly::Changed,
        "changed",
        "I3 single binding",
        "a record is read with another key, value, header or timestamp than it was sent",
    ),
    row(
        Anomaly::Invented,
        "invented",
        "I3 single binding",
        "a record is read that nobody sent",
    ),
    row(
        Anomaly::WrongPartition,
        "wrong-partition",
        "I3 single binding",
        "a record is read from, or acknowledged in, another partition than it was sent to",
    ),
    row(
        Anomaly::FailedYetRead,
        "failed-yet-read",
        "I5 acknowledged",
        "a record is read whose producer was told that it was not written",
    ),
    row(
        Anomaly::InconsistentOffsets,
        "inconsistent-offsets",
        "I3 single binding",
        "one offset holds two records, for two readers, two reads or two acknowledgements",
    ),
    row(
        Anomaly::AckOffsetDiffers,
        "ack-offset-differs",
        "I5 acknowledged",
        "a record lies at another offset than the one it was acknowledged at",
    ),
    row(
        Anomaly::NonmonotonicSend,
        "nonmonotonic-send",
        "I7 idempotence",
        "a record that was sent later to the same partition was acknowledged at an offset that is not higher",
    ),
    row(
        Anomaly::NonmonotonicPoll,
        "nonmonotonic-poll",
        "I6 visibility",
        "a consumer is given an offset that is not behind the one before",
    ),
    row(
        Anomaly::PollSkip,
        "poll-skip",
        "I2 contiguity",
        "a consumer is not given a record that others know of",
    ),
    row(
        Anomaly::OffsetGap,
        "offset-gap",
        "I2 contiguity",
        "a consumer jumps over offsets at which nobody knows a record",
    ),
    row(
        Anomaly::HighWatermarkRegress,
        "high-watermark-regress",
        "I6 visibility",
        "the end of a partition is told lower than it was told before",
    ),
    row(
        Anomaly::AckBeyondEnd,
        "ack-beyond-end",
        "I5 acknowledged",
        "a record was acknowledged at or behind the end that is told later",
    ),
    row(
        Anomaly::ReadBeyondEnd,
        "read-beyond-end",
        "I6 visibility",
        "a record was read at or behind the end that is told later",
    ),
    row(
        Anomaly::LogStartMoved,
        "log-start-moved",
        "I6 visibility",
        "the beginning of a partition moved, although nothing is deleted",
    ),
    row(
        Anomaly::CommittedMovedBack,
        "committed-moved-back",
        "I13 groups",
        "a group's offset is told that a later acknowledged commit had replaced",
    ),
    row(
        Anomaly::CommittedLost,
        "committed-lost",
        "I13 groups",
        "no offset is told for a group although one was committed",
    ),
    row(
        Anomaly::CommittedInvented,
        "committed-invented",
        "I13 groups",
        "a group's offset is told that no member committed",
    ),
    row(
        Anomaly::CommittedUndelivered,
        "committed-undelivered",
        "I13 groups",
        "the group committed an offset although a record before it was given to no member",
    ),
    row(
        Anomaly::ResumedElsewhere,
        "resumed-elsewhere",
        "I13 groups",
        "a member begins a partition at an offset that was not the committed one",
    ),
];

impl Anomaly {
    /// Its row.
    pub(crate) fn row(self) -> &'static Row {
        &ANOMALIES[self as usize]
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        write!(f, "{} ({})", row.name, row.invariant)
    }
}

/// The list as rows of a page in Markdown.
pub(crate) fn page() -> String {
    let rows = ANOMALIES
        .iter()
        .map(|row| format!("| {} | {} | {} |\n", row.name, row.invariant, row.meaning));
    rows.collect()
}
