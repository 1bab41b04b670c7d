//! Levels of loggers, and the filters that they become.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use super::*;

/// Loggers, and the filter that was applied last.
fn loggers(configured: &str) -> (Loggers, Arc<Mutex<String>>) {
    let applied = Arc::<Mutex<String>>::default();
    let seen = Arc::clone(&applied);
    let loggers = Loggers::new(configured, move |filter| {
        EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        filter.clone_into(&mut *seen.lock());
        Ok(())
    });
    (loggers, applied)
}

#[test]
fn a_logger_has_the_level_of_the_longest_name_it_begins_with() {
    let (loggers, applied) = loggers("warn,streamhouse_log=debug,hyper=error,[span]=trace");
    let level = |name: &str| loggers.level(name).unwrap().name();
    assert_eq!(level("streamhouse_log"), "DEBUG");
    assert_eq!(level("streamhouse_log::append"), "DEBUG");
    assert_eq!((level(ROOT), level("streamhouse_broker")), ("WARN", "WARN"));
    let changes = [
        ("streamhouse_log::append", Some("ERROR")),
        ("streamhouse_log", Some("TRACE")),
        (ROOT, Some("INFO")),
    ];
    loggers.change(&changes, false).unwrap();
    assert_eq!(level("streamhouse_log::append::validate"), "ERROR");
    assert_eq!(
        (level("streamhouse_log::read"), level(ROOT)),
        ("TRACE", "INFO")
    );
    assert_eq!(
        *applied.lock(),
        "hyper=error,[span]=trace,info,streamhouse_log=trace,streamhouse_log::append=error"
    );
    loggers.change(&[("streamhouse_log", None)], false).unwrap();
    assert_eq!(level("streamhouse_log"), "DEBUG", "what the settings say");
    assert!(applied.lock().contains("streamhouse_log=debug"));
}

#[test]
fn every_room_is_listed_and_what_was_named() {
    let (loggers, _) = loggers("info");
    loggers
        .change(&[("streamhouse_broker::network", Some("FATAL"))], false)
        .unwrap();
    let levels = loggers.levels();
    for name in ROOMS.iter().copied().chain([ROOT]) {
        assert_eq!(levels[name], Level::Info, "{name}");
    }
    assert_eq!(levels["streamhouse_broker::network"], Level::Fatal);
}

#[test]
fn refusals_are_kafkas_and_change_nothing() {
    let (loggers, applied) = loggers("info");
    for (name, level, text) in [
        ("nope", Some("DEBUG"), "Logger nope does not exist!"),
        (
            "streamhouse_log::",
            Some("DEBUG"),
            "Logger streamhouse_log:: does not exist!",
        ),
        (
            "streamhouse_log=x,",
            None,
            "Logger streamhouse_log=x, does not exist!",
        ),
        (
            ROOT,
            None,
            "Removing the log level of the root logger is not allowed",
        ),
        (
            "streamhouse_log",
            Some("debug"),
            "Cannot set the log level of streamhouse_log to debug as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
        ),
    ] {
        let good = ("streamhouse_log", Some("DEBUG"));
        let error = loggers.change(&[good, (name, level)], false).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    loggers
        .change(&[("streamhouse_log", Some("DEBUG"))], true)
        .unwrap();
    assert_eq!(loggers.level("streamhouse_log"), Ok(Level::Info));
    assert_eq!(*applied.lock(), "");
}

#[test]
fn the_number_of_changed_loggers_is_bounded() {
    let (loggers, _) = loggers("info");
    let names: Vec<String> = (0..=CHANGED_MAX)
        .map(|index| format!("streamhouse_log::m{index}"))
        .collect();
    let changes: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Some("DEBUG")))
        .collect();
    assert_eq!(loggers.change(&changes, false), Err(LoggerError::TooMany));
    assert_eq!(loggers.change(&changes[1..], false), Ok(()));
}
