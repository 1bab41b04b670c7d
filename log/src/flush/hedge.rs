//! Hedging uploads with `shared` durability: producers wait for the slowest upload, so one that takes much longer than
//! others usually do is made a second time, under another key. The first that arrives is committed; the other is given up.
//!
//! The attempt is part of what the object says about itself, so the manifests of each attempt are its own, and which one
//! counts is decided before the commit.

use std::time::Duration;

use futures::future::{Either, select};
use parking_lot::Mutex;
use streamhouse_metadata::store::ObjectId;
use streamhouse_runtime::Monotonic;

use super::FlushError;
use super::collect::ShardPart;
use super::write::{Sealed, WriteFailed};
use crate::Log;

/// Uploads that must have been seen before one can be called slow.
const UPLOADS_KNOWN: u32 = 8;
/// No upload is called slow before this.
const SLOW_MIN: Duration = Duration::from_millis(50);
/// How many deviations above the mean are slow.
const DEVIATIONS: f64 = 4.0;
/// How much the newest upload counts.
const NEWEST: f64 = 0.1;
/// Second uploads that may have been saved up.
const SAVED_MAX: f64 = 2.0;

/// How long uploads take, and how many may be made twice.
#[derive(Debug)]
pub(crate) struct Hedging {
    times: Mutex<Times>,
    /// Part of the uploads that may be made twice.
    share: f64,
}

#[derive(Debug, Default)]
struct Times {
    known: u32,
    mean_s: f64,
    deviation_s: f64,
    saved: f64,
    counts: HedgeCounts,
}

/// How many uploads were made twice since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HedgeCounts {
    /// A second upload was begun.
    pub begun: u64,
    /// The second one was there first.
    pub won: u64,
}

impl Hedging {
    /// Lets a `share` of all uploads be made twice, 0 to 1.
    pub(crate) fn new(share: f64) -> Self {
        Self {
            times: Mutex::default(),
            share,
        }
    }

    pub(crate) fn counts(&self) -> HedgeCounts {
        self.times.lock().counts
    }

    /// After how long an upload is slow; none while that is not known.
    fn slow_after(&self) -> Option<Duration> {
        let times = self.times.lock();
        if self.share <= 0.0 || times.known < UPLOADS_KNOWN {
            return None;
        }
        let slow = times.mean_s + DEVIATIONS * times.deviation_s;
        Some(Duration::from_secs_f64(slow).max(SLOW_MIN))
    }

    /// Whether one more may be made twice.
    fn begin(&self) -> bool {
        let mut times = self.times.lock();
        if times.saved < 1.0 {
            return false;
        }
        times.saved -= 1.0;
        times.counts.begun += 1;
        true
    }

    fn won(&self) {
        self.times.lock().counts.won += 1;
    }

    /// An upload took that long.
    fn took(&self, time: Duration) {
        let mut times = self.times.lock();
        let seconds = time.as_secs_f64();
        if times.known == 0 {
            times.mean_s = seconds;
        }
        let off = (seconds - times.mean_s).abs();
        times.mean_s += NEWEST * (seconds - times.mean_s);
        times.deviation_s += NEWEST * (off - times.deviation_s);
        times.known = times.known.saturating_add(1);
        times.saved = (times.saved + self.share).min(SAVED_MAX);
    }
}

impl Log {
    /// Stores the batches of `parts` in one object, twice if the first upload is slow.
    pub(crate) async fn write_hedged(
        &self,
        hedging: &Hedging,
        parts: &[ShardPart],
    ) -> Result<Sealed, FlushError> {
        if !parts.iter().any(ShardPart::needs_object) {
            return Ok(self.seal_only(parts));
        }
        let first = ObjectId {
            incarnation: self.incarnation.0,
            seq: self.next_object_seq(),
            attempt: 0,
        };
        let second = ObjectId {
            attempt: 1,
            ..first
        };
        let begun = self.ambient.clock.monotonic();
        let mut upload = Box::pin(self.write_parts(first, parts));
        if let Some(slow) = hedging.slow_after() {
            let sleep = self.ambient.clock.sleep_until(begun + slow);
            match select(&mut upload, sleep).await {
                Either::Left((written, _)) => {
                    return self.one_upload(hedging, begun, first, written).await;
                }
                Either::Right(((), _)) if hedging.begin() => {}
                Either::Right(((), _)) => {
                    let written = upload.await;
                    return self.one_upload(hedging, begun, first, written).await;
                }
            }
            let again = Box::pin(self.write_parts(second, parts));
            return match select(upload, again).await {
                Either::Left((Ok(sealed), _)) => Ok(self.ahead_of(hedging, begun, sealed, second)),
                Either::Right((Ok(sealed), _)) => {
                    hedging.won();
                    Ok(self.ahead_of(hedging, begun, sealed, first))
                }
                Either::Left((Err(failed), again)) => {
                    self.give_up_failed(first, &failed).await;
                    self.one_upload(hedging, begun, second, again.await).await
                }
                Either::Right((Err(failed), upload)) => {
                    self.give_up_failed(second, &failed).await;
                    self.one_upload(hedging, begun, first, upload.await).await
                }
            };
        }
        let written = upload.await;
        self.one_upload(hedging, begun, first, written).await
    }

    async fn one_upload(
        &self,
        hedging: &Hedging,
        begun: Monotonic,
        id: ObjectId,
        written: Result<Sealed, WriteFailed>,
    ) -> Result<Sealed, FlushError> {
        match written {
            Ok(sealed) => {
                hedging.took(self.ambient.clock.monotonic() - begun);
                Ok(sealed)
            }
            Err(failed) => {
                self.give_up_failed(id, &failed).await;
                Err(failed.error)
            }
        }
    }

    /// An upload that was there before the other: that one may arrive yet, and is given up when this one is committed.
    fn ahead_of(
        &self,
        hedging: &Hedging,
        begun: Monotonic,
        mut sealed: Sealed,
        loser: ObjectId,
    ) -> Sealed {
        hedging.took(self.ambient.clock.monotonic() - begun);
        sealed.loser = Some(loser);
        sealed
    }
}

#[cfg(test)]
mod tests;
