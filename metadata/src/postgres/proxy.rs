//! A way to PostgreSQL that fails on purpose, for tests: it stands between a broker and a server, understands just
//! enough of what they say to know a commit when it passes, and holds it, cuts it off, or swallows its answer.
//!
//! It works on unprotected connections (`sslmode=disable`). Mishaps are planned one after another and happen to the next
//! writes of their kind, whichever connection brings them.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use streamhouse_runtime::Tasks;
use tokio::sync::watch;

/// The largest message that is passed on. PostgreSQL itself ends at 1 GiB.
const MESSAGE_MAX: usize = 1 << 30;

/// What a client asks before it greets: whether it may speak TLS, or GSS. The answer here is always no.
const ASKS_FOR_TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();
const ASKS_FOR_GSS: [u8; 4] = 80_877_104_u32.to_be_bytes();

/// Which writes a mishap happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    /// A commit of manifests.
    Manifests,
    /// A write of groups and offsets.
    Groups,
    /// A heartbeat.
    Heartbeat,
    /// The COMMIT of any other transaction.
    Transaction,
}

impl Write {
    /// What the text of its statement holds and no other.
    const fn mark(self) -> &'static str {
        match self {
            Self::Manifests => "INSERT INTO manifests",
            Self::Groups => "UPDATE shard_coordination c SET seq",
            Self::Heartbeat => "UPDATE brokers b SET lease_until_ms",
            Self::Transaction => "COMMIT",
        }
    }
}

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It waits on the way until [`Proxy::release`].
    Hold,
    /// The connection is cut before the server hears of it.
    CutBefore,
    /// The server carries it out, and the connection is cut before the answer is passed on.
    CutAfter,
    /// The server carries it out, nobody hears of it, and the connection stays.
    Swallow,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    upstream: AtomicU16,
    is_out: AtomicBool,
    is_over: AtomicBool,
    round_trips: AtomicU64,
    plan: Mutex<VecDeque<(Write, Mishap)>>,
    /// How often [`Proxy::release`] was called.
    released: Mutex<u64>,
    release: Condvar,
    links: Mutex<Vec<Link>>,
    met: watch::Sender<usize>,
}

/// Both ends of one connection.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
}

impl Link {
    fn again(&self) -> io::Result<Self> {
        Ok(Self {
            client: self.client.try_clone()?,
            server: self.server.try_clone()?,
        })
    }

    fn cut(&self) {
        // An error says that it has ended by itself.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

/// What becomes of the answers of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Pass,
    /// They are dropped up to the one after which the server is ready.
    Swallow {
        then_cut: bool,
    },
}

/// A way to a server on this machine. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Begins to pass on to the server on `upstream` of 127.0.0.1.
    pub fn start(upstream: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(upstream),
            is_out: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
            plan: Mutex::default(),
            released: Mutex::default(),
            release: Condvar::new(),
            links: Mutex::default(),
            met: watch::Sender::default(),
        });
        let accepting = Arc::clone(&shared);
        // The handle is not kept: the thread ends with the proxy.
        let _ = Tasks::new().thread("postgres-proxy", move || accept(&listener, &accepting))?;
        Ok(Self { port, shared })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database behind it.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://streamhouse@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    /// Plans a mishap, behind those that are planned already.
    pub fn plan(&self, write: Write, mishap: Mishap) {
        self.shared.plan.lock().push_back((write, mishap));
    }

    /// Lets go what is held now.
    pub fn release(&self) {
        *self.shared.released.lock() += 1;
        self.shared.release.notify_all();
    }

    /// How many planned mishaps have happened.
    #[must_use]
    pub fn met(&self) -> usize {
        *self.shared.met.borrow()
    }

    /// Waits until `count` planned mishaps have happened.
    pub async fn until_met(&self, count: usize) {
        let mut met = self.shared.met.subscribe();
        // It cannot fail: the sender is here.
        let _ = met.wait_for(|met| *met >= count).await;
    }

    /// How often the server said that it is ready for the next request.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// Cuts all connections. New ones are passed on.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// While it is out, the server cannot be reached; connections are cut.
    pub fn set_out(&self, is_out: bool) {
        self.shared.is_out.store(is_out, Ordering::SeqCst);
        if is_out {
            self.shared.cut();
        }
    }

    /// From now on another server is behind it; connections to the one before are cut.
    pub fn lead_to(&self, upstream: u16) {
        self.shared.upstream.store(upstream, Ordering::SeqCst);
        self.shared.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.release();
        self.shared.cut();
        // Wakes whoever accepts. An error says that nobody does any more.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn cut(&self) {
        for link in self.links.lock().drain(..) {
            link.cut();
        }
    }

    /// The mishap of a write, if the next one that is planned is for its kind.
    fn mishap(&self, write: Write) -> Option<Mishap> {
        let mut plan = self.plan.lock();
        let (planned, mishap) = *plan.front()?;
        if planned != write {
            return None;
        }
        plan.pop_front();
        Some(mishap)
    }

    fn meet(&self) {
        self.met.send_modify(|met| *met += 1);
    }

    fn hold(&self) {
        let mut released = self.released.lock();
        let before = *released;
        self.meet();
        while *released == before {
            self.release.wait(&mut released);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        // A client that cannot be served is dropped: it sees its connection closed.
        if let Ok(client) = client
            && !shared.is_out.load(Ordering::SeqCst)
        {
            let _ = link(client, shared);
        }
    }
}

