//! Binding ports, and what clients are told about them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use streamhouse_config::Settings;
use tokio::net::TcpListener;

use super::{Mode, StartError};
use crate::network::{ListenError, Listener};
use crate::ops;
use crate::reach::Endpoint;

pub(super) fn bind_listeners(settings: &Settings) -> Result<Vec<Listener>, StartError> {
    let mut bound = Vec::new();
    for listener in &settings.listener.listeners {
        let mut port = listener.address.port;
        for host in listener.address.bind_hosts() {
            let opened = resolve(&host.host, port)
                .and_then(|address| Ok(Listener::bind(&listener.name, address)?));
            match opened {
                Ok(opened) => {
                    // A port that was picked for the first address serves the second one too.
                    port = opened.address().port();
                    bound.push(opened);
                }
                Err(StartError::Listen(ListenError::System { .. })) if host.is_optional => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bound)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Address {
        address: format!("{host}:{port}"),
        source,
    };
    let mut found = (host, port).to_socket_addrs().map_err(failed)?;
    found
        .next()
        .ok_or_else(|| failed(std::io::Error::other("the name has no address")))
}

pub(super) async fn bind_ops(
    settings: &Settings,
    mode: Mode,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = &settings.telemetry.metrics_address else {
        return Ok(None);
    };
    let shown = address.to_string();
    match (ops::bind(&shown).await, mode) {
        (Ok(bound), _) => Ok(Some(bound)),
        // A second broker on a laptop must not fail for the sake of its metrics.
        (Err(error), Mode::Dev) if error.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::info!(
                address = shown,
                "the port for metrics is taken: not served by this process"
            );
            Ok(None)
        }
        (Err(source), _) => Err(StartError::MetricsAddress {
            address: shown,
            source,
        }),
    }
}

/// Where clients are told to connect to, by listener name.
pub(super) fn advertised(
    settings: &Settings,
    listeners: &[Listener],
) -> BTreeMap<Arc<str>, Endpoint> {
    let mut told = BTreeMap::new();
    for (configured, bound) in settings.listener.listeners.iter().filter_map(|configured| {
        Some((
            configured,
            listeners
                .iter()
                .find(|bound| bound.name() == configured.name)?,
        ))
    }) {
        let explicit = settings
            .listener
            .advertised
            .iter()
            .find(|listener| listener.name == configured.name);
        let port = bound.address().port();
        let endpoint = match explicit {
            Some(explicit) => Endpoint {
                host: explicit.address.host.clone(),
                port: if explicit.address.port == 0 {
                    port
                } else {
                    explicit.address.port
                },
            },
            None => Endpoint {
                host: shown_host(&configured.address.host),
                port,
            },
        };
        told.insert(Arc::from(configured.name.as_str()), endpoint);
    }
    told
}

/// A host that clients can use: all interfaces are told as the machine's name.
fn shown_host(host: &str) -> String {
    let is_every_interface = host.is_empty() || host == "0.0.0.0" || host == "::";
    if !is_every_interface {
        return host.to_owned();
    }
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}
