//! How many connections there may be: in all, from one address, and in a second.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use streamhouse_runtime::{Clock, Monotonic};

use super::limits::Limits;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionRefusal {
    /// All places are taken.
    #[error("there are {max} connections already (max.connections)")]
    Total {
        /// How many there may be.
        max: usize,
    },
    /// The address has all of its places.
    #[error("the address has {max} connections already (max.connections.per.ip)")]
    PerIp {
        /// How many one address may have.
        max: usize,
    },
}

/// The places for connections of one broker, over all its listeners.
#[derive(Clone)]
pub struct ConnectionQuota {
    clock: Arc<dyn Clock>,
    per_second_max: u32,
    /// Held for a few instructions only, never across an await.
    state: Arc<Mutex<State>>,
}

struct State {
    /// How many there may be (`max.connections`).
    total_max: usize,
    /// How many of one address (`max.connections.per.ip`).
    per_ip_max: usize,
    total: usize,
    /// Only addresses that have a connection.
    per_ip: BTreeMap<IpAddr, usize>,
    /// When the next connection may be accepted if none had been saved up.
    next: Monotonic,
}

impl fmt::Debug for ConnectionQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionQuota")
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

impl ConnectionQuota {
    /// Places as `limits` has them.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let state = State {
            total_max: limits.connections_max,
            per_ip_max: limits.connections_per_ip_max,
            total: 0,
            per_ip: BTreeMap::new(),
            next: clock.monotonic(),
        };
        Self {
            clock,
            per_second_max: limits.connections_per_second_max.max(1),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Connections that hold a place.
    #[must_use]
    pub fn total(&self) -> usize {
        self.state.lock().total
    }

    /// Lets in so many connections in all, and of one address, from now on. Those that are there stay.
    pub fn limit(&self, total: u32, per_ip: u32) {
        let mut state = self.state.lock();
        state.total_max = usize::try_from(total).unwrap_or(usize::MAX);
        state.per_ip_max = usize::try_from(per_ip).unwrap_or(usize::MAX);
    }

    /// When the next connection may be accepted: at once while fewer than a second's worth came in the last second.
    #[must_use]
    pub fn next_accept(&self) -> Monotonic {
        let second = Duration::from_secs(1);
        let state = self.state.lock();
        // `next` runs ahead of the clock by what was accepted; up to one second of it is a burst.
        Monotonic(state.next.0.saturating_sub(second))
    }

    /// Takes a place for a connection from `host`.
    pub(super) fn take(&self, host: IpAddr) -> Result<ConnectionPlace, ConnectionRefusal> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        state.next = state.next.max(now) + Duration::from_secs(1) / self.per_second_max;
        let (total_max, per_ip_max) = (state.total_max, state.per_ip_max);
        if state.total >= total_max {
            return Err(ConnectionRefusal::Total { max: total_max });
        }
        let of_host = state.per_ip.entry(host).or_insert(0);
        if *of_host >= per_ip_max {
            let is_unused = *of_host == 0;
            if is_unused {
                state.per_ip.remove(&host);
            }
            return Err(ConnectionRefusal::PerIp { max: per_ip_max });
        }
        *of_host += 1;
        state.total += 1;
        Ok(ConnectionPlace {
            quota: self.clone(),
            host,
        })
    }
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    quota: ConnectionQuota,
    host: IpAddr,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut state = self.quota.state.lock();
        state.total -= 1;
        let left = state
            .per_ip
            .get(&self.host)
            .map_or(0, |of_host| of_host - 1);
        if left == 0 {
            state.per_ip.remove(&self.host);
        } else {
            state.per_ip.insert(self.host, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::time::Duration;

    use streamhouse_runtime::{Clock, ManualClock};

    use super::{ConnectionQuota, ConnectionRefusal, Limits};

    fn host(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn places_are_bounded_in_all_and_per_address_and_come_back() {
        let limits = Limits {
            connections_max: 3,
            connections_per_ip_max: 2,
            ..Limits::default()
        };
        let quota = ConnectionQuota::new(Arc::new(ManualClock::new(0)), limits);
        let first = quota.take(host(1)).unwrap();
        let _second = quota.take(host(1)).unwrap();
        assert_eq!(
            quota.take(host(1)).unwrap_err(),
            ConnectionRefusal::PerIp { max: 2 }
        );
        let _third = quota.take(host(2)).unwrap();
        assert_eq!(
            quota.take(host(3)).unwrap_err(),
            ConnectionRefusal::Total { max: 3 }
        );
        drop(first);
        let first = quota.take(host(1)).unwrap();
        quota.limit(9, 1);
        assert_eq!(
            quota.take(host(1)).unwrap_err(),
            ConnectionRefusal::PerIp { max: 1 },
            "the limit is a lower one now"
        );
        quota.limit(9, 3);
        assert!(quota.take(host(1)).is_ok());
        drop(first);
    }

    #[test]
    fn connections_beyond_a_burst_come_at_the_rate() {
        let clock = ManualClock::new(0);
        clock.advance(Duration::from_secs(5));
        let limits = Limits {
            connections_per_second_max: 10,
            ..Limits::default()
        };
        let quota = ConnectionQuota::new(Arc::new(clock.clone()), limits);
        for _ in 0..10 {
            assert!(quota.next_accept() <= clock.monotonic());
            quota.take(host(1)).unwrap();
        }
        quota.take(host(1)).unwrap();
        assert!(
            quota.next_accept() > clock.monotonic(),
            "the burst is used up"
        );
        clock.advance(Duration::from_millis(100));
        assert!(quota.next_accept() <= clock.monotonic());
    }
}
