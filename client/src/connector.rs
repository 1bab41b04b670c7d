//! How a broker is reached: TCP, or whatever a test puts in its place.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::BrokerAddress;

/// A stream of bytes to a broker.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens streams to brokers.
///
/// A connector promises an open stream or an error; it has no deadline of its own, the caller drops the future when
/// it has waited long enough. It does not promise that a broker is behind the stream.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Opens a stream to `address`.
    fn connect<'a>(
        &'a self,
        address: &'a BrokerAddress,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// Plain TCP without delay of small requests.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Connect for Tcp {
    fn connect<'a>(
        &'a self,
        address: &'a BrokerAddress,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            // A name may stand for several addresses (localhost: ::1 and 127.0.0.1); they are tried in order.
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = Box::new(stream);
            Ok(stream)
        })
    }
}
