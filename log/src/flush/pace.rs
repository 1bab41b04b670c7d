//! The pace of flushes with `shared` durability: pure, given what waits and the time.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::shared::SharedSettings;

/// How long nothing must have come before a flush begins early: requests of several connections come together.
const GATHER: Duration = Duration::from_millis(2);

/// One flush takes this many times the bytes that make one due, at most: what came while all uploads ran goes together.
const BYTES_PER_FLUSH: u64 = 2;

/// Entries that wait for a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// How many.
    pub(crate) entries: usize,
    /// Bytes of the batches among them.
    pub(crate) bytes: u64,
}

impl Backlog {
    pub(crate) fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }

    pub(crate) fn remove(&mut self, gone: Self) {
        self.entries = self.entries.saturating_sub(gone.entries);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin a flush.
    Flush,
    /// Nothing waits and nothing runs.
    Idle,
    /// Nothing can begin before a flush ends or something comes.
    Busy,
    /// Look again then.
    At(Monotonic),
}

/// What decides when a flush begins.
#[derive(Debug)]
pub(crate) struct Pace {
    settings: SharedSettings,
    flush_bytes: u64,
    interval: Duration,
    /// The sum of what every shard has queued (`Inner::queued`); both change under the shard's lock.
    waiting: Backlog,
    /// When the first of what waits was staged.
    since: Option<Monotonic>,
    last_staged: Monotonic,
    running: usize,
    /// Uploads that may begin early, as of `paid_at`.
    tokens: f64,
    paid_at: Monotonic,
    failures: u32,
    not_before: Monotonic,
    first_shard: usize,
}

impl Pace {
    pub(crate) fn new(settings: SharedSettings, flush_bytes: u64, interval: Duration) -> Self {
        Self {
            settings,
            flush_bytes: flush_bytes.max(1),
            interval,
            waiting: Backlog::default(),
            since: None,
            last_staged: Monotonic(Duration::ZERO),
            running: 0,
            tokens: settings.early_uploads_burst,
            paid_at: Monotonic(Duration::ZERO),
            failures: 0,
            not_before: Monotonic(Duration::ZERO),
            first_shard: 0,
        }
    }

    /// The shard with which the next flush begins.
    pub(crate) fn first_shard(&self) -> usize {
        self.first_shard
    }

    /// Bytes that one flush takes at most.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.flush_bytes.saturating_mul(BYTES_PER_FLUSH)
    }

    /// More waits. True says that this may change what is to be done next, whoever else is about to come.
    pub(crate) fn staged(&mut self, more: Backlog, now: Monotonic) -> bool {
        let was_due = self.waiting.bytes >= self.flush_bytes;
        self.queue(more);
        self.last_staged = now;
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        is_first || (!was_due && self.waiting.bytes >= self.flush_bytes)
    }

    /// What a shard had queued waits no more: a flush takes it, or nobody ever will.
    pub(crate) fn unqueued(&mut self, gone: Backlog) {
        self.waiting.remove(gone);
        if self.waiting.entries == 0 {
            self.since = None;
        }
    }

    /// What to do at `now`; `more_comes` says that somebody is about to stage something.
    pub(crate) fn next(&mut self, now: Monotonic, more_comes: bool) -> Step {
        let Some(since) = self.since.filter(|_| self.waiting.entries > 0) else {
            return if self.running == 0 {
                Step::Idle
            } else {
                Step::Busy
            };
        };
        if self.running >= self.settings.uploads.max(1) {
            return Step::Busy;
        }
        if now < self.not_before {
            return Step::At(self.not_before);
        }
        let due = since + self.interval;
        if self.waiting.bytes >= self.flush_bytes || now >= due {
            return Step::Flush;
        }
        self.refill(now);
        if more_comes || self.tokens < 1.0 {
            return Step::At(due);
        }
        let gathered = self.last_staged + GATHER;
        if now >= gathered {
            Step::Flush
        } else {
            Step::At(gathered.min(due))
        }
    }

    /// A flush begins with what it took.
    pub(crate) fn begun(&mut self, first_shard: usize, now: Monotonic) {
        self.first_shard = first_shard;
        self.refill(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.running += 1;
        if self.since.is_some() {
            self.since = Some(now);
        }
    }

    /// Nothing was there to be taken: look again a little later, and not all the time.
    pub(crate) fn found_nothing(&mut self, now: Monotonic) {
        self.pause(now + GATHER);
    }

    /// A flush succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A flush failed; says how many did in a row.
    pub(crate) fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Nothing begins before `at`.
    pub(crate) fn pause(&mut self, at: Monotonic) {
        self.not_before = self.not_before.max(at);
    }

    /// A flush ended, and its shards have left it.
    pub(crate) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A flush that began at `begun` failed for a shard, and `waiting` waits again.
    pub(crate) fn left(&mut self, waiting: Backlog, begun: Monotonic) {
        if waiting.entries > 0 {
            self.queue(waiting);
            self.since = Some(self.since.map_or(begun, |since| since.min(begun)));
        }
    }

    fn queue(&mut self, more: Backlog) {
        self.waiting.add(more);
        let flushes = more.bytes as f64 / self.settings.early_upload_bytes.max(1) as f64;
        self.earn(flushes);
    }

    fn refill(&mut self, now: Monotonic) {
        self.earn((now - self.paid_at).as_secs_f64() * self.settings.early_uploads_per_second);
        self.paid_at = now;
    }

    fn earn(&mut self, flushes: f64) {
        self.tokens = (self.tokens + flushes).min(self.settings.early_uploads_burst);
    }
}

#[cfg(test)]
mod tests;
