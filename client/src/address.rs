//! Where brokers are reached: `host:port`, and lists of it as `bootstrap.servers` has them.

use std::fmt;
use std::str::FromStr;

/// The port that is meant when none is given: Kafka's.
pub const DEFAULT_PORT: u16 = 9092;

/// The most brokers that a bootstrap list may name.
pub const BOOTSTRAP_MAX: usize = 1000;

/// The address of a broker. An IPv6 host is written in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// A name or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not the address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no broker address: {reason}; write host:port, several separated by commas")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl BrokerAddress {
    /// The broker at `host` and `port`.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = |reason| AddressError {
            text: text.chars().take(300).collect(),
            reason,
        };
        let (host, rest) = match text.strip_prefix('[') {
            Some(inside) => {
                let (host, rest) = inside
                    .split_once(']')
                    .ok_or_else(|| refused("the bracket is not closed"))?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if rest.is_empty() => None,
                    None => return Err(refused("something follows the bracket")),
                };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(refused("an IPv6 address needs brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_host = |c: char| !c.is_whitespace() && !matches!(c, '/' | ',' | '@' | '[' | ']');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(refused("it has no host"));
        }
        let port = match rest {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| refused("the port is not a number from 1 to 65535"))?,
        };
        Ok(Self::new(host, port))
    }
}

/// Reads a bootstrap list: addresses separated by commas, at least one.
///
/// # Errors
/// [`AddressError`] for the first one that is none.
pub fn parse_bootstrap(text: &str) -> Result<Vec<BrokerAddress>, AddressError> {
    let addresses: Vec<BrokerAddress> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .take(BOOTSTRAP_MAX)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        return Err(AddressError {
            text: text.chars().take(300).collect(),
            reason: "it names no broker",
        });
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
