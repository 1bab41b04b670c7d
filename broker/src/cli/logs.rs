//! Log lines of a broker: text on a terminal, JSON otherwise, always on standard error.

use std::io;

use streamhouse_config::telemetry::{LogFormat, TelemetrySettings};
use streamhouse_config::{Problem, Problems};
use tracing_subscriber::EnvFilter;

use super::output;

/// Sets up log lines for this process, as the settings say. Only the first call has an effect.
///
/// # Errors
/// The problem with `telemetry.log_level`, if it cannot be read.
pub(super) fn begin(settings: &TelemetrySettings) -> Result<(), Problems> {
    let filter = filter(settings)?;
    let is_text = match settings.log_format {
        LogFormat::Auto => output::error_is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A second subscriber is refused; the first one stays, which is what is wanted.
    let _ = if is_text {
        builder.with_ansi(output::error_is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    Ok(())
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
