//! Whether the store serves us at all: since when every request fails, and what the last one was told. `/readyz` and
//! the one who looks at it live from this.

use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::Monotonic;

use super::StoreError;

/// A store that fails for this long is told of in the log; requests are repeated until then.
const TOLD_AFTER: Duration = Duration::from_secs(10);
/// Of the last error this much is kept.
const TEXT_CHARS_MAX: usize = 500;

/// How the store has served us lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// For how long every request has failed; none if the last one that was answered was answered in order. "No such
    /// object" is in order; "slow down" and "not allowed" are not.
    pub failing_for: Option<Duration>,
    /// How long ago the last request failed. A broker without work asks nothing of its store, so an old failure says little
    /// about now.
    pub last_failure_ago: Option<Duration>,
    /// What the last failure was, kept when the store is back; at most 500 letters.
    pub last_error: Option<String>,
}

/// The store's pulse. The lock is held for a look only.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Beats>);

#[derive(Debug, Default)]
struct Beats {
    failing_since: Option<Monotonic>,
    /// Whether the log tells of it.
    is_told: bool,
    last: Option<(Monotonic, StoreError)>,
}

impl Pulse {
    pub(super) fn answered(&self) {
        let was_told = {
            let mut beats = self.0.lock();
            beats.failing_since = None;
            std::mem::take(&mut beats.is_told)
        };
        if was_told {
            tracing::info!("the object store serves requests again");
        }
    }

    pub(super) fn failed(&self, now: Monotonic, why: &StoreError) {
        let tells = {
            let mut beats = self.0.lock();
            let since = *beats.failing_since.get_or_insert(now);
            beats.last = Some((now, StoreError::clone(why)));
            let tells = !beats.is_told && now - since >= TOLD_AFTER;
            beats.is_told |= tells;
            tells
        };
        if tells {
            tracing::warn!(
                error = text(&**why),
                "every request to the object store has failed for 10 s; it is tried again until it serves them"
            );
        }
    }

    pub(super) fn read(&self, now: Monotonic) -> StoreHealth {
        let beats = self.0.lock();
        StoreHealth {
            failing_for: beats.failing_since.map(|since| now - since),
            last_failure_ago: beats.last.as_ref().map(|(at, _)| now - *at),
            last_error: beats.last.as_ref().map(|(_, error)| text(&**error)),
        }
    }
}

/// The error with what lies behind it, unless that is said already.
fn text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
