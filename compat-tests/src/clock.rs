//! The time on the wall, which clients put into records and brokers stamp on them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as in a record's timestamp.
#[expect(
    clippy::disallowed_methods,
    reason = "the broker under test is another process with the real clock"
)]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
