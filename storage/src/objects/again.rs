//! The second look: an object that seems to be gone or damaged is asked for once more, and only then declared so.
//!
//! Between the disk of a store and the broker lie caches, proxies and memory; each can spoil an answer once. What reads
//! bytes of objects and judges them (checkpoints, footers, blocks) goes through [`Objects::read_twice`], or says with the
//! two functions below it what it does block by block. The second read is a request of its own, past every cache of the
//! broker, and is judged as strictly as the first. There is no third: what is wrong twice is wrong in the store.
//!
//! A store that is out of reach is another matter: those requests are repeated by the guard, and prove nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::Monotonic;

use super::{GetError, ObjectClass, ObjectKey, Objects};

/// An object that stays wrong is named in the log again after that long; its readers come back much more often.
const NAMED_AGAIN: Duration = Duration::from_secs(60);
/// How many such objects are remembered.
const NAMED_MAX: usize = 1000;

/// When objects that were wrong twice were last named in the log.
#[derive(Debug, Default)]
pub(super) struct Condemned {
    named: Mutex<BTreeMap<ObjectKey, Monotonic>>,
}

impl Condemned {
    fn was_named(&self, key: &ObjectKey, now: Monotonic) -> bool {
        let named = self.named.lock();
        named.get(key).is_some_and(|at| now - *at < NAMED_AGAIN)
    }

    fn note(&self, key: &ObjectKey, now: Monotonic) {
        let mut named = self.named.lock();
        if named.len() >= NAMED_MAX {
            named.clear();
        }
        named.insert(*key, now);
    }
}

/// A failure to read an object that knows whom to blame.
pub trait BlamesObject: fmt::Display {
    /// Whether it says that the object is gone, too short or damaged; not that the store is out of reach.
    fn blames_object(&self) -> bool;
}

impl BlamesObject for GetError {
    fn blames_object(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Short { .. } => true,
            Self::Unavailable { .. } => false,
        }
    }
}

impl Objects {
    /// Reads and judges; once more if the first answer blames the object.
    ///
    /// # Errors
    /// Those of `read`: of the second one, if there was one.
    pub async fn read_twice<T, E, F>(
        &self,
        key: &ObjectKey,
        class: ObjectClass,
        read: impl Fn() -> F,
    ) -> Result<T, E>
    where
        E: BlamesObject,
        F: Future<Output = Result<T, E>>,
    {
        match read().await {
            Err(first) if first.blames_object() => {
                self.doubts(key, class, &first);
                let second = read().await;
                if let Err(error) = &second
                    && error.blames_object()
                {
                    self.condemns(key, class, error);
                }
                second
            }
            first => first,
        }
    }

    /// Says that an answer blames the object and that it is asked for once more.
    pub(crate) fn doubts(&self, key: &ObjectKey, class: ObjectClass, why: &dyn fmt::Display) {
        self.inner.guard.doubted(class);
        let now = self.inner.guard.ambient().clock.monotonic();
        if !self.inner.condemned.was_named(key, now) {
            tracing::warn!(%key, class = class.label(), error = %why, "an object seems to be gone or damaged; it is read once more");
        }
    }

    /// Says that the second answer blames the object, too.
    pub(crate) fn condemns(&self, key: &ObjectKey, class: ObjectClass, why: &dyn fmt::Display) {
        self.inner.guard.condemned(class);
        let now = self.inner.guard.ambient().clock.monotonic();
        if !self.inner.condemned.was_named(key, now) {
            self.inner.condemned.note(key, now);
            tracing::error!(%key, class = class.label(), error = %why, "an object is gone or damaged, twice in a row; bring it back: what it holds cannot be read");
        }
    }
}

#[cfg(test)]
mod tests;
