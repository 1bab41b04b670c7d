//! The loggers of this broker and their levels, which `kafka-configs.sh --entity-type broker-loggers` changes while the
//! broker runs (KIP-412).
//!
//! A logger is a room of the broker, or a module of one, as log lines name it; `root` is what holds for all others. As
//! in Kafka, a level that was changed is forgotten when the broker restarts: `telemetry.log_level` is what lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;

/// The logger of everything that has none of its own.
pub const ROOT: &str = "root";

/// The rooms that write log lines.
const ROOMS: &[&str] = &[
    "streamhouse_broker",
    "streamhouse_coordinator",
    "streamhouse_log",
    "streamhouse_metadata",
    "streamhouse_runtime",
    "streamhouse_storage",
];

/// The most loggers whose level is changed at a time.
const CHANGED_MAX: usize = 1000;

/// From which severity on a logger writes, in Kafka's words (`LogLevelConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What may need somebody.
    Warn,
    /// What failed.
    Error,
    /// Nothing: no line here is more severe than an error.
    Fatal,
}

impl Level {
    const ALL: [Self; 6] = [
        Self::Debug,
        Self::Error,
        Self::Fatal,
        Self::Info,
        Self::Trace,
        Self::Warn,
    ];

    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// The level of this name, in capitals.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The word of a filter for it.
    const fn filter(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "off",
        }
    }

    fn of(filter: LevelFilter) -> Self {
        match filter {
            LevelFilter::TRACE => Self::Trace,
            LevelFilter::DEBUG => Self::Debug,
            LevelFilter::INFO => Self::Info,
            LevelFilter::WARN => Self::Warn,
            LevelFilter::ERROR => Self::Error,
            LevelFilter::OFF => Self::Fatal,
        }
    }
}

/// Why the level of a logger is not changed. The texts are Kafka's (`ConfigAdminManager`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggerError {
    /// Nothing writes log lines under that name.
    #[error("Logger {name} does not exist!")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Kafka has no such level.
    #[error(
        "Cannot set the log level of {name} to {level} as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    Level {
        /// The logger.
        name: String,
        /// What was asked for.
        level: String,
    },
    /// Everything else inherits from it.
    #[error("Removing the log level of the root logger is not allowed")]
    Root,
    /// Other loggers must get their levels back first.
    #[error("the levels of {CHANGED_MAX} loggers are changed already; remove some of them first")]
    TooMany,
    /// The log lines of this process are not this broker's to change.
    #[error("the log levels of this process cannot be changed: {reason}")]
    Unchangeable {
        /// What is in the way.
        reason: String,
    },
}

/// Takes a filter for log lines, as `telemetry.log_level` is written.
type Apply = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// The loggers of this broker. Clones share them.
#[derive(Clone)]
pub struct Loggers {
    /// What the settings say.
    configured: Arc<str>,
    /// Held while a change is applied, so that the filter is that of the last change.
    changed: Arc<Mutex<BTreeMap<String, Level>>>,
    apply: Arc<Apply>,
}

impl fmt::Debug for Loggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loggers")
            .field("configured", &self.configured)
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

