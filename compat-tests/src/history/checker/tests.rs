//! Every anomaly has a smallest history that shows it, and one beside it that is allowed. Beyond them: good histories are
//! never accused, and a good history that is spoiled in one place is accused of just that.

mod good;
mod spoiled;

use super::{Verdict, check};
use crate::history::anomaly::{ANOMALIES, Anomaly, page};
use crate::history::event::History;

/// Two records of one producer, one of another, all in partition 0; a final reader that sees them.
const SENT: &str = "p role producer
q role producer
r role reader
s role reader
f role final
m role member
n role member
w role watcher
p send 0 0 aa 1
p send 1 0 bb 2
q send 0 0 cc 3";

/// What the final reader sees where all went well.
const END: &str = "f assigned 0 0
f read 0 0 p.0 aa 1
f read 0 1 p.1 bb 2
f read 0 2 q.0 cc 3
f whole 0 3";

/// All acknowledged.
const ACKS: &str = "p ack 0 0 0
p ack 1 0 1
q ack 0 0 2";

/// The member has read two records and committed that, and the answer came.
const COMMIT: &str = "m assigned 0 -
m read 0 0 p.0 aa 1
m read 0 1 p.1 bb 2
m commit?
m commit 0 2 ok";

fn history(parts: &[&str]) -> History {
    let mut history = History::new(7);
    for line in parts.iter().flat_map(|part| part.lines()) {
        history.push_line(0, line.trim()).unwrap();
    }
    history
}

fn judge(parts: &[&str]) -> Verdict {
    check(&history(parts)).unwrap()
}

/// What a history that went wrong in one way, and the allowed one beside it, consist of behind `SENT`.
struct Pair {
    anomaly: Anomaly,
    /// The line at which it goes wrong, among those of `bad`.
    wrong: &'static str,
    bad: &'static [&'static str],
    allowed: &'static [&'static str],
}

