//! A connection to a broker, for every test that speaks to one in another process: whole frames over a socket. Requests may
//! be sent ahead; answers come in their order.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::Request;
use streamhouse_protocol::request::encode_request;
use streamhouse_protocol::response::decode_response;

/// A broker that does not answer is a failure, not a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self> {
        Self::open_within(port, PATIENCE)
    }

    /// The same for who waits no longer than `limit` for an answer.
    pub(crate) fn open_within(port: u16, limit: Duration) -> Result<Self> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        Ok(Self { socket })
    }

    /// Sends a request and does not wait.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        let frame = encode_request(1, "test", version, request).map_err(invalid)?;
        self.socket.write_all(&frame)
    }

    /// Waits for the answer to the oldest request that has none yet.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let mut size = [0; 4];
        self.socket.read_exact(&mut size)?;
        let size = usize::try_from(u32::from_be_bytes(size)).map_err(invalid)?;
        let mut frame = vec![0; size];
        self.socket.read_exact(&mut frame)?;
        let (_, response) = decode_response::<R>(version, Bytes::from(frame)).map_err(invalid)?;
        Ok(response)
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.send(version, request)?;
        self.receive::<R>(version)
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}
