//! What `group lag` shows.

use super::{Line, seconds, text};

#[test]
fn lag_is_shown_in_records_and_in_seconds() {
    let line = |partition, end, lag, lag_seconds, member: Option<&str>| Line {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition,
        committed: 7,
        end,
        lag,
        lag_seconds,
        member: member.map(str::to_owned),
    };
    let lines = [
        line(0, Some(10), Some(3), Some(61.25), Some("m-1")),
        line(1, Some(7), Some(0), Some(0.0), None),
        line(2, None, None, None, None),
    ];
    assert_eq!(
        text(&lines),
        "GROUP  TOPIC  PARTITION  COMMITTED  END  LAG  SECONDS  MEMBER\n\
         g      t              0          7   10    3     61.2  m-1\n\
         g      t              1          7    7    0      0.0\n\
         g      t              2          7    -    -        -\n"
    );
}

#[test]
fn a_clock_that_runs_ahead_is_no_lag() {
    assert_eq!(seconds(1_000, 2_500), 0.0);
    assert_eq!(seconds(2_500, 1_000), 1.5);
}