/// The smallest bad history of each kind.
const PAIRS: &[Pair] = &[
    Pair {
        anomaly: Anomaly::LostWrite,
        wrong: "p ack 0 0 0",
        bad: &[
            "p ack 0 0 0",
            "f assigned 0 0
             f read 0 0 p.1 bb 2
             f whole 0 1",
        ],
        allowed: &[
            "p unknown 0",
            "f assigned 0 0
             f read 0 0 p.1 bb 2
             f whole 0 1",
        ],
    },
    Pair {
        anomaly: Anomaly::LostWrite,
        wrong: "r read 0 1 p.1 bb 2",
        bad: &[
            "p unknown 0
             p unknown 1
             r assigned 0 0
             r read 0 0 p.0 aa 1
             r read 0 1 p.1 bb 2",
            "f assigned 0 0
             f read 0 0 p.0 aa 1
             f whole 0 1",
        ],
        allowed: &[
            "p unknown 0
             p unknown 1
             r assigned 0 0
             r read 0 0 p.0 aa 1",
            "f assigned 0 0
             f read 0 0 p.0 aa 1
             f whole 0 1",
        ],
    },
    Pair {
        anomaly: Anomaly::Unseen,
        wrong: "p ack 1 0 1",
        bad: &[
            "p ack 0 0 0
             p ack 1 0 1",
            "f assigned 0 0
             f read 0 0 p.0 aa 1
             f whole 0 1",
        ],
        allowed: &[
            "p ack 0 0 0
             p unknown 1",
            "f assigned 0 0
             f read 0 0 p.0 aa 1
             f whole 0 1",
        ],
    },
    Pair {
        anomaly: Anomaly::Duplicate,
        wrong: "f read 0 3 p.0 aa 1",
        bad: &["f assigned 0 0
             f read 0 0 p.0 aa 1
             f read 0 1 p.1 bb 2
             f read 0 2 q.0 cc 3
             f read 0 3 p.0 aa 1
             f whole 0 4"],
        // The same record at the same offset, for another reader and after a rebalance.
        allowed: &[
            END,
            "m assigned 0 -
             m read 0 0 p.0 aa 1
             m revoked 0
             m assigned 0 -
             m read 0 0 p.0 aa 1",
        ],
    },
    Pair {
        anomaly: Anomaly::Reordered,
        wrong: "f read 0 1 p.0 aa 1",
        bad: &["f assigned 0 0
             f read 0 0 p.1 bb 2
             f read 0 1 p.0 aa 1
             f whole 0 2"],
        // Between producers there is no order.
        allowed: &["f assigned 0 0
             f read 0 0 q.0 cc 3
             f read 0 1 p.0 aa 1
             f read 0 2 p.1 bb 2
             f whole 0 3"],
    },
    Pair {
        anomaly: Anomaly::Changed,
        wrong: "r read 0 0 p.0 ab 1",
        bad: &[ACKS, END, "r assigned 0 0\nr read 0 0 p.0 ab 1"],
        allowed: &[ACKS, END, "r assigned 0 0\nr read 0 0 p.0 aa 1"],
    },
    Pair {
        anomaly: Anomaly::Changed,
        wrong: "r read 0 0 p.0 aa 2",
        bad: &[ACKS, END, "r assigned 0 0\nr read 0 0 p.0 aa 2"],
        allowed: &[ACKS, END],
    },
    Pair {
        anomaly: Anomaly::Invented,
        wrong: "r read 0 0 p.7 aa 1",
        bad: &[ACKS, END, "r assigned 0 0\nr read 0 0 p.7 aa 1"],
        // The reader's line may come before the sender's.
        allowed: &[
            ACKS,
            "r assigned 0 0
             f assigned 0 0
             f read 0 0 p.0 aa 1
             f read 0 1 p.1 bb 2
             f read 0 2 q.0 cc 3
             f read 0 3 q.1 dd 4
             q send 1 0 dd 4
             f whole 0 4",
        ],
    },
    Pair {
        anomaly: Anomaly::Invented,
        wrong: "r read 0 0 - aa 1",
        bad: &[ACKS, END, "r assigned 0 0\nr read 0 0 - aa 1"],
        allowed: &[ACKS, END],
    },
    Pair {
        anomaly: Anomaly::WrongPartition,
        wrong: "r read 1 0 p.0 aa 1",
        bad: &[END, "r assigned 1 0\nr read 1 0 p.0 aa 1"],
        allowed: &[
            END,
            "p send 2 1 ee 1\nr assigned 1 0\nr read 1 0 p.2 ee 1
             f assigned 1 0\nf read 1 0 p.2 ee 1\nf whole 1 1",
        ],
    },
    Pair {
        anomaly: Anomaly::WrongPartition,
        wrong: "p ack 0 1 0",
        bad: &["p ack 0 1 0", END],
        allowed: &["p ack 0 0 0", END],
    },
    Pair {
        anomaly: Anomaly::FailedYetRead,
        wrong: "f read 0 0 p.0 aa 1",
        bad: &["p failed 0", END],
        allowed: &["p unknown 0", END],
    },
    Pair {
        anomaly: Anomaly::InconsistentOffsets,
        wrong: "r read 0 0 q.0 cc 3",
        bad: &[END, "r assigned 0 0\nr read 0 0 q.0 cc 3"],
        allowed: &[END, "r assigned 0 2\nr read 0 2 q.0 cc 3"],
    },
    Pair {
        anomaly: Anomaly::InconsistentOffsets,
        wrong: "q ack 0 0 1",
        bad: &["p ack 0 0 0\np ack 1 0 1\nq ack 0 0 1", END],
        allowed: &[ACKS, END],
    },
    Pair {
        anomaly: Anomaly::AckOffsetDiffers,
        wrong: "f read 0 2 q.0 cc 3",
        bad: &["q ack 0 0 5", END],
        // The client had to send it twice and was not told where it is.
        allowed: &["q ack 0 0 -", END],
    },
    Pair {
        anomaly: Anomaly::NonmonotonicSend,
        wrong: "p ack 1 0 0",
        bad: &["p ack 0 0 1\np ack 1 0 0", END],
        // Answers may come in any order.
        allowed: &["p ack 1 0 1\np ack 0 0 0", END],
    },
    Pair {
        anomaly: Anomaly::NonmonotonicPoll,
        wrong: "r read 0 0 p.0 aa 1",
        bad: &[
            END,
            "r assigned 0 1\nr read 0 1 p.1 bb 2\nr read 0 0 p.0 aa 1",
        ],
        allowed: &[
            END,
            "r assigned 0 1\nr read 0 1 p.1 bb 2\nr assigned 0 0\nr read 0 0 p.0 aa 1",
        ],
    },
    Pair {
        anomaly: Anomaly::PollSkip,
        wrong: "r read 0 2 q.0 cc 3",
        bad: &[
            END,
            "r assigned 0 0\nr read 0 0 p.0 aa 1\nr read 0 2 q.0 cc 3",
        ],
        allowed: &[
            END,
            "r assigned 0 0\nr read 0 0 p.0 aa 1\nr assigned 0 2\nr read 0 2 q.0 cc 3",
        ],
    },
    Pair {
        anomaly: Anomaly::PollSkip,
        wrong: "g whole 0 3",
        bad: &[
            END,
            "g role final\ng assigned 0 0\ng read 0 0 p.0 aa 1\ng whole 0 3",
        ],
        allowed: &[END, "g role final\ng assigned 0 3\ng whole 0 3"],
    },
    Pair {
        anomaly: Anomaly::OffsetGap,
        wrong: "f read 0 2 p.1 bb 2",
        bad: &["f assigned 0 0\nf read 0 0 p.0 aa 1\nf read 0 2 p.1 bb 2\nf whole 0 3"],
        allowed: &["f assigned 0 0\nf read 0 0 p.0 aa 1\nf read 0 1 p.1 bb 2\nf whole 0 2"],
    },
    Pair {
        anomaly: Anomaly::HighWatermarkRegress,
        wrong: "w ends 0 0 2",
        bad: &["w ends?\nw ends 0 0 3\nw ends?\nw ends 0 0 2", END],
        // Both questions were open at the same time.
        allowed: &["v ends?\nw ends?\nw ends 0 0 3\nv ends 0 0 2", END],
    },
    Pair {
        anomaly: Anomaly::AckBeyondEnd,
        wrong: "w ends 0 0 2",
        bad: &[ACKS, "w ends?\nw ends 0 0 2", END],
        allowed: &["w ends?", ACKS, "w ends 0 0 2", END],
    },
    Pair {
        anomaly: Anomaly::ReadBeyondEnd,
        wrong: "w ends 0 0 2",
        bad: &[END, "w ends?\nw ends 0 0 2"],
        allowed: &["w ends?", END, "w ends 0 0 2"],
    },
    Pair {
        anomaly: Anomaly::LogStartMoved,
        wrong: "w ends 0 1 3",
        bad: &[END, "w ends?\nw ends 0 1 3"],
        allowed: &[END, "w ends?\nw ends 0 0 3"],
    },
    Pair {
        anomaly: Anomaly::CommittedMovedBack,
        wrong: "w committed 0 1",
        bad: &[
            END,
            "m assigned 0 -\nm read 0 0 p.0 aa 1\nm commit?\nm commit 0 1 ok
             m read 0 1 p.1 bb 2\nm commit?\nm commit 0 2 ok
             w committed?\nw committed 0 1",
        ],
        // The first commit had no answer and may have come late.
        allowed: &[
            END,
            "m assigned 0 -\nm read 0 0 p.0 aa 1\nm commit?\nm commit 0 1 unknown
             m read 0 1 p.1 bb 2\nm commit?\nm commit 0 2 ok
             w committed?\nw committed 0 1",
        ],
    },
    Pair {
        anomaly: Anomaly::CommittedLost,
        wrong: "w committed 0 -",
        bad: &[END, COMMIT, "w committed?\nw committed 0 -"],
        allowed: &[END, "w committed?", COMMIT, "w committed 0 -"],
    },
    Pair {
        anomaly: Anomaly::CommittedInvented,
        wrong: "w committed 0 3",
        bad: &[END, COMMIT, "w committed?\nw committed 0 3"],
        allowed: &[END, COMMIT, "w committed?\nw committed 0 2"],
    },
    Pair {
        anomaly: Anomaly::CommittedUndelivered,
        wrong: "m commit 0 3 ok",
        bad: &[
            END,
            "m assigned 0 -\nm read 0 0 p.0 aa 1\nm commit?\nm commit 0 3 ok",
        ],
        // Two members together were given everything.
        allowed: &[
            END,
            COMMIT,
            "m revoked 0\nn assigned 0 -\nn read 0 2 q.0 cc 3\nn commit?\nn commit 0 3 ok",
        ],
    },
    Pair {
        anomaly: Anomaly::ResumedElsewhere,
        wrong: "n read 0 1 p.1 bb 2",
        bad: &[
            END,
            COMMIT,
            "m revoked 0\nn assigned 0 -\nn read 0 1 p.1 bb 2",
        ],
        allowed: &[
            END,
            COMMIT,
            "m revoked 0\nn assigned 0 -\nn read 0 2 q.0 cc 3",
        ],
    },
    Pair {
        anomaly: Anomaly::ResumedElsewhere,
        wrong: "m read 0 0 p.0 aa 1",
        bad: &[
            END,
            COMMIT,
            "m commit?\nm commit 0 2 ok\nm assigned 0 -\nm read 0 0 p.0 aa 1",
        ],
        // The other member was given the partition before anybody committed.
        allowed: &[END, "n assigned 0 -", COMMIT, "n read 0 0 p.0 aa 1"],
    },
];

#[test]
fn every_anomaly_is_named_at_the_line_where_it_went_wrong() {
    for pair in PAIRS {
        let parts = [&[SENT], pair.bad].concat();
        let history = history(&parts);
        let verdict = check(&history).unwrap();
        let name = pair.anomaly.row().name;
        let found = verdict
            .findings()
            .into_iter()
            .find(|(finding, _)| finding.anomaly == pair.anomaly);
        let (finding, _) = found.unwrap_or_else(|| {
            panic!(
                "{name} is not found in {parts:#?}: {:?}",
                verdict.findings()
            )
        });
        let line = history.line(&history.events[finding.event]);
        let wrong = pair
            .wrong
            .replace("aa", "000000aa")
            .replace("ab ", "000000ab ");
        let wrong = wrong.replace("bb", "000000bb").replace("cc", "000000cc");
        assert_eq!(line, format!("0 {wrong}"), "{name}: {}", finding.text);
    }
}

#[test]
fn what_is_allowed_is_not_accused() {
    for pair in PAIRS {
        let verdict = judge(&[&[SENT], pair.allowed].concat());
        let name = pair.anomaly.row().name;
        assert_eq!(verdict.findings(), [], "beside {name}");
        assert!(verdict.unread.is_empty(), "beside {name}");
    }
}

#[test]
fn every_anomaly_has_a_bad_history() {
    for row in ANOMALIES {
        assert!(
            PAIRS.iter().any(|pair| pair.anomaly == row.anomaly),
            "{} is never shown",
            row.name
        );
    }
}

#[test]
fn the_list_is_in_the_order_of_its_names() {
    for row in ANOMALIES {
        assert_eq!(row.anomaly.row().name, row.name);
    }
}

#[test]
fn the_page_holds_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/internals/testing.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.contains(&page()),
        "docs/internals/testing.md must hold these rows:\n{}",
        page()
    );
}

#[test]
fn a_history_without_final_reads_is_not_good() {
    let verdict = judge(&[SENT, ACKS]);
    assert_eq!(verdict.findings(), []);
    assert_eq!(verdict.unread, vec![0_i32]);
    assert!(!verdict.is_good());
}

#[test]
fn the_first_finding_is_the_earliest_line() {
    let verdict = judge(&[
        SENT,
        ACKS,
        END,
        "r assigned 0 0\nr read 0 0 p.0 ab 1\nr read 0 0 p.0 ab 1\nr read 0 1 p.7 aa 1",
    ]);
    assert_eq!(verdict.first().unwrap().anomaly, Anomaly::Changed);
    assert_eq!(verdict.count(Anomaly::Changed), 2);
}

#[test]
fn an_answer_about_nothing_is_no_history() {
    for line in ["p ack 9 0 0", "p send 9 0 aa 1", "p failed 2"] {
        assert!(check(&history(&[SENT, line])).is_err(), "{line}");
    }
    assert!(check(&history(&[SENT, "p ack 0 0 0", "p unknown 0"])).is_err());
}

#[test]
fn offsets_beyond_all_reason_cost_no_memory() {
    let far = format!("r assigned 0 0\nr read 0 {} p.0 aa 1", i64::MAX - 1);
    let verdict = judge(&[SENT, END, &far]);
    assert_eq!(verdict.count(Anomaly::Duplicate), 1);
}

#[test]
fn a_saved_history_is_the_same_history() {
    let written = history(&[
        SENT,
        ACKS,
        COMMIT,
        END,
        "p send 2 1 ffffffff -1\np ack 2 1 -\nq unknown 0\nr assigned 1 -\nr revoked 1\nr read 1 0 - 0 -1
         w ends?\nw ends 0 0 3\nw committed?\nw committed 0 -\nw committed 0 4\nm commit 1 2 unknown
         x role nemesis\nx fault kill\nx fault stop 70\nx fault lose 3\nx fault restart\nx fault rewind\nx note\np failed 1",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    written.save(&path).unwrap();
    let read = History::load(&path).unwrap();
    assert_eq!(read.events, written.events);
    assert_eq!(read.seed, written.seed);
}
