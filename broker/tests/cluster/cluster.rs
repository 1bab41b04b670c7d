//! Three brokers in processes of their own, over a real PostgreSQL behind a way that fails on purpose, and a bucket.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Condvar, Mutex};
use streamhouse_metadata::postgres::proxy::Proxy;
use streamhouse_metadata::postgres::server::{self, Server};
use streamhouse_protocol::messages::CreateTopicsRequest;
use streamhouse_protocol::messages::create_topics_request::CreatableTopic;
use streamhouse_runtime::Ambient;
use streamhouse_storage::s3_server::S3Server;
use tempfile::TempDir;

use crate::broker::{Broker, Start, streamhouse};
use crate::client::{Client, topic_name};
use crate::say;
use crate::wait::until;

/// Brokers of a cluster.
pub(crate) const BROKERS: i32 = 3;

/// Clusters at work at once; more would wait for each other's processor and take time for a fault.
const AT_ONCE_MAX: usize = 2;

static AT_WORK: Mutex<usize> = Mutex::new(0);
static ONE_ENDED: Condvar = Condvar::new();

/// The right to run a cluster beside few others.
#[derive(Debug)]
struct Turn;

impl Turn {
    fn take() -> Self {
        let mut at_work = AT_WORK.lock();
        while *at_work >= AT_ONCE_MAX {
            ONE_ENDED.wait(&mut at_work);
        }
        *at_work += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *AT_WORK.lock() -= 1;
        ONE_ENDED.notify_one();
    }
}

/// Settings of every cluster: short leases, moves and flushes, so that much happens in a second.
const BUSY: &[&str] = &[
    "metadata.shards=6",
    "metadata.request_timeout=1s",
    "metadata.statement_timeout=800ms",
    "metadata.lock_timeout=400ms",
    "metadata.acquire_timeout=1s",
    "metadata.connect_timeout=1s",
    "membership.lease=2s",
    "membership.heartbeat_interval=500ms",
    "membership.shard_stay_min=1s",
    "shared.flush_interval=20ms",
    "log.checkpoint_manifests=50",
    "storage.block_cache_bytes=16MiB",
    "s3.attempt_timeout=500ms",
];

/// The database of a cluster: the one that all tests share, or one of its own.
#[derive(Debug)]
enum Database {
    Shared(&'static Server),
    Own(Box<Server>),
}

/// A cluster. Brokers are numbered from 1.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// None while it does not run.
    pub(crate) brokers: Vec<Option<Broker>>,
    pub(crate) ports: Vec<u16>,
    pub(crate) proxy: Proxy,
    pub(crate) s3: S3Server,
    pub(crate) settings: Vec<String>,
    pub(crate) schema: String,
    database: Database,
    folder: TempDir,
    _turn: Turn,
}

/// Runs the S3 servers.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

/// A bucket `events` of its own, and where it is.
pub(crate) fn bucket() -> (S3Server, String) {
    RUNTIME.block_on(async {
        let server = S3Server::new("events", "key-id", Ambient::system());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = server.listen(any).await.unwrap().endpoint();
        (server, endpoint)
    })
}

