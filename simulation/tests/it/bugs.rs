//! Every planted bug turns its own invariant red.

use streamhouse_runtime::planted;
use streamhouse_simulation::bugs::BUGS;
use streamhouse_simulation::{Campaign, Scenario};

use crate::{say, threads};

#[test]
fn every_planted_bug_breaks_its_own_invariant() {
    let mut missed = Vec::new();
    for bug in BUGS {
        match bug.hunt(threads()) {
            Ok(found) => say(&format!("{:<32} {found}", bug.name)),
            Err(reason) => missed.push(format!("{}: {reason}", bug.name)),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn every_planted_bug_stands_where_the_list_says() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for bug in BUGS {
        let text = std::fs::read_to_string(top.join(bug.place)).unwrap_or_default();
        let line = format!("planted::bug(\"{}\")", bug.name);
        assert!(text.contains(&line), "{} lacks {line}", bug.place);
    }
}

#[test]
fn a_failing_history_shrinks_and_says_how_to_repeat_it() {
    let bug = BUGS
        .iter()
        .find(|bug| bug.name == "duplicate_appended_again");
    let campaign = Campaign {
        scenario: Scenario::Single,
        seeds: 0..8,
        operations: 500,
        threads: 1,
        stops_at_failure: true,
        bug: bug.map(|bug| bug.name),
    };
    let report = campaign.run();
    let failure = report.failures.first().expect("the bug is found");
    let told = failure.explain();
    assert!(told.contains("I7 idempotence"), "{told}");
    assert!(
        told.contains("cargo run -p streamhouse-simulation --features planted-bugs -- --scenario single --seed"),
        "{told}"
    );
    let short = told
        .lines()
        .find_map(|line| line.split_once(" of its operations do as well"));
    let operations: usize = short.expect("it shrinks").0.parse().expect("a number");
    assert!(operations <= 12, "{operations} operations are left\n{told}");
}

#[test]
fn a_bug_that_is_switched_off_does_nothing() {
    planted::switch_on(None);
    assert!(!planted::bug("ack_before_fsync"));
    planted::switch_on(Some("ack_before_fsync"));
    assert!(planted::bug("ack_before_fsync"));
    assert!(!planted::bug("no_folder_fsync"));
    assert_eq!(planted::passed("ack_before_fsync"), 1);
    planted::switch_on(None);
}