/// Joins a client to the server and lets two threads talk for them.
fn link(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", shared.upstream.load(Ordering::SeqCst)))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let link = Link { client, server };
    let (asking, answering) = (link.again()?, link.again()?);
    shared.links.lock().push(link);
    let answers = Arc::new(Mutex::new(Answers::Pass));
    let tasks = Tasks::new();
    let (to_server, to_client) = (Arc::clone(shared), Arc::clone(shared));
    let swallowing = Arc::clone(&answers);
    // The handles are not kept: the threads end with the connection, however it ends.
    let _ = tasks.thread("postgres-proxy-asks", move || {
        let _ = ask(&asking, &to_server, &swallowing);
        asking.cut();
    })?;
    let _ = tasks.thread("postgres-proxy-answers", move || {
        let _ = answer(&answering, &to_client, &answers);
        answering.cut();
    })?;
    Ok(())
}

/// A message: its kind, and its bytes as they are on the wire.
fn read(stream: &mut &TcpStream, has_kind: bool) -> io::Result<(u8, Vec<u8>)> {
    let mut bytes = vec![0; if has_kind { 5 } else { 4 }];
    stream.read_exact(&mut bytes)?;
    let kind = if has_kind { bytes[0] } else { 0 };
    let declared = bytes.last_chunk::<4>().copied().unwrap_or_default();
    let length = usize::try_from(u32::from_be_bytes(declared)).unwrap_or(usize::MAX);
    let rest = length.checked_sub(4).filter(|rest| *rest <= MESSAGE_MAX);
    let rest = rest.ok_or_else(|| io::Error::other("a message has no such length"))?;
    let head = bytes.len();
    bytes.resize(head + rest, 0);
    stream.read_exact(&mut bytes[head..])?;
    Ok((kind, bytes))
}

/// The text that begins `bytes`, and what is behind its zero byte.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn holds(sql: &[u8], mark: &str) -> bool {
    sql.windows(mark.len()).any(|part| part == mark.as_bytes())
}

/// The prepared statements of a connection that are writes of a kind, by their name.
#[derive(Debug, Default)]
struct Statements {
    writes: BTreeSet<(Vec<u8>, Write)>,
}

impl Statements {
    /// Which write a message begins, if it begins one.
    fn write(&mut self, kind: u8, body: &[u8]) -> Option<Write> {
        match kind {
            b'P' => {
                let (name, rest) = text(body);
                let (sql, _) = text(rest);
                for write in [Write::Manifests, Write::Groups, Write::Heartbeat] {
                    if holds(sql, write.mark()) {
                        self.writes.insert((name.to_vec(), write));
                    }
                }
                None
            }
            b'B' => {
                let (_, rest) = text(body);
                let (name, _) = text(rest);
                let found = self.writes.iter().find(|(known, _)| known == name);
                found.map(|(_, write)| *write)
            }
            b'Q' => body
                .starts_with(Write::Transaction.mark().as_bytes())
                .then_some(Write::Transaction),
            _ => None,
        }
    }
}

/// Passes on what the client says, until somebody hangs up.
fn ask(link: &Link, shared: &Shared, answers: &Mutex<Answers>) -> io::Result<()> {
    let (mut client, mut server) = (&link.client, &link.server);
    loop {
        let (_, greeting) = read(&mut client, false)?;
        if greeting[4..] == ASKS_FOR_TLS || greeting[4..] == ASKS_FOR_GSS {
            client.write_all(b"N")?;
            continue;
        }
        server.write_all(&greeting)?;
        break;
    }
    let mut statements = Statements::default();
    loop {
        let (kind, message) = read(&mut client, true)?;
        let write = statements.write(kind, &message[5..]);
        match write.and_then(|write| shared.mishap(write)) {
            None => {}
            Some(Mishap::Hold) => shared.hold(),
            Some(Mishap::CutBefore) => {
                link.cut();
                shared.meet();
                return Ok(());
            }
            Some(Mishap::CutAfter) => *answers.lock() = Answers::Swallow { then_cut: true },
            Some(Mishap::Swallow) => *answers.lock() = Answers::Swallow { then_cut: false },
        }
        server.write_all(&message)?;
    }
}

/// Passes on what the server says, until somebody hangs up.
fn answer(link: &Link, shared: &Shared, answers: &Mutex<Answers>) -> io::Result<()> {
    let (mut client, mut server) = (&link.client, &link.server);
    loop {
        let (kind, message) = read(&mut server, true)?;
        let is_ready = kind == b'Z';
        if is_ready {
            shared.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let now = *answers.lock();
        match now {
            Answers::Pass => client.write_all(&message)?,
            Answers::Swallow { then_cut } if is_ready => {
                *answers.lock() = Answers::Pass;
                if then_cut {
                    link.cut();
                }
                shared.meet();
            }
            Answers::Swallow { .. } => {}
        }
    }
}
