//! Worlds without planted bugs.

use streamhouse_simulation::{Campaign, Report, Scenario};

use crate::{say, scale, threads};

/// Worlds of a default run, and operations of clients in each. One of several brokers takes longer.
const WORLDS: u64 = 1000;
const WORLDS_OF_CLUSTERS: u64 = 600;
const OPERATIONS: usize = 2000;

/// Worlds that are run twice.
const REPEATED: u64 = 20;

fn whole(scenario: Scenario) -> Report {
    let worlds = match scenario {
        Scenario::Single => WORLDS,
        Scenario::Cluster => WORLDS_OF_CLUSTERS,
    };
    let campaign = Campaign {
        scenario,
        seeds: 0..worlds * scale(),
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
    report
}

#[test]
fn no_history_breaks_an_invariant_and_a_broker_died_everywhere() {
    let report = whole(Scenario::Single);
    assert_eq!(
        report.never_struck(),
        [],
        "no broker ever died at these places"
    );
    assert_eq!(report.never_met(), [], "no world met these");
}

#[test]
fn no_history_of_several_brokers_breaks_an_invariant_and_one_died_everywhere() {
    let report = whole(Scenario::Cluster);
    assert_eq!(
        report.never_struck(),
        [],
        "no broker ever died at these places"
    );
    assert_eq!(report.never_met(), [], "no world met these");
}

#[test]
fn one_seed_twice_gives_one_trace() {
    for scenario in Scenario::ALL {
        for seed in 0..REPEATED {
            let history = scenario.history(seed, OPERATIONS);
            let first = scenario.run(seed, &history, false);
            let other_thread = std::thread::scope(|scope| {
                let second = scope.spawn(|| scenario.run(seed, &history, true));
                second.join().expect("a world does not panic")
            });
            assert_eq!(first.trace, other_thread.trace, "{scenario}, seed {seed}");
            assert_eq!(first.counts, other_thread.counts, "{scenario}, seed {seed}");
            assert!(
                !other_thread.log.is_empty(),
                "{scenario}, seed {seed}: a history in words was asked for"
            );
        }
    }
}

#[test]
fn other_seeds_give_other_traces() {
    for scenario in Scenario::ALL {
        let trace = |seed| {
            let history = scenario.history(seed, 100);
            scenario.run(seed, &history, false).trace
        };
        let traces: std::collections::BTreeSet<u64> = (0..REPEATED).map(trace).collect();
        assert_eq!(traces.len() as u64, REPEATED, "{scenario}");
    }
}

#[test]
fn operations_that_are_left_out_do_not_change_what_the_others_draw() {
    for scenario in Scenario::ALL {
        let whole = scenario.history(3, 200);
        let without: Vec<_> = whole
            .iter()
            .filter(|operation| operation.number % 2 == 0)
            .cloned()
            .collect();
        let outcome = scenario.run(3, &without, false);
        assert_eq!(outcome.breach, None, "{scenario}");
        assert_eq!(
            outcome.trace,
            scenario.run(3, &without, false).trace,
            "{scenario}"
        );
    }
}
