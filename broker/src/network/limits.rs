//! What one connection, and all connections together, may take.

use std::time::Duration;

use streamhouse_config::ByteSize;
use streamhouse_config::listener::ListenerSettings;

/// The bounds of a listener's connections. Every queue, wait and buffer of the network has its bound here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame in bytes (`socket.request.max.bytes`); a longer one closes the connection unread.
    pub frame_bytes_max: usize,
    /// Requests of one connection that are read and not yet answered.
    pub requests_in_flight_max: usize,
    /// Bytes of requests of one connection that are held; one frame is always admitted.
    pub request_bytes_in_flight_max: usize,
    /// Bytes of finished answers that wait for a slow reader before the connection starts no further request.
    pub answer_bytes_waiting_max: usize,
    /// Requests of one connection that may be parked (a long-polling Fetch) at a time.
    pub parked_max: usize,
    /// How long a connection without unanswered requests may be silent (`connections.max.idle.ms`).
    pub idle: Duration,
    /// How long a frame, once its first byte has come, may fall behind the minimum rate.
    pub frame_grace: Duration,
    /// The same when other frames wait for the memory that this one holds: the longest time without any byte. Also how
    /// often a reader is looked at whose answers hold memory that other fetches wait for: it must have taken something.
    pub frame_stall_contended: Duration,
    /// How long a reader whose answers nobody waits for may fall behind the minimum rate.
    pub write_grace: Duration,
    /// The least rate, in bytes a second, of frames and of answers.
    pub bytes_per_second_min: u64,
    /// How long a connection that reads no further request (the peer closed, the broker shuts down) may take to answer
    /// what it accepted.
    pub drain: Duration,
    /// Connections of all listeners together (`max.connections`).
    pub connections_max: usize,
    /// Connections of one address (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// New connections a second (`max.connection.creation.rate`); more wait in the backlog. A fleet of 10,000 clients
    /// that comes back at once is let in within 5 s.
    pub connections_per_second_max: u32,
}

impl Limits {
    /// The limits that `settings` ask for; `drain` is how long a stopping broker goes on answering.
    #[must_use]
    pub fn new(settings: &ListenerSettings, drain: Duration) -> Self {
        Self {
            frame_bytes_max: bytes(settings.socket_request_max_bytes),
            requests_in_flight_max: count(settings.requests_in_flight_max),
            idle: settings.connections_max_idle,
            frame_grace: settings.request_arrival_grace,
            bytes_per_second_min: settings.request_arrival_rate_min.bytes(),
            drain,
            connections_max: count(settings.max_connections),
            connections_per_ip_max: count(settings.max_connections_per_ip),
            ..Self::default()
        }
    }
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

fn count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl Default for Limits {
    /// Kafka's defaults where Kafka has a bound, a finite one where it has none.
    fn default() -> Self {
        Self {
            frame_bytes_max: 32 * 1024 * 1024,
            requests_in_flight_max: 64,
            request_bytes_in_flight_max: 16 * 1024 * 1024,
            answer_bytes_waiting_max: 4 * 1024 * 1024,
            parked_max: 1,
            idle: Duration::from_secs(600),
            frame_grace: Duration::from_secs(10),
            frame_stall_contended: Duration::from_secs(2),
            write_grace: Duration::from_secs(30),
            bytes_per_second_min: 16 * 1024,
            drain: Duration::from_secs(10),
            connections_max: 20_000,
            connections_per_ip_max: 1_000,
            connections_per_second_max: 2_000,
        }
    }
}
