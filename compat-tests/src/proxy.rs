//! A network that loses answers: it stands between a client and the broker, lets every request through, and breaks the
//! connection instead of delivering the answer to a Produce. The client cannot know whether its records were written and
//! must ask again. Addresses in answers are rewritten, so that the client stays on this way.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::process::spawn;
use crate::wire::read_frame;

const PRODUCE: [u8; 2] = [0, 0];

/// A running proxy; its connections end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Both lead to the broker. Clients are told of the first; with the second, kcat does not believe that every broker is
    /// down, and give up, when one connection breaks.
    ports: [u16; 2],
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    /// The broker's address as it stands in answers, and what to write there.
    rewrite: Vec<([u8; 13], [u8; 13])>,
    /// Answers to Produce that are still to be lost.
    to_lose: AtomicUsize,
    lost: AtomicUsize,
    is_over: AtomicBool,
    /// Every socket, to end them; bounded by what one client opens in one scenario.
    sockets: Mutex<Vec<TcpStream>>,
}

/// Produce requests of a connection that have no answer yet, by correlation id.
type Asked = Arc<Mutex<HashSet<[u8; 4]>>>;

impl Proxy {
    /// Stands before `upstream` and loses the answers to the first `losses` Produce requests.
    pub(crate) fn start(upstream: &str, losses: usize) -> Result<Self> {
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let ports = [
            listeners[0].local_addr()?.port(),
            listeners[1].local_addr()?.port(),
        ];
        let (_, upstream_port) = upstream.rsplit_once(':').context("host:port")?;
        let from = upstream_port.parse()?;
        let rewrite =
            ["127.0.0.1", "localhost"].map(|host| (address(host, from), address(host, ports[0])));
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            rewrite: rewrite.to_vec(),
            to_lose: AtomicUsize::new(losses),
            lost: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            sockets: Mutex::new(Vec::new()),
        });
        for listener in listeners {
            let accepting = Arc::clone(&shared);
            spawn(move || accept(&listener, &accepting))?;
        }
        Ok(Self { ports, shared })
    }

    /// `host:port` for `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        self.ports.map(|port| format!("127.0.0.1:{port}")).join(",")
    }

    /// Loses the answers to so many more Produce requests.
    pub(crate) fn lose(&self, losses: usize) {
        self.shared.to_lose.fetch_add(losses, Ordering::SeqCst);
    }

    /// How many answers were lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for socket in self.shared.sockets().iter() {
            // A socket that is closed already is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
        for port in self.ports {
            // Wakes the listener, which then ends; where that fails it ends with the test.
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
    }
}

impl Shared {
    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of the losses, if any is left.
    fn lose(&self) -> bool {
        let taken = self
            .to_lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if taken.is_ok() {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        taken.is_ok()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        // A connection that cannot be made is closed, which the client takes for a network fault.
        let _ = connect(shared, client);
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    let broker = TcpStream::connect(&shared.upstream)?;
    for socket in [&client, &broker] {
        socket.set_nodelay(true)?;
        shared.sockets().push(socket.try_clone()?);
    }
    let asked = Asked::default();
    let (from, to, noted) = (client.try_clone()?, broker.try_clone()?, Arc::clone(&asked));
    spawn(move || {
        let _ = requests(from, &to, &noted);
        // The broker answers what it has read; the client has said its last word.
        let _ = to.shutdown(Shutdown::Write);
    })?;
    let shared = Arc::clone(shared);
    spawn(move || {
        let _ = answers(&shared, &broker, &client, &asked);
        let _ = broker.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    })
}

fn requests(mut from: TcpStream, to: &TcpStream, asked: &Asked) -> Result<()> {
    while let Some(frame) = read_frame(&mut from)? {
        if let [a, b, _, _, c @ ..] = frame.as_slice()
            && [*a, *b] == PRODUCE
            && let Some(correlation) = c.first_chunk::<4>()
        {
            asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(*correlation);
        }
        write_frame(to, &frame)?;
    }
    Ok(())
}

fn answers(shared: &Shared, mut from: &TcpStream, to: &TcpStream, asked: &Asked) -> Result<()> {
    while let Some(mut frame) = read_frame(&mut from)? {
        let correlation = frame.first_chunk::<4>().copied().unwrap_or_default();
        let is_produce = asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&correlation);
        if is_produce && shared.lose() {
            return Ok(());
        }
        for (upstream, own) in &shared.rewrite {
            replace(&mut frame, upstream, own);
        }
        write_frame(to, &frame)?;
    }
    Ok(())
}

fn write_frame(mut to: &TcpStream, frame: &[u8]) -> Result<()> {
    let length = u32::try_from(frame.len())?;
    to.write_all(&[&length.to_be_bytes(), frame].concat())?;
    Ok(())
}

/// A host and a port as they follow each other in Metadata and FindCoordinator.
fn address(host: &str, port: u16) -> [u8; 13] {
    let mut bytes = [0; 13];
    bytes[..9].copy_from_slice(host.as_bytes());
    bytes[9..].copy_from_slice(&i32::from(port).to_be_bytes());
    bytes
}

fn replace(bytes: &mut [u8], from: &[u8; 13], to: &[u8; 13]) {
    let mut start = 0;
    while let Some(found) = bytes[start..]
        .windows(from.len())
        .position(|window| window == from)
    {
        start += found;
        bytes[start..start + to.len()].copy_from_slice(to);
        start += to.len();
    }
}