impl Loggers {
    /// The loggers of a process whose `telemetry.log_level` is `configured`; `apply` makes a filter the one in force.
    #[must_use]
    pub fn new(
        configured: &str,
        apply: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            configured: configured.into(),
            changed: Arc::default(),
            apply: Arc::new(apply),
        }
    }

    /// Every logger that can be named without knowing the modules, with the level in force, by name.
    #[must_use]
    pub fn levels(&self) -> BTreeMap<String, Level> {
        let changed = self.changed.lock();
        let mut names: BTreeSet<&str> = ROOMS.iter().copied().collect();
        names.insert(ROOT);
        names.extend(changed.keys().map(String::as_str));
        let in_settings = self.configured_levels();
        names.extend(in_settings.keys().copied().filter(|name| exists(name)));
        let level = |name: &str| (name.to_owned(), level_of(name, &changed, &in_settings));
        names.into_iter().map(level).collect()
    }

    /// The level in force of one logger.
    ///
    /// # Errors
    /// [`LoggerError::Unknown`].
    pub fn level(&self, name: &str) -> Result<Level, LoggerError> {
        known(name)?;
        Ok(level_of(
            name,
            &self.changed.lock(),
            &self.configured_levels(),
        ))
    }

    /// Makes these changes, all or none: a level by its name, or none to inherit again. With `validate_only` says whether
    /// they can be made.
    ///
    /// # Errors
    /// The first [`LoggerError`].
    pub fn change(
        &self,
        changes: &[(&str, Option<&str>)],
        validate_only: bool,
    ) -> Result<(), LoggerError> {
        let mut changed = self.changed.lock();
        let mut after = changed.clone();
        for (name, level) in changes {
            known(name)?;
            match level {
                Some(level) => {
                    let level = Level::named(level).ok_or_else(|| LoggerError::Level {
                        name: (*name).to_owned(),
                        level: (*level).to_owned(),
                    })?;
                    after.insert((*name).to_owned(), level);
                }
                None if *name == ROOT => return Err(LoggerError::Root),
                None => {
                    after.remove(*name);
                }
            }
        }
        if after.len() > CHANGED_MAX {
            return Err(LoggerError::TooMany);
        }
        if validate_only {
            return Ok(());
        }
        (self.apply)(&self.filter(&after))
            .map_err(|reason| LoggerError::Unchangeable { reason })?;
        *changed = after;
        Ok(())
    }

    /// What the settings say, without what was changed, and what was changed.
    fn filter(&self, changed: &BTreeMap<String, Level>) -> String {
        let kept = self.configured.split(',').map(str::trim);
        let kept = kept.filter(|part| {
            let replaced = directive(part).is_some_and(|(name, _)| changed.contains_key(name));
            !part.is_empty() && !replaced
        });
        let mut parts: Vec<String> = kept.map(str::to_owned).collect();
        parts.extend(changed.iter().map(|(name, level)| match name.as_str() {
            ROOT => level.filter().to_owned(),
            name => format!("{name}={}", level.filter()),
        }));
        parts.join(",")
    }

    /// The plain directives of the settings.
    fn configured_levels(&self) -> BTreeMap<&str, Level> {
        self.configured.split(',').filter_map(directive).collect()
    }
}

/// A directive that names a level, or a target and its level; those of spans and fields are more than a logger.
fn directive(part: &str) -> Option<(&str, Level)> {
    let level = |text: &str| text.trim().parse().ok().map(Level::of);
    match part.split_once('=') {
        Some((target, _)) if target.contains('[') => None,
        Some((target, text)) => Some((target.trim(), level(text)?)),
        None => match level(part) {
            Some(level) => Some((ROOT, level)),
            None if exists(part.trim()) => Some((part.trim(), Level::Trace)),
            None => None,
        },
    }
}

/// The level of the longest name that `name` begins with. Without any only errors are written.
fn level_of(
    name: &str,
    changed: &BTreeMap<String, Level>,
    configured: &BTreeMap<&str, Level>,
) -> Level {
    let of = |name: &str| changed.get(name).or_else(|| configured.get(name)).copied();
    let longest = (1..=name.len())
        .rev()
        .find_map(|length| of(name.get(..length)?));
    longest.or_else(|| of(ROOT)).unwrap_or(Level::Error)
}

/// Whether something writes log lines under `name`, as far as a name tells.
fn exists(name: &str) -> bool {
    let mut parts = name.split("::");
    let room = parts.next().unwrap_or_default();
    let is_word = |part: &str| {
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !part.is_empty() && part.bytes().all(is_letter)
    };
    name == ROOT || (name.len() <= 200 && ROOMS.contains(&room) && parts.all(is_word))
}

fn known(name: &str) -> Result<(), LoggerError> {
    if exists(name) {
        return Ok(());
    }
    Err(LoggerError::Unknown {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
