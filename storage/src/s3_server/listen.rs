//! The server on a TCP port, for brokers in processes of their own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use bytes::Bytes;
use futures::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::request::Asked;
use super::{Reply, S3Server, front};

/// No request of ours is larger.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A server that listens. It stops with the tasks of its ambient world.
#[derive(Debug)]
pub struct Listening {
    pub(super) address: SocketAddr,
}

impl Listening {
    /// Where it listens, as the client's endpoint: `http://127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl S3Server {
    /// Listens on `address` (port 0: any free one).
    ///
    /// # Errors
    /// The port is taken.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listening> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let door = Door {
            socket,
            server: self.clone(),
        };
        let router = Router::new().fallback(handle).with_state(self.clone());
        let tasks = self.inner.ambient.tasks.clone();
        let until = tasks.clone();
        let serve = async move {
            // Either ends the server; what is dropped with it are requests of tests that are over.
            tokio::select! {
                served = axum::serve(door, router).into_future() => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the S3 server for tests has stopped");
                    }
                }
                () = until.shutdown_requested() => {}
            }
        };
        drop(tasks.spawn("s3-server", serve));
        Ok(Listening { address })
    }
}

async fn handle(State(server): State<S3Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let asked = Asked::new(parts.method.as_str(), &parts.uri, &parts.headers, body);
    match server.answer(asked).await {
        Some(reply) => response(reply),
        // Under way already: all that can be done is to break off.
        None => broken(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
    }
}

fn response(reply: Reply) -> Response {
    let mut response = match reply.cut_after {
        Some(kept) => broken(front::status(&reply), reply.body.slice(..kept)),
        None => Response::new(Body::from(reply.body.clone())),
    };
    *response.status_mut() = front::status(&reply);
    for (name, value) in &reply.headers {
        if let Some(value) = front::header(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// An answer whose connection breaks behind `bytes`.
fn broken(status: StatusCode, bytes: Bytes) -> Response {
    let pieces = [
        Ok(bytes),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ];
    let mut response = Response::new(Body::from_stream(stream::iter(pieces)));
    *response.status_mut() = status;
    response
}

/// Takes connections in, and hangs up on them while the server is down.
#[derive(Debug)]
struct Door {
    socket: TcpListener,
    server: S3Server,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.socket).await;
            if !self.server.is_down() {
                let server = self.server.clone();
                return (Connection { stream, server }, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection that breaks when something is to go through it while the server is down.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    server: S3Server,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.server.is_down() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => Poll::Ready(read.and_then(|()| self.check())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