/// A name that no other cluster of this process has.
fn new_schema() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("cluster_{}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

impl Cluster {
    /// Starts three brokers on the database of all tests; none where PostgreSQL is not installed.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        let turn = Turn::take();
        let server = server::shared()?;
        Some(Self::start_on(Database::Shared(server), turn, more))
    }

    /// Starts three brokers on a database server that no other test has.
    pub(crate) fn start_alone(more: &[&str]) -> Option<Self> {
        server::shared()?;
        let turn = Turn::take();
        let server = Server::start("").unwrap();
        Some(Self::start_on(Database::Own(Box::new(server)), turn, more))
    }

    /// Everything but the brokers.
    pub(crate) fn unstarted() -> Option<Self> {
        let turn = Turn::take();
        let server = server::shared()?;
        Some(Self::prepare(Database::Shared(server), turn, &[]))
    }

    fn start_on(database: Database, turn: Turn, more: &[&str]) -> Self {
        let mut cluster = Self::prepare(database, turn, more);
        for node in 1..=BROKERS {
            cluster.start_broker(node);
        }
        cluster.until_settled();
        cluster
    }

    /// Everything but the brokers.
    fn prepare(database: Database, turn: Turn, more: &[&str]) -> Self {
        let (s3, endpoint) = bucket();
        let port = match &database {
            Database::Shared(server) => server.port(),
            Database::Own(server) => server.port(),
        };
        let proxy = Proxy::start(port).unwrap();
        let schema = new_schema();
        let mut settings: Vec<String> = BUSY.iter().map(|&setting| setting.to_owned()).collect();
        settings.push(format!("metadata.url={}", proxy.url()));
        settings.push(format!("metadata.schema={schema}"));
        settings.push("storage.url=s3://events/here".to_owned());
        settings.push(format!("s3.endpoint={endpoint}"));
        settings.extend(more.iter().map(|&setting| setting.to_owned()));
        Self {
            brokers: (0..BROKERS).map(|_| None).collect(),
            ports: vec![0; usize::try_from(BROKERS).unwrap()],
            proxy,
            s3,
            settings,
            schema,
            database,
            folder: tempfile::tempdir().unwrap(),
            _turn: turn,
        }
    }

    /// The server behind the proxy.
    pub(crate) fn server(&self) -> &Server {
        match &self.database {
            Database::Shared(server) => server,
            Database::Own(server) => server,
        }
    }

    /// The value of a setting of this cluster.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let mut settings = self.settings.iter();
        let value = settings.find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{name} is not set"))
    }

    /// What a broker is started with.
    pub(crate) fn start_of(&self, node: i32) -> Start {
        Start {
            node,
            port: self.ports.get(place(node)).copied().unwrap_or(0),
            settings: self.settings.clone(),
            log: self.folder.path().join(format!("{node}.log")),
        }
    }

    /// Starts a broker, at the port that it had before.
    pub(crate) fn start_broker(&mut self, node: i32) {
        let broker = self.start_of(node).start();
        let broker = broker.unwrap_or_else(|(status, words)| {
            panic!("broker {node} did not start: {status}: {words}");
        });
        self.ports[place(node)] = broker.port;
        self.brokers[place(node)] = Some(broker);
    }

    /// A broker that runs.
    pub(crate) fn broker(&self, node: i32) -> &Broker {
        self.brokers[place(node)].as_ref().unwrap()
    }

    /// Takes a broker out, to kill or stop it.
    pub(crate) fn take(&mut self, node: i32) -> Broker {
        self.brokers[place(node)].take().unwrap()
    }

    /// The brokers that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().flatten()
    }

    /// Waits until every broker is ready, and leads its part of the shards.
    pub(crate) fn until_settled(&self) {
        for broker in self.running() {
            broker.until_ready();
        }
        let running = self.running().count();
        let wanted = format!("{running}");
        until("every broker leads its part of the shards", || {
            let sql = format!(
                "SELECT count(DISTINCT s.incarnation) FROM {0}.shards s JOIN {0}.brokers b USING (incarnation)
                 WHERE b.died_ms IS NULL",
                self.schema
            );
            (self.ask(&sql) == wanted).then_some(())
        });
    }

    /// Stops all brokers and starts them again, so that nothing is left in their memory.
    pub(crate) fn restart(&mut self) {
        for node in 1..=BROKERS {
            self.take(node).stop();
        }
        for node in 1..=BROKERS {
            self.start_broker(node);
        }
        self.until_settled();
    }

    /// Lets another server answer for the database from now on, and gives the one before, if it was the cluster's own.
    pub(crate) fn fail_over(&mut self, server: Server) -> Option<Box<Server>> {
        self.proxy.lead_to(server.port());
        let before = std::mem::replace(&mut self.database, Database::Own(Box::new(server)));
        match before {
            Database::Own(server) => Some(server),
            Database::Shared(_) => None,
        }
    }

    /// SQL for the tables of this cluster, which it calls `S.name`.
    pub(crate) fn of_schema(&self, sql: &str) -> String {
        sql.replace("S.", &format!("{}.", self.schema))
    }

    /// What the database says.
    pub(crate) fn ask(&self, sql: &str) -> String {
        self.server().run(sql).unwrap()
    }

    /// A client of all brokers.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.ports)
    }

    /// Creates a topic through one broker, and waits until all partitions have leaders.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        create(&self.ports, topic, partitions);
    }

    /// Runs a command with the settings of the cluster to its end, and gives what it said.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let output = streamhouse(command, &self.settings).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {said}{complained}",
            output.status
        );
        said
    }
}

/// Creates a topic through one of the brokers on these ports, and waits until all partitions have leaders.
pub(crate) fn create(bootstrap: &[u16], topic: &str, partitions: i32) {
    let new = CreatableTopic::default()
        .with_name(topic_name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(vec![new]);
    let mut client = Client::new(bootstrap);
    let created = client.ask_any(5, &request).unwrap();
    assert_eq!(created.topics[0].error_code, 0);
    let all = usize::try_from(partitions).unwrap();
    until("every partition has a leader", || {
        (client.leaders(topic).ok()?.len() == all).then_some(())
    });
}

/// The logs of brokers tell why a test failed.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (node, broker) in (1..).zip(&self.brokers) {
            if let Some(broker) = broker {
                say(&format!("--- broker {node}:\n{}", broker.words()));
            }
        }
    }
}

fn place(node: i32) -> usize {
    usize::try_from(node - 1).unwrap()
}
