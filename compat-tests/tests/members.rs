//! Groups of real members live through crashes of members and of coordinators.

use anyhow::Result;

#[test]
fn groups_live_through_members_that_crash_and_coordinators_that_die_and_move() -> Result<()> {
    streamhouse_compat_tests::members::live_through_a_storm()
}

#[test]
fn every_kind_of_wrong_is_found() -> Result<()> {
    streamhouse_compat_tests::members::find_what_is_wrong()
}
