//! The list of codes: what each of them says of a commit.

use std::collections::BTreeSet;

use super::{Fault, Phase, SQLSTATES, meaning};
use crate::store::{Class, Outcome};

#[test]
fn codes_that_undo_a_transaction_say_so_and_others_do_not() {
    let check = |code: &str, expected: Option<(Class, Outcome)>| {
        let found = meaning(code).map(|row| (row.class, row.outcome));
        assert_eq!(found, expected, "{code}");
    };
    let undone = |class| Some((class, Outcome::DidNotHappen));
    check("40001", undone(Class::Unavailable));
    check("40P01", undone(Class::Unavailable));
    check("55P03", undone(Class::Unavailable));
    check("53100", undone(Class::Unavailable));
    check("23505", undone(Class::Bug));
    check("XX001", undone(Class::Corrupt));
    let unknown = Some((Class::Unavailable, Outcome::MayHaveHappened));
    check("40003", unknown);
    check("57014", unknown);
    for code in ["57P01", "57P02", "08006", "58030", "XX000", "00000", ""] {
        check(code, None);
    }
}

#[test]
fn no_row_of_the_list_hides_a_later_one() {
    for (index, row) in SQLSTATES.iter().enumerate() {
        assert_eq!(meaning(row.code), Some(&SQLSTATES[index]), "{}", row.code);
    }
    let codes: BTreeSet<&str> = SQLSTATES.iter().map(|row| row.code).collect();
    assert_eq!(codes.len(), SQLSTATES.len());
}

#[test]
fn silence_means_undone_before_the_commit_and_unknown_after() {
    let outcome = |phase| {
        Fault::Unavailable("silence".to_owned())
            .explain("write", phase)
            .outcome()
    };
    assert_eq!(outcome(Phase::Before), Outcome::DidNotHappen);
    assert_eq!(outcome(Phase::Committing), Outcome::MayHaveHappened);
    assert_eq!(outcome(Phase::Committed), Outcome::MayHaveHappened);
}
