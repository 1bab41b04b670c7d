//! What each failure of SQLite is answered with.

use rusqlite::Connection;

use super::{Fault, commit_failed};
use crate::store::{Class, Outcome};

fn sql_error(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

#[test]
fn an_error_before_commit_did_not_happen_and_one_at_commit_may_have() {
    use rusqlite::ffi::{
        SQLITE_BUSY, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_FSYNC, SQLITE_NOMEM,
    };
    for (code, class) in [
        (SQLITE_IOERR, Class::Unavailable),
        (SQLITE_IOERR_FSYNC, Class::Unavailable),
        (SQLITE_FULL, Class::Unavailable),
        (SQLITE_BUSY, Class::Unavailable),
        (SQLITE_NOMEM, Class::Unavailable),
        (SQLITE_CORRUPT, Class::Corrupt),
    ] {
        let inside = Fault::from(sql_error(code)).explain("write facts");
        assert_eq!(
            (inside.class(), inside.outcome()),
            (class, Outcome::DidNotHappen),
            "{code}"
        );
        let at_commit = commit_failed("write facts", &sql_error(code));
        assert_eq!(
            (at_commit.class(), at_commit.outcome()),
            (class, Outcome::MayHaveHappened),
            "{code}"
        );
        assert!(
            at_commit.to_string().ends_with("it may have happened"),
            "{at_commit}"
        );
    }
}

#[test]
fn a_broken_constraint_is_a_bug_unless_nobody_knows_what_happened() {
    let code = rusqlite::ffi::SQLITE_CONSTRAINT;
    assert_eq!(
        Fault::from(sql_error(code)).explain("write facts").class(),
        Class::Bug
    );
    let at_commit = commit_failed("write facts", &sql_error(code));
    assert_eq!(
        (at_commit.class(), at_commit.outcome()),
        (Class::Unavailable, Outcome::MayHaveHappened)
    );
}

#[test]
fn a_value_of_a_wrong_type_is_damage() {
    let connection = Connection::open_in_memory().unwrap();
    let error = connection
        .query_row("SELECT 'text'", [], |row| row.get::<_, i64>(0))
        .unwrap_err();
    assert_eq!(
        Fault::from(error).explain("read facts").class(),
        Class::Corrupt
    );
}

#[test]
fn a_full_disk_says_what_to_do() {
    let error = Fault::from(sql_error(rusqlite::ffi::SQLITE_FULL)).explain("write facts");
    assert!(
        error.to_string().contains("free space in the data folder"),
        "{error}"
    );
}
