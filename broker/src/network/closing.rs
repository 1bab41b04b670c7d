//! Why connections close: the reason, its metric label, and one bounded log line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_protocol::frame::{FrameError, HeaderError};
use streamhouse_protocol::request::{DecodeError, EncodeError};
use streamhouse_runtime::{Clock, Monotonic};
use tracing::{debug, error, info};

use crate::api::Peer;

/// Why the broker ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    PeerClosed,
    /// The socket failed.
    Socket(std::io::ErrorKind),
    /// Nothing was sent for too long.
    Idle,
    /// The declared length of a frame is refused.
    FrameLength(FrameError),
    /// An announced frame did not arrive at the minimum rate.
    SlowSender,
    /// Answers were not read at the minimum rate.
    SlowReader,
    /// A request whose API or version is not served.
    Unsupported {
        /// The API key.
        key: i16,
        /// The version.
        version: i16,
    },
    /// A request whose header cannot be read.
    Header(HeaderError),
    /// A request that does not decode.
    Malformed(DecodeError),
    /// A request that asked for no answer failed; closing is the only way to tell (acks=0).
    Unanswerable(&'static str),
    /// An answer could not be encoded: a bug of ours.
    Unencodable(EncodeError),
    /// An answer was ready, and by then the lease was over: another broker may have made it untrue.
    LeaseOver,
    /// The broker shuts down.
    ShuttingDown,
}

impl CloseReason {
    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Socket(_) => "socket",
            Self::Idle => "idle",
            Self::FrameLength(_) => "frame_length",
            Self::SlowSender => "slow_sender",
            Self::SlowReader => "slow_reader",
            Self::Unsupported { .. } => "unsupported",
            Self::Header(_) | Self::Malformed(_) => "malformed",
            Self::Unanswerable(_) => "unanswerable",
            Self::Unencodable(_) => "unencodable",
            Self::LeaseOver => "lease_over",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Whether an operator should be able to see it without asking for debug lines.
    const fn is_notable(&self) -> bool {
        match self {
            Self::PeerClosed | Self::Socket(_) | Self::Idle | Self::ShuttingDown => false,
            Self::FrameLength(_)
            | Self::SlowSender
            | Self::SlowReader
            | Self::Unsupported { .. }
            | Self::Header(_)
            | Self::Malformed(_)
            | Self::Unanswerable(_)
            | Self::LeaseOver
            | Self::Unencodable(_) => true,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::Socket(kind) => write!(f, "the socket failed: {kind}"),
            Self::Idle => f.write_str("nothing was sent for connections.max.idle.ms"),
            Self::FrameLength(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
            Self::Unencodable(error) => error.fmt(f),
            Self::SlowSender => f.write_str("an announced frame arrived too slowly"),
            Self::SlowReader => f.write_str("answers were read too slowly"),
            Self::Unsupported { key, version } => {
                write!(f, "version {version} of api {key} is not served")
            }
            Self::Unanswerable(reason) => {
                write!(f, "a request that asks for no answer failed: {reason}")
            }
            Self::LeaseOver => f.write_str(
                "the lease of this broker is over, so that an answer could not be confirmed",
            ),
            Self::ShuttingDown => f.write_str("the broker shuts down"),
        }
    }
}

/// Lines a second about closed connections; the rest is counted and told with the next line.
const LINES_PER_SECOND: u32 = 10;

/// Writes about closed connections, at a bounded rate: a peer that reconnects in a loop does not fill the disk.
#[derive(Clone, Debug)]
pub struct CloseLog {
    clock: Arc<dyn Clock>,
    window: Arc<Mutex<Window>>,
}

#[derive(Debug)]
struct Window {
    start: Monotonic,
    lines: u32,
    suppressed: u64,
}

impl CloseLog {
    /// A log whose rate is measured by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let window = Window {
            start: clock.monotonic(),
            lines: 0,
            suppressed: 0,
        };
        Self {
            clock,
            window: Arc::new(Mutex::new(window)),
        }
    }

    /// Counts a closed connection and, if the rate allows, writes a line about it.
    pub fn closed(&self, peer: &Peer, reason: &CloseReason) {
        metrics::counter!("streamhouse_broker_connections_closed_total", "reason" => reason.label())
            .increment(1);
        let Some(suppressed) = self.admit() else {
            return;
        };
        let (connection, client, listener) = (peer.connection, peer.host, &peer.listener);
        if let CloseReason::Unencodable(_) = reason {
            error!(connection, %client, %listener, %reason, "connection closed by a bug");
        } else if reason.is_notable() {
            info!(connection, %client, %listener, %reason, suppressed, "connection closed");
        } else {
            debug!(connection, %client, %listener, %reason, "connection closed");
        }
    }

    /// Whether a line may be written, and how many were not before it.
    fn admit(&self) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut window = self.window.lock();
        if now - window.start >= Duration::from_secs(1) {
            window.start = now;
            window.lines = 0;
        }
        if window.lines >= LINES_PER_SECOND {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use streamhouse_runtime::ManualClock;

    use super::{CloseLog, LINES_PER_SECOND};

    #[test]
    fn lines_are_bounded_and_the_next_one_tells_how_many_are_missing() {
        let clock = ManualClock::new(0);
        let log = CloseLog::new(Arc::new(clock.clone()));
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(log.admit(), Some(0));
        }
        for _ in 0..25 {
            assert_eq!(log.admit(), None);
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(log.admit(), Some(25));
        assert_eq!(log.admit(), Some(0));
    }
}
