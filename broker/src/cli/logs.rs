//! Log lines of a broker: text on a terminal, JSON otherwise, always on standard error.

use std::io;

use streamhouse_config::telemetry::{LogFormat, TelemetrySettings};
use streamhouse_config::{Problem, Problems};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use super::output;
use crate::loggers::Loggers;

/// Sets up log lines for this process, as the settings say. Only the first call has an effect. The loggers change the
/// levels while the process runs.
///
/// # Errors
/// The problem with `telemetry.log_level`, if it cannot be read.
pub(super) fn begin(settings: &TelemetrySettings) -> Result<Loggers, Problems> {
    let is_text = match settings.log_format {
        LogFormat::Auto => output::error_is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings)?)
        .with_writer(io::stderr);
    // A second subscriber is refused; the first one stays, which is what is wanted.
    Ok(if is_text {
        let builder = builder
            .with_ansi(output::error_is_terminal())
            .with_filter_reloading();
        let loggers = loggers(settings, builder.reload_handle());
        let _ = builder.try_init();
        loggers
    } else {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let loggers = loggers(settings, builder.reload_handle());
        let _ = builder.try_init();
        loggers
    })
}

fn loggers<S: 'static>(settings: &TelemetrySettings, handle: Handle<EnvFilter, S>) -> Loggers {
    Loggers::new(&settings.log_level, move |text| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

/// Which lines are written.
///
/// # Errors
/// The problem with `telemetry.log_level`, if it cannot be read.
pub(super) fn filter(settings: &TelemetrySettings) -> Result<EnvFilter, Problems> {
    let level = &settings.log_level;
    EnvFilter::try_new(level).map_err(|error| {
        Problems(vec![Problem {
            key: "telemetry.log_level".to_owned(),
            text: format!(
                "{level:?} is not allowed: {error}; use error, warn, info, debug or trace"
            ),
        }])
    })
}
