//! No failure of the log reaches a client as a code that it does not know, or that says what is not so.

use streamhouse_log::append::{AppendError, AppendLost};
use streamhouse_log::read::ReadError;
use streamhouse_protocol::ErrorCode;

use super::{REQUEST_TIMED_OUT, of_fetch};
use crate::error_code::Refusal;

/// What a consumer knows in the answer for a partition (Kafka: `FetchCollector`); any other code ends in the application.
const KNOWN_TO_CONSUMERS: [i16; 14] = [0, 6, 9, 56, 74, 78, 3, 100, 103, 1, 29, 75, -1, 2];

fn read_errors() -> Vec<ReadError> {
    let reason = || "for a reason".to_owned();
    let errors = vec![
        ReadError::OutOfRange {
            offset: 5,
            log_start: 0,
            log_end: 3,
        },
        ReadError::UnknownPartition,
        ReadError::NotLeader,
        ReadError::Stopped(reason()),
        ReadError::Storage(reason()),
    ];
    // A variant that comes later has to be added above, too.
    for error in &errors {
        match error {
            ReadError::OutOfRange { .. }
            | ReadError::UnknownPartition
            | ReadError::NotLeader
            | ReadError::Stopped(_)
            | ReadError::Storage(_) => {}
        }
    }
    errors
}

#[test]
fn a_fetch_fails_in_words_that_consumers_know_and_resets_none_by_mistake() {
    for error in read_errors() {
        let refusal = Refusal::from(&error);
        for version in 4..=12 {
            let code = of_fetch(&refusal, version);
            assert!(KNOWN_TO_CONSUMERS.contains(&code), "{error}: {code}");
            // UNKNOWN_SERVER_ERROR and CORRUPT_MESSAGE kill a consumer, OFFSET_OUT_OF_RANGE makes it skip records.
            assert!(![-1, 2].contains(&code), "{error}: {code}");
            let is_out_of_range = matches!(error, ReadError::OutOfRange { .. });
            assert_eq!(code == 1, is_out_of_range, "{error}");
        }
    }
}

#[test]
fn what_was_not_appended_and_what_may_have_been_are_told_apart() {
    let refused = |error: AppendError| Refusal::from(&error).code;
    assert_eq!(refused(AppendError::Full), ErrorCode::NotEnoughReplicas);
    assert_eq!(
        refused(AppendError::NotLeader),
        ErrorCode::NotLeaderOrFollower
    );
    let stopped = AppendError::Stopped("for a reason".to_owned());
    assert_eq!(refused(stopped), ErrorCode::NotLeaderOrFollower);
    // Staged: the records may still appear.
    assert_eq!(REQUEST_TIMED_OUT.code, ErrorCode::RequestTimedOut);
    let lost = Refusal::from(&AppendLost);
    assert_eq!(lost.code, ErrorCode::NotLeaderOrFollower);
}
