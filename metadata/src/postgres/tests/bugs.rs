//! The store misbehaves on purpose, one bug at a time: a test that is green without the bug must fail with it.

use streamhouse_runtime::planted;

use super::faults;
use crate::postgres::server;

/// Runs a test with a bug, on this thread, which all of its tasks share.
#[track_caller]
fn is_found(bug: &'static str, test: fn()) {
    if server::shared().is_none() {
        return;
    }
    planted::switch_on(Some(bug));
    let outcome = std::panic::catch_unwind(test);
    let passed = planted::passed(bug);
    planted::switch_on(None);
    assert!(passed > 0, "the place of {bug} was never passed");
    assert!(outcome.is_err(), "nobody noticed {bug}");
}

#[test]
fn a_commit_that_goes_on_despite_a_warning_is_found() {
    is_found(
        "commit_despite_notice",
        super::a_commit_whose_wait_for_replicas_is_cut_short_is_unknown,
    );
}

#[test]
fn silence_that_is_taken_as_undone_is_found() {
    is_found(
        "silence_taken_as_undone",
        faults::a_commit_that_is_cut_off_is_unknown_and_resolving_tells_which,
    );
}

#[test]
fn an_answer_that_does_not_wait_for_the_commit_under_way_is_found() {
    is_found(
        "resolve_without_waiting",
        super::an_unknown_outcome_is_not_resolved_before_the_commit_is_over,
    );
}

#[test]
fn a_shard_that_is_taken_from_a_living_broker_is_found() {
    is_found(
        "take_from_the_living",
        faults::a_takeover_and_a_heartbeat_never_both_succeed,
    );
}
