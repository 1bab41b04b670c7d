//! Fuzzing in the test command: every target over its default run, and (with `planted-bugs`) every planted bug.

use std::process::Command;

use streamhouse_fuzz::{TARGETS, Verdict, campaign, mutate};

fn fuzz(words: &[&str]) -> bool {
    let status = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .args(words)
        .status();
    status
        .expect("the binary was built for this test")
        .success()
}

#[test]
fn whatever_the_bytes_every_target_holds() {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").unwrap_or_else(|_| "1".to_owned());
    assert!(fuzz(&["all", "--scale", &scale]), "see what was printed");
}

#[test]
fn a_seed_and_a_number_give_the_same_input_again() {
    for target in TARGETS {
        let sound = (target.seeds)();
        for number in 0..500 {
            let input = mutate::input(target, &sound, 3, number);
            let again = mutate::input(target, &(target.seeds)(), 3, number);
            assert_eq!(input, again, "{} {number}", target.name);
            if number >= 20 {
                break;
            }
        }
    }
}

#[test]
fn every_target_accepts_what_it_begins_with() {
    for target in TARGETS {
        for (number, input) in (target.seeds)().iter().enumerate() {
            assert!(
                input.len() <= target.length_max,
                "{} {number}: {}",
                target.name,
                input.len()
            );
            let verdict = campaign::execute(target, input).map(|(verdict, _)| verdict);
            assert_eq!(verdict, Ok(Verdict::Accepted), "{} {number}", target.name);
        }
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_found_by_its_target() {
    assert!(fuzz(&["bugs"]), "see what was printed");
}

#[test]
fn every_planted_bug_stands_where_the_list_says() {
    let top = streamhouse_fuzz::corpus::sources();
    for bug in streamhouse_fuzz::bugs::BUGS {
        let text = std::fs::read_to_string(top.join(bug.place)).unwrap_or_default();
        let line = format!("planted::bug(\"{}\")", bug.name);
        assert!(text.contains(&line), "{} lacks {line}", bug.place);
        assert!(
            TARGETS.iter().any(|target| target.name == bug.target),
            "{}",
            bug.name
        );
    }
}
