//! The networks of the compose file on one machine: each port of a service becomes a free port of this machine, wherever the
//! file names it. A name that a service cannot reach, because they share no network or because there is no such service,
//! stays as it is, and leads nowhere.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Socket, Type};

use crate::compose::Compose;

/// The ports of the services on this machine.
#[derive(Debug, Default)]
pub(crate) struct Network {
    doors: BTreeMap<(String, u16), Door>,
}

#[derive(Debug)]
struct Door {
    port: u16,
    /// Keeps others from taking the port until the service does.
    _kept: Option<Socket>,
}

impl Network {
    /// The port of this machine that stands for a port of a service.
    pub(crate) fn port(&mut self, service: &str, port: u16) -> u16 {
        let key = (service.to_owned(), port);
        self.doors.entry(key).or_insert_with(kept).port
    }

    /// A port of a service is this one.
    pub(crate) fn is_at(&mut self, service: &str, port: u16, here: u16) {
        let door = Door {
            port: here,
            _kept: None,
        };
        self.doors.insert((service.to_owned(), port), door);
    }

    /// From now on the service may bind its ports.
    pub(crate) fn give(&mut self, service: &str) {
        for ((name, _), door) in &mut self.doors {
            if name == service {
                door._kept = None;
            }
        }
    }

    /// A text of the file as a service sees it, with the addresses of this machine: `HOST:PORT`, or `HOST/PORT` as bash
    /// writes it.
    pub(crate) fn seen_by(&mut self, compose: &Compose, service: &str, text: &str) -> String {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
        let mut whole = String::new();
        let mut rest = text;
        while let Some(at) = rest.find([':', '/']) {
            let (before, separator_and_after) = rest.split_at(at);
            let (separator, after) = separator_and_after.split_at(1);
            let begin = before.rfind(|letter| !is_of_name(letter));
            let (skipped, host) = before.split_at(begin.map_or(0, |begin| begin + 1));
            let end = after.find(|letter| !is_of_name(letter));
            let (number, behind) = after.split_at(end.unwrap_or(after.len()));
            let address = number
                .parse()
                .ok()
                .and_then(|port| self.address(compose, service, (host, port)));
            whole.push_str(skipped);
            match address {
                Some((host, port)) => {
                    whole.push_str(&format!("{host}{separator}{port}"));
                    rest = behind;
                }
                None => {
                    whole.push_str(host);
                    whole.push_str(separator);
                    rest = after;
                }
            }
        }
        whole + rest
    }

    /// The address on this machine. `localhost` is the machine that the ports are published to.
    fn address<'a>(
        &mut self,
        compose: &Compose,
        service: &str,
        (host, port): (&'a str, u16),
    ) -> Option<(&'a str, u16)> {
        match host {
            "0.0.0.0" | "127.0.0.1" => Some((host, self.port(service, port))),
            "localhost" => {
                let (name, inside) = published(compose, port)?;
                Some((host, self.port(&name, inside)))
            }
            name if compose.reaches(service, name) => Some(("127.0.0.1", self.port(name, port))),
            _ => None,
        }
    }
}

/// The service behind a port of the host, and its port.
fn published(compose: &Compose, port: u16) -> Option<(String, u16)> {
    let mut all = compose.services.iter().flat_map(|(name, service)| {
        let ports = service.published();
        ports.map(move |(outside, inside)| (outside, name.clone(), inside))
    });
    let (_, name, inside) = all.find(|(outside, ..)| *outside == port)?;
    Some((name, inside))
}

/// A free port, which is bound and not listened on: who connects to it is refused.
fn kept() -> Door {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    socket.bind(&any.into()).unwrap();
    let bound = socket.local_addr().unwrap().as_socket().unwrap();
    Door {
        port: bound.port(),
        _kept: Some(socket),
    }
}
