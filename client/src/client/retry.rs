//! When a failed attempt is made again, and after what pause.

use std::time::Duration;

use streamhouse_runtime::{Ambient, Monotonic};

use crate::error::{ClientError, Outcome};

/// The pause after the first failure.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Which failures are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Every retriable one: the request changes nothing, or changes the same thing only once.
    Always,
    /// Only those of which it is certain that nothing happened.
    WhenNotHappened,
}

impl Retry {
    fn allows(self, error: &ClientError) -> bool {
        error.is_retriable() && (self == Self::Always || error.outcome() == Outcome::DidNotHappen)
    }
}

pub(super) async fn run<T, F>(
    ambient: &Ambient,
    limit: Monotonic,
    retry: Retry,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut pause = PAUSE_FIRST;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let drawn = jittered(ambient, pause);
        if !retry.allows(&error) || ambient.clock.monotonic() + drawn >= limit {
            return Err(error);
        }
        ambient.clock.sleep(drawn).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Between half of `pause` and all of it, so that many clients do not come back at once.
fn jittered(ambient: &Ambient, pause: Duration) -> Duration {
    let half = pause / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(ambient.chance.below(spread.saturating_add(1)))
}
