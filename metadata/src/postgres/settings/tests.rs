//! What is read from a URL, and what is refused before a connection is tried.

use std::path::PathBuf;
use std::time::Duration;

use super::{PostgresSettings, Trust, target};

fn trust(url: &str) -> Trust {
    target(&PostgresSettings::new(url)).unwrap().trust
}

fn refusal(settings: &PostgresSettings) -> String {
    target(settings).unwrap_err().to_string()
}

#[test]
fn a_server_elsewhere_must_show_its_certificate_unless_told_otherwise() {
    assert_eq!(trust("postgres://u:p@db.example/d"), Trust::Machine);
    assert_eq!(
        trust("postgres://u:p@db.example/d?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem"),
        Trust::File(PathBuf::from("/etc/my ca.pem"))
    );
    assert_eq!(
        trust("postgres://u@db.example/d?sslmode=disable"),
        Trust::Unprotected
    );
    assert_eq!(trust("postgres://u@localhost/d"), Trust::Unprotected);
    assert_eq!(trust("postgres://u@%2Frun%2Fpg/d"), Trust::Unprotected);
    assert_eq!(trust("postgres://u@127.0.0.1,db.example/d"), Trust::Machine);
    assert_eq!(
        trust("postgres://u@localhost/d?sslmode=verify-full"),
        Trust::Machine
    );
}

#[test]
fn weaker_protection_is_refused_with_the_remedy() {
    for mode in ["require", "prefer", "allow", "verify-ca", ""] {
        let text = refusal(&PostgresSettings::new(format!(
            "postgres://u:secret@db/d?sslmode={mode}"
        )));
        assert!(text.contains("choose verify-full"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn other_parameters_reach_the_library() {
    let target = target(&PostgresSettings::new(
        "postgres://u:p@one:1,two:2/d?sslmode=disable&target_session_attrs=read-write",
    ))
    .unwrap();
    assert_eq!(target.config.get_hosts().len(), 2);
    assert_eq!(target.name, "d on one:1, two:2");
}

#[test]
fn what_cannot_work_is_refused() {
    let url = "postgres://u:secret@localhost/d";
    let check = |change: fn(&mut PostgresSettings), word: &str| {
        let mut settings = PostgresSettings::new(url);
        change(&mut settings);
        let text = refusal(&settings);
        assert!(text.contains(word) && !text.contains("secret"), "{text}");
    };
    check(|s| s.connections = 0, "choose 1 to");
    check(
        |s| s.connections = super::CONNECTIONS_MAX + 1,
        "choose 1 to",
    );
    check(|s| s.lock_limit = Duration::ZERO, "lock limit");
    check(|s| s.request_limit = s.statement_limit, "longer than");
    check(|s| s.schema = "a; DROP".to_owned(), "schema");
    check(|s| s.schema = String::new(), "schema");
    check(|s| s.schema = "pg_mine".to_owned(), "schema");
    check(|s| s.schema = "1a".to_owned(), "schema");
    check(|s| s.url = "mysql://u:secret@h/d".to_owned(), "postgres://");
    check(|s| s.url = "postgres:///d".to_owned(), "names no host");
    check(|s| s.url.push_str("?nonsense=1"), "cannot be read");
    check(
        |s| s.url.push_str("?options=-c%20fsync%3Doff"),
        "sets options",
    );
    check(
        |s| s.url.push_str("?sslmode=disable&sslrootcert=a"),
        "no meaning",
    );
    check(|s| s.url.push_str("?sslrootcert=%zz"), "%-sequence");
}

#[test]
fn the_password_is_in_no_debug_text() {
    let settings = PostgresSettings::new("postgres://u:secret@localhost/d");
    assert!(!format!("{settings:?}").contains("secret"));
    let target = target(&settings).unwrap();
    assert!(!format!("{target:?}").contains("secret"));
}
