//! Worlds without planted bugs.

use streamhouse_simulation::plan::history;
use streamhouse_simulation::{Campaign, run};

use crate::{say, scale, threads};

/// Worlds of a default run, and operations of clients in each.
const WORLDS: u64 = 1000;
const OPERATIONS: usize = 2000;

/// Worlds that are run twice.
const REPEATED: u64 = 20;

#[test]
fn no_history_breaks_an_invariant_and_a_broker_died_everywhere() {
    let campaign = Campaign {
        seeds: 0..WORLDS * scale(),
        operations: OPERATIONS,
        threads: threads(),
        stops_at_failure: true,
        bug: None,
    };
    let report = campaign.run();
    say(&report.to_string());
    if let Some(failure) = report.failures.first() {
        panic!("{}", failure.explain());
    }
    assert_eq!(
        report.never_struck(),
        [],
        "no broker ever died at these places"
    );
    assert_eq!(report.never_met(), [], "no world met these");
}

#[test]
fn one_seed_twice_gives_one_trace() {
    for seed in 0..REPEATED {
        let history = history(seed, OPERATIONS);
        let first = run(seed, &history, false);
        let other_thread = std::thread::scope(|scope| {
            let second = scope.spawn(|| run(seed, &history, true));
            second.join().expect("a world does not panic")
        });
        assert_eq!(first.trace, other_thread.trace, "seed {seed}");
        assert_eq!(first.counts, other_thread.counts, "seed {seed}");
        assert!(
            !other_thread.log.is_empty(),
            "seed {seed}: a history in words was asked for"
        );
    }
}

#[test]
fn other_seeds_give_other_traces() {
    let traces: std::collections::BTreeSet<u64> = (0..REPEATED)
        .map(|seed| run(seed, &history(seed, 100), false).trace)
        .collect();
    assert_eq!(traces.len() as u64, REPEATED);
}

#[test]
fn operations_that_are_left_out_do_not_change_what_the_others_draw() {
    let whole = history(3, 200);
    let without: Vec<_> = whole
        .iter()
        .filter(|operation| operation.number % 2 == 0)
        .cloned()
        .collect();
    let outcome = run(3, &without, false);
    assert_eq!(outcome.breach, None);
    assert_eq!(outcome.trace, run(3, &without, false).trace);
}
