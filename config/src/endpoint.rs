//! Addresses as Kafka writes them: `NAME://host:port`, several separated by commas.

use std::fmt;
use std::net::IpAddr;

use crate::value::Value;

/// A host and a port. An IPv6 host is written in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name or an address without brackets; empty means all interfaces.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl HostPort {
    /// That host and port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    /// Whether only this machine can reach the address: `localhost` or a loopback address. Other names are not
    /// looked up and count as reachable.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_localhost(&self.host) || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The hosts to bind, in order, and whether the broker may go on without one that the machine does not have.
    /// `localhost` is both loopback addresses, of which ::1 may be missing; an empty host is all interfaces.
    #[must_use]
    pub fn bind_hosts(&self) -> Vec<BindHost> {
        let required = |host: &str| BindHost {
            host: host.to_owned(),
            is_optional: false,
        };
        if is_localhost(&self.host) {
            return vec![
                required("127.0.0.1"),
                BindHost {
                    host: "::1".to_owned(),
                    is_optional: true,
                },
            ];
        }
        vec![required(if self.host.is_empty() {
            "0.0.0.0"
        } else {
            &self.host
        })]
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port
            .parse()
            .map_err(|_| format!("{text:?} needs a port from 0 to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inside)) if !inside.contains(['[', ']']) => inside,
            None if !host.contains([':', ']']) => host,
            Some(Some(_) | None) | None => {
                return Err(format!("{text:?} needs brackets around an IPv6 address"));
            }
        };
        if host.contains(['/', ' ', ',', '[']) {
            return Err(expected());
        }
        Ok(Self::new(host, port))
    }
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Absent is written as `none`.
impl Value for Option<HostPort> {
    const KIND: &'static str = "host:port or none";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            Ok(None)
        } else {
            HostPort::parse(text).map(Some)
        }
    }

    fn write(&self) -> String {
        self.as_ref()
            .map_or_else(|| "none".to_owned(), HostPort::to_string)
    }
}

/// One address to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindHost {
    /// A name or an address without brackets.
    pub host: String,
    /// Whether the broker starts without it when the machine does not have the address.
    pub is_optional: bool,
}

/// A named listener, or the address that clients of that listener are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// The name of the listener, in upper case.
    pub name: String,
    /// Where it is.
    pub address: HostPort,
}

impl Listener {
    /// The listener named PLAINTEXT.
    #[must_use]
    pub fn plaintext(host: &str, port: u16) -> Self {
        Self {
            name: "PLAINTEXT".to_owned(),
            address: HostPort::new(host, port),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Some((name, address)) = text.split_once("://") else {
            return Err(format!("{text:?} is not NAME://host:port"));
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        {
            return Err(format!("{text:?} has no usable listener name before ://"));
        }
        Ok(Self {
            name: name.to_ascii_uppercase(),
            address: HostPort::parse(address)?,
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

/// Those of `listeners` whose name is in `names`, as text.
pub(crate) fn names_in(listeners: &[Listener], names: &[String]) -> String {
    let found: Vec<Listener> = listeners
        .iter()
        .filter(|listener| names.contains(&listener.name))
        .cloned()
        .collect();
    write_list(&found)
}

/// The security protocol of a listener name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerProtocol {
    /// The name of the listener, in upper case.
    pub listener: String,
    /// Kafka's name of the protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    pub protocol: String,
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

impl ListenerProtocol {
    /// Kafka's default: each protocol is also the name of a listener that speaks it.
    #[must_use]
    pub fn standard() -> Vec<Self> {
        ["SASL_SSL", "PLAINTEXT", "SSL", "SASL_PLAINTEXT"]
            .into_iter()
            .map(|name| Self {
                listener: name.to_owned(),
                protocol: name.to_owned(),
            })
            .collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Some((listener, protocol)) = text.split_once(':') else {
            return Err(format!("{text:?} is not NAME:PROTOCOL"));
        };
        let protocol = protocol.trim().to_ascii_uppercase();
        if !PROTOCOLS.contains(&protocol.as_str()) {
            return Err(format!("{text:?} names none of {}", PROTOCOLS.join(", ")));
        }
        Ok(Self {
            listener: listener.trim().to_ascii_uppercase(),
            protocol,
        })
    }
}

impl fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.listener, self.protocol)
    }
}

fn read_list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse)
        .collect()
}

fn write_list<T: fmt::Display>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

impl Value for Vec<Listener> {
    const KIND: &'static str = "list of NAME://host:port";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        read_list(text, Listener::parse)
    }

    fn write(&self) -> String {
        write_list(self)
    }
}

impl Value for Vec<ListenerProtocol> {
    const KIND: &'static str = "list of NAME:PROTOCOL";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        read_list(text, ListenerProtocol::parse)
    }

    fn write(&self) -> String {
        write_list(self)
    }
}

#[cfg(test)]
mod tests;
