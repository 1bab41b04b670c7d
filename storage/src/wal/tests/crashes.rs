//! Crash states: whatever a power cut or a kill leaves behind, recovery finds a prefix that holds all that was durable.

use streamhouse_runtime::Chance;

use super::workload::{Life, chance};
use super::*;
use crate::wal::crash::{CrashStyle, History, IoFault};

/// Crash states per default run; `STREAMHOUSE_TEST_SCALE` multiplies.
const STATES: usize = 60_000;
/// States drawn per history.
const STATES_PER_HISTORY: usize = 60;

fn style(chance: &dyn Chance) -> CrashStyle {
    // Subsets of sectors have the most states; the others have few.
    match chance.below(8) {
        0 => CrashStyle::Kill,
        1 => CrashStyle::Forget,
        2 => CrashStyle::Torn,
        _ => CrashStyle::Sectors,
    }
}

/// What recovery finds in a state, without changing it.
fn recovered(state: &CrashIo) -> Result<Vec<Replayed>, String> {
    recovered_by(state, small())
}

fn recovered_by(state: &CrashIo, settings: WalSettings) -> Result<Vec<Replayed>, String> {
    let copy = state.after_kill();
    try_open(Arc::new(copy), settings, 99)
        .map(|mut broker| std::mem::take(&mut broker.replayed))
        .map_err(|error| format!("false alarm: {error}"))
}

/// Any moment since the life's recovery was complete.
fn moment(life: &Life, history: &History, chance: &dyn Chance) -> usize {
    let moments = (history.len() - life.since) as u64 + 1;
    life.since + usize::try_from(chance.below(moments)).unwrap()
}

/// Draws states of one life's history and judges each.
fn judge_states(
    life: &Life,
    history: &History,
    count: usize,
    chance: &dyn Chance,
) -> Result<(), String> {
    let mut moments: Vec<usize> = (0..count).map(|_| moment(life, history, chance)).collect();
    moments.sort_unstable();
    let mut cursor = history.cursor();
    for moment in moments {
        while cursor.moment() < moment && cursor.advance() {}
        let style = style(chance);
        let state = cursor.crash(style, chance);
        let say = |error: String| format!("{style:?} at {moment} of {}: {error}", history.len());
        // Others may have recorded that it reached whatever was durable; no crash makes that a loss.
        let settings = WalSettings {
            covered_to: life.durable_at(moment),
            ..small()
        };
        life.judge(moment, &recovered_by(&state, settings).map_err(say)?)
            .map_err(say)?;
    }
    Ok(())
}

/// Lives three lives, each after the death of the one before, and judges states of each. Sometimes only the process
/// died: then the next life recovers what is partly in memory only, and the power may fail after that.
fn lives(case: u64) -> Result<usize, String> {
    let chance = chance(1, case);
    let mut io = CrashIo::new();
    let mut judged = 0;
    for round in 0..3 {
        let (mut life, broker) = Life::begin(&io, chance.next_u64());
        let only_process = chance.below(2) == 0;
        if only_process {
            io.plan_fault(None, 1 + chance.below(60), IoFault::Kill);
        }
        life.live(&io, &broker, 60, &chance);
        drop(broker);
        let history = io.history();
        judge_states(&life, &history, STATES_PER_HISTORY / 3, &chance)
            .map_err(|error| format!("case {case}, life {round}: {error}"))?;
        judged += STATES_PER_HISTORY / 3;
        if only_process {
            io.revive();
        } else {
            let moment = moment(&life, &history, &chance);
            io = history.crash_at(moment, style(&chance), &chance);
        }
    }
    Ok(judged)
}

#[test]
fn every_crash_state_recovers_a_prefix_that_holds_all_that_was_durable() {
    let mut judged = 0;
    let mut case = 0;
    while judged < STATES * scale() {
        judged += lives(case).unwrap();
        case += 1;
    }
}

#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    let losses = (0..100).filter(|case| {
        let chance = chance(1, *case);
        let io = CrashIo::new();
        io.ignore_syncs();
        let (mut life, broker) = Life::begin(&io, *case);
        life.live(&io, &broker, 60, &chance);
        let judged = judge_states(&life, &io.history(), STATES_PER_HISTORY, &chance);
        judged.is_err_and(|error| error.contains("are lost") || error.contains("cannot be read"))
    });
    let losses = losses.count();
    assert!(losses >= 95, "only {losses} of 100 lying disks were caught");
}

