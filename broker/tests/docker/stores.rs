//! What holds the data of the cluster: PostgreSQL, a real server, and S3, the server of the tests or, where
//! `STREAMHOUSE_TEST_VERSITYGW` names the program, the one that the compose file names.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use streamhouse_metadata::postgres::server::Server;
use streamhouse_runtime::Ambient;
use streamhouse_storage::s3_server::S3Server;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use crate::compose::{Compose, Service};
use crate::network::Network;

/// Where PostgreSQL and the S3 server listen in the file.
const POSTGRES_PORT: u16 = 5432;

/// Everybody needs the password, but for the operator that prepares the server.
const ACCESS: &str = "\
host postgres streamhouse 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// A PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Database {
    server: Server,
    _access: NamedTempFile,
}

impl Database {
    /// Starts the server with the user, the password and the database that the service's variables name. None where
    /// PostgreSQL is not installed, which is said; with `CI=true` that is a failure.
    pub(crate) fn start(service: &Service, network: &mut Network) -> Option<Self> {
        assert_eq!(service.image.split(':').next(), Some("postgres"));
        let mut access = NamedTempFile::new().unwrap();
        access.write_all(ACCESS.as_bytes()).unwrap();
        let readable = PermissionsExt::from_mode(0o644);
        access.as_file().set_permissions(readable).unwrap();
        let arguments = format!("-c hba_file={}", access.path().display());
        let server = match Server::start(&arguments) {
            Ok(server) => server,
            Err(error) => {
                let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
                assert!(!is_ci, "CI needs PostgreSQL: {error}");
                let left_out = format!("left out for want of PostgreSQL: {error}\n");
                std::io::stderr().write_all(left_out.as_bytes()).unwrap();
                return None;
            }
        };
        let user = service.variable("POSTGRES_USER");
        let password = service.variable("POSTGRES_PASSWORD");
        let database = service.variable("POSTGRES_DB");
        if user != "streamhouse" {
            server.run(&format!("CREATE ROLE {user} LOGIN")).unwrap();
        }
        let secret = format!("ALTER ROLE {user} PASSWORD '{password}'");
        server.run(&secret).unwrap();
        let made = format!("CREATE DATABASE {database} OWNER {user}");
        server.run(&made).unwrap();
        network.is_at("postgres", POSTGRES_PORT, server.port());
        Some(Self {
            server,
            _access: access,
        })
    }

    /// Runs a health check of the service.
    pub(crate) fn passes(&self, check: &[String]) -> bool {
        let mut command = Command::new(&check[0]);
        let port = self.server.port().to_string();
        command.args(&check[1..]).env("PGPORT", port);
        command.stdout(Stdio::null()).status().unwrap().success()
    }
}

/// An S3 server with its bucket.
#[derive(Debug)]
pub(crate) enum Store {
    /// The server of the tests: everything in memory.
    Ours {
        _server: S3Server,
        _runtime: Runtime,
    },
    /// The program of the file. It is killed when it is dropped.
    Theirs(Child),
}

impl Store {
    /// Starts the service `s3` and carries out the job `bucket`.
    pub(crate) fn start(compose: &Compose, network: &mut Network, folder: &Path) -> Self {
        // Both are asked for before anybody binds a port.
        let address = network.seen_by(compose, "s3", compose.service("s3").variable("VGW_PORT"));
        let job = Job::of(compose, network);
        network.give("s3");
        match std::env::var_os("STREAMHOUSE_TEST_VERSITYGW") {
            Some(program) => Self::theirs(compose, network, &PathBuf::from(program), folder, &job),
            None => Self::ours(compose.service("s3"), &address, &job),
        }
    }

    fn ours(service: &Service, address: &str, job: &Job) -> Self {
        // What the job would be refused for.
        let variable = |name| service.variable(name);
        assert_eq!(
            job.variable("ADMIN_ACCESS_KEY"),
            variable("ROOT_ACCESS_KEY")
        );
        assert_eq!(
            job.variable("ADMIN_SECRET_KEY"),
            variable("ROOT_SECRET_KEY")
        );
        assert_eq!(job.variable("ADMIN_REGION"), variable("VGW_REGION"));
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap()));
        let endpoint = format!("http://{address}");
        assert_eq!(job.variable("ADMIN_ENDPOINT_URL"), endpoint);

        let key = variable("ROOT_ACCESS_KEY");
        let server = S3Server::new(job.variable("BUCKET"), key, Ambient::system());
        server.set_region(variable("VGW_REGION"));
        let runtime = Runtime::new().unwrap();
        runtime.block_on(server.listen(address)).unwrap();
        Self::Ours {
            _server: server,
            _runtime: runtime,
        }
    }

    fn theirs(
        compose: &Compose,
        network: &mut Network,
        program: &Path,
        folder: &Path,
        job: &Job,
    ) -> Self {
        let service = compose.service("s3");
        let data = folder.join("s3");
        std::fs::create_dir(&data).unwrap();
        let mount = service.volumes[0].split_once(':').unwrap().1;
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        for argument in &service.command {
            command.arg(argument.replace(mount, data.to_str().unwrap()));
        }
        for (name, value) in &service.environment {
            command.env(name, network.seen_by(compose, "s3", value));
        }
        let mut child = command.spawn().unwrap();
        let check = &service.healthcheck.as_ref().unwrap().test[1..];
        let check: Vec<_> = check
            .iter()
            .map(|word| network.seen_by(compose, "s3", word))
            .collect();
        while !Command::new(&check[0])
            .args(&check[1..])
            .status()
            .unwrap()
            .success()
        {
            assert_eq!(child.try_wait().unwrap(), None, "the S3 server has ended");
        }
        // Every start of the cluster runs it again.
        for _ in 0..2 {
            job.run(program);
        }
        Self::Theirs(child)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Self::Theirs(child) = self {
            // It has ended already, or it ends now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The job that makes the bucket.
#[derive(Debug)]
struct Job {
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Job {
    fn of(compose: &Compose, network: &mut Network) -> Self {
        let service = compose.service("bucket");
        let words = service.entrypoint.iter().chain(&service.command);
        let variables = service.environment.iter();
        Self {
            words: words.cloned().collect(),
            environment: variables
                .map(|(name, value)| {
                    let value = network.seen_by(compose, "bucket", value);
                    (name.clone(), value)
                })
                .collect(),
        }
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("bucket lacks {name}")).1
    }

    fn run(&self, program: &Path) {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let own = program.parent().unwrap().to_path_buf();
        let paths = std::iter::once(own).chain(std::env::split_paths(&paths));
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear();
        command.env("PATH", std::env::join_paths(paths).unwrap());
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let ended = command.envs(environment).output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "the bucket was not made: {errors}");
    }
}
