//! What errors say.

use std::sync::Arc;
use std::time::Duration;

use streamhouse_protocol::ErrorCode;

use super::{CallError, ClientError, ErrorKind, Outcome, check, code_name};

#[test]
fn codes_are_written_as_kafka_writes_them() {
    assert_eq!(
        code_name(ErrorCode::UnknownTopicOrPartition),
        "UNKNOWN_TOPIC_OR_PARTITION"
    );
    assert_eq!(
        code_name(ErrorCode::NotLeaderOrFollower),
        "NOT_LEADER_OR_FOLLOWER"
    );
}

#[test]
fn a_refusal_names_the_thing_the_code_the_words_and_the_remedy() {
    let error = check(36, Some("Topic 'x' already exists."), || {
        "create topic \"x\"".into()
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "create topic \"x\": TOPIC_ALREADY_EXISTS: Topic 'x' already exists; choose another name, or delete that \
         topic first"
    );
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Refused, Outcome::DidNotHappen)
    );
    assert!(check(0, None, String::new).is_ok());
}

#[test]
fn a_request_without_answer_may_have_happened() {
    let error = ClientError::from(CallError::TimedOut {
        broker: Arc::from("a:1"),
        api: "Produce",
        after: Duration::from_secs(3),
    });
    assert_eq!(
        error.to_string(),
        "broker a:1 did not answer Produce within 3s"
    );
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Unavailable, Outcome::MayHaveHappened)
    );
    assert!(error.is_retriable());
    let timed_out = check(7, None, || "produce".into()).unwrap_err();
    assert_eq!(timed_out.outcome(), Outcome::MayHaveHappened);
}
