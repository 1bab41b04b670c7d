//! A listener: binds a port, accepts connections within their limits, and stops accepting at shutdown.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::api::Peer;
use crate::security::Principal;

use super::closing::CloseLog;
use super::connection::Connections;
use super::quota::{ConnectionPlace, ConnectionQuota};

/// Connections that the kernel keeps for us while we do not accept.
const BACKLOG: i32 = 1024;

/// After this long without a byte the kernel asks whether the peer is still there, and again at this interval: a peer
/// that lost its power is noticed although it sent nothing.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The number of the next connection.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Why a listener cannot be opened. Nothing was bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("port {} of {} is taken by another process; stop it or choose another with --port (serve: listener.listeners)", address.port(), address.ip())]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// The system refused.
    #[error(
        "cannot listen on {address}: {source}; choose an address of this machine, and a port that this user may open"
    )]
    System {
        /// Where.
        address: SocketAddr,
        /// What it said.
        source: io::Error,
    },
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    name: Arc<str>,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 picks a free one. `name` is the listener's name as in `listeners`.
    pub fn bind(name: &str, address: SocketAddr) -> Result<Self, ListenError> {
        let bound = bind(address).and_then(|socket| {
            let address = socket.local_addr()?;
            Ok(Self {
                name: name.into(),
                socket,
                address,
            })
        });
        bound.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ListenError::Taken { address }
            } else {
                ListenError::System { address, source }
            }
        })
    }

    /// Its name as in `listeners`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until shutdown is asked for. Each is a task of its own; they end by themselves.
    pub async fn run(self, connections: Connections, quota: ConnectionQuota) {
        let clock = Arc::clone(&connections.ambient.clock);
        let tasks = connections.ambient.tasks.clone();
        let log = CloseLog::new(Arc::clone(&clock));
        loop {
            let accepted = tokio::select! {
                // Both arms are cancel-safe: a connection that is not accepted stays in the backlog.
                biased;
                () = tasks.shutdown_requested() => return,
                accepted = async {
                    clock.sleep_until(quota.next_accept()).await;
                    self.socket.accept().await
                } => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match quota.take(peer.ip().to_canonical()) {
                    Ok(place) => self.start(&connections, &log, stream, peer, place),
                    Err(refusal) => info!(client = %peer.ip(), %refusal, "connection refused"),
                },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections; raise the limit of open files");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn start(
        &self,
        connections: &Connections,
        log: &CloseLog,
        stream: TcpStream,
        peer: SocketAddr,
        place: ConnectionPlace,
    ) {
        if configure(&stream).is_err() {
            // The peer is gone already.
            return;
        }
        let peer = Arc::new(self.peer(peer.ip().to_canonical()));
        let (connections, log) = (connections.clone(), log.clone());
        metrics::gauge!("streamhouse_broker_connections").increment(1);
        connections
            .ambient
            .tasks
            .clone()
            .spawn("connection", async move {
                let reason = connections.serve(stream, Arc::clone(&peer)).await;
                metrics::gauge!("streamhouse_broker_connections").decrement(1);
                log.closed(&peer, &reason);
                drop(place);
            });
    }

    fn peer(&self, host: IpAddr) -> Peer {
        Peer {
            connection: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed),
            host,
            listener: Arc::clone(&self.name),
            principal: Principal::anonymous(),
            fetch_reader: Arc::default(),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart is not kept waiting by connections of the previous process that linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // :: takes IPv4 clients too, as it does in Kafka.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Whether an accept error is about a connection that is gone and not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
