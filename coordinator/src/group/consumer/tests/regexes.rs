//! Subscriptions by regex.

use super::*;

fn matching(member: &str, regex: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        names: None,
        regex: Some(regex.into()),
        ..join(member, &[])
    }
}

fn pattern(regex: &str) -> Result<Pattern, PatternError> {
    Pattern::new(&Arc::from(regex))
}

#[test]
fn a_regex_means_whole_names() {
    let matches = |regex: &str, name: &str| {
        let name = TopicName::new(name).unwrap();
        pattern(regex).unwrap().matches(&name)
    };
    assert!(matches("orders-.*", "orders-eu"));
    assert!(!matches("orders", "orders-eu"));
    assert!(!matches("eu", "orders-eu"));
    assert!(matches("a|b", "a"));
    assert!(matches("a|b", "b"));
    assert!(!matches("a|b", "ab"));
    assert!(matches(r"(?i)\w+\.\d{2}", "Topic.17"));
    assert!(!matches("", "a"));
}

#[test]
fn hostile_regexes_are_refused_and_cheap() {
    let is_syntax = |regex| matches!(pattern(regex), Err(PatternError::Syntax { .. }));
    assert!(is_syntax("("));
    assert!(is_syntax(")("));
    assert!(is_syntax("a)|(b"));
    assert!(is_syntax("*"));
    assert!(is_syntax(r"(a)\1"));
    assert!(is_syntax("(?=a)"));
    assert_eq!(
        pattern("((a{100}){100}){100}").unwrap_err(),
        PatternError::TooLarge
    );
    let long = "a".repeat(1_025);
    assert_eq!(pattern(&long).unwrap_err(), PatternError::TooLong(1_025));
    // What makes backtracking engines hang.
    let name = TopicName::new(&"a".repeat(249)).unwrap();
    assert!(!pattern("(a*)*b").unwrap().matches(&name));
    assert!(pattern("[a-z0-9.-]{1,249}").unwrap().matches(&name));
}

#[test]
fn topics_that_match_are_read_as_they_come_and_go() {
    let mut bench = Bench::with(&[("x-1", 1, 1), ("y", 2, 1)]);
    let answer = bench.beat(&matching("m", "x-.*")).unwrap();
    assert_eq!(answer.assigned, Some(partitions(1, &[0])));
    bench.topics = catalogue(2, &[("x-1", 1, 1), ("x-2", 3, 1), ("y", 2, 1)]);
    let answer = bench.beat(&beat("m", 1)).unwrap();
    let both: Partitions = partitions(1, &[0])
        .union(&partitions(3, &[0]))
        .copied()
        .collect();
    assert_eq!((answer.epoch, answer.assigned), (2, Some(both)));
    let stores = bench.stores;
    bench.topics = catalogue(3, &[("x-1", 1, 1), ("x-2", 3, 1), ("z", 4, 1)]);
    assert_eq!(bench.beat(&beat("m", 2)).unwrap().epoch, 2);
    assert_eq!(bench.stores, stores);
}

#[test]
fn topics_that_the_asker_may_not_see_are_not_matched() {
    let mut bench = Bench::with(&[("x-1", 1, 1), ("x-2", 2, 1)]);
    let sees = |name: &TopicName| name.as_str() == "x-2";
    let answer = bench.beat_seeing(&matching("m", "x-.*"), sees).unwrap();
    assert_eq!(answer.assigned, Some(partitions(2, &[0])));
    // May see it now: found out with the next refresh.
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.beat(&beat("m", 1)).unwrap().assigned, None);
    for _ in 0..60 {
        bench.pass(Duration::from_secs(10));
        let epoch = bench.group.members[&MemberId::from("m")].epoch;
        bench.beat(&beat("m", epoch)).unwrap();
    }
    assert_eq!(bench.group.epoch(), 2);
}

#[test]
fn names_and_regex_add_up_and_the_empty_regex_ends_the_subscription() {
    let mut bench = Bench::with(&[("a", 1, 1), ("x", 2, 1)]);
    let both = ConsumerHeartbeat {
        names: Some(set(&["a"])),
        ..matching("m", "x")
    };
    let answer = bench.beat(&both).unwrap();
    assert_eq!(answer.assigned.map(|all| all.len()), Some(2));
    let end = ConsumerHeartbeat {
        regex: Some("".into()),
        ..owning("m", 1, &partitions(1, &[0]))
    };
    let answer = bench.beat(&end).unwrap();
    assert_eq!(answer.assigned, Some(partitions(1, &[0])));
    assert!(bench.group.resolutions.is_empty());
    assert!(!bench.group.subscriptions().may_include("x"));
    assert!(bench.group.subscriptions().may_include("a"));
}

#[test]
fn what_a_regex_meant_survives_a_restart() {
    let mut bench = Bench::with(&[("x-1", 1, 1), ("y", 2, 1)]);
    bench.beat(&matching("m", "x-.*")).unwrap();
    bench.restart();
    let answer = bench.beat(&join("n", &["y"])).unwrap();
    assert_eq!(answer.assigned, Some(partitions(2, &[0])));
    assert_eq!(bench.beat(&beat("m", 1)).unwrap().epoch, 2);
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
}
