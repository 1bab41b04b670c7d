//! Settings of what the broker tells about itself: metrics, health and logs.

use crate::endpoint::HostPort;
use crate::section::section;
use crate::value::Value;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

impl Value for LogFormat {
    const KIND: &'static str = "auto, text or json";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("use auto, text or json".into()),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
        .into()
    }
}

section! {
    /// What the broker tells about itself: metrics, health and logs.
    "telemetry" => TelemetrySettings {
        /// Where `/metrics`, `/livez` and `/readyz` are served over HTTP, as `host:port`; port 0 takes a free port,
        /// `none` serves them nowhere.
        metrics_address: Option<HostPort> = Some(HostPort::new("127.0.0.1", 9644)), since "0.1";

        /// How log lines are written: `auto` is text on a terminal and JSON otherwise.
        log_format: LogFormat = LogFormat::Auto, since "0.1";

        /// Which log lines are written: error, warn, info, debug or trace, or directives such as
        /// `info,streamhouse_log=debug`.
        log_level: String = "info".to_owned(), since "0.1";
    }
}