/// The subtler lie: files are synced and names are, but the last sync of a file's records never happened.
#[test]
fn a_disk_that_loses_one_sync_is_caught() {
    let losses = (0..100).filter(|case| {
        let chance = chance(6, *case);
        let io = CrashIo::new();
        let (mut life, broker) = Life::begin(&io, *case);
        life.live(&io, &broker, 20, &chance);
        let since = io.moment();
        io.ignore_syncs();
        life.live(&io, &broker, 20, &chance);
        let history = io.history();
        let lost = |moment| {
            let state = history.crash_at(moment, CrashStyle::Forget, &chance);
            let judged = recovered(&state).and_then(|replayed| life.judge(moment, &replayed));
            judged
                .is_err_and(|error| error.contains("are lost") || error.contains("cannot be read"))
        };
        (since..=history.len()).any(lost)
    });
    let losses = losses.count();
    assert!(losses >= 90, "only {losses} of 100 were caught");
}

#[test]
fn a_crash_at_every_moment_of_a_short_history_is_survived() {
    for case in 0..(4 * scale() as u64) {
        let chance = chance(2, case);
        let io = CrashIo::new();
        let (mut life, broker) = Life::begin(&io, case);
        life.live(&io, &broker, 40, &chance);
        let history = io.history();
        for moment in life.since..=history.len() {
            for style in CrashStyle::ALL {
                let state = history.crash_at(moment, style, &chance);
                let replayed = recovered(&state).unwrap();
                life.judge(moment, &replayed)
                    .unwrap_or_else(|error| panic!("case {case}, {style:?} at {moment}: {error}"));
            }
        }
    }
}

/// Kills a recovery of `io` at its `n`-th call; `None` if it has fewer calls.
fn interrupted(io: &CrashIo, n: u64, chance: &dyn Chance) -> Option<CrashIo> {
    let copy = io.after_kill();
    copy.plan_fault(None, n, IoFault::Kill);
    let opened = try_open(Arc::new(copy.clone()), small(), chance.next_u64());
    if copy.fault_is_pending() {
        return None;
    }
    drop(opened);
    let history = copy.history();
    Some(history.crash_at(history.len(), style(chance), chance))
}

#[test]
fn a_recovery_killed_at_any_call_twice_in_a_row_changes_nothing() {
    for case in 0..(30 * scale() as u64) {
        let chance = chance(3, case);
        let io = CrashIo::new();
        let (mut life, broker) = Life::begin(&io, case);
        life.live(&io, &broker, 80, &chance);
        let history = io.history();
        let moment = moment(&life, &history, &chance);
        let state = history.crash_at(moment, style(&chance), &chance);
        let expected = recovered(&state).unwrap();
        let mut n = 1;
        while let Some(once) = interrupted(&state, n, &chance) {
            assert_eq!(
                recovered(&once).unwrap(),
                expected,
                "case {case}, killed at call {n}"
            );
            let again = 1 + chance.below(12);
            if let Some(twice) = interrupted(&once, again, &chance) {
                assert_eq!(
                    recovered(&twice).unwrap(),
                    expected,
                    "case {case}, killed at call {n} and then at {again}"
                );
            }
            n += 1;
        }
        assert!(n > 5, "a recovery makes more than {n} calls");
    }
}

#[test]
fn a_life_killed_at_any_call_is_recovered() {
    for case in 0..(3 * scale() as u64) {
        let mut n = 1;
        loop {
            let chance = chance(4, case);
            let io = CrashIo::new();
            let (mut life, broker) = Life::begin(&io, case);
            io.plan_fault(None, n, IoFault::Kill);
            life.live(&io, &broker, 60, &chance);
            if io.fault_is_pending() {
                break;
            }
            drop(broker);
            let replayed = recovered(&io.after_kill()).unwrap();
            life.judge(usize::MAX, &replayed)
                .unwrap_or_else(|error| panic!("case {case}, killed at call {n}: {error}"));
            n += 1;
        }
        assert!(n > 20, "a life makes more than {n} calls");
    }
}
