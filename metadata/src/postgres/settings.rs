//! Where the PostgreSQL server is, how the way to it is protected, and the limits of what is asked of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::open::{OpenError, with_cause};

/// The most connections that one broker may be given.
pub const CONNECTIONS_MAX: usize = 1_000;

/// The longest name of a schema: what PostgreSQL keeps of a name.
const SCHEMA_BYTES_MAX: usize = 63;

/// After this long without an answer to what was sent, the system gives a connection up.
const UNANSWERED_MAX: Duration = Duration::from_secs(30);

/// How long a connection is quiet before the system asks whether the server is still there.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// How the metadata store reaches PostgreSQL. Values are checked by [`super::PostgresStore::open`].
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`, several hosts separated by commas. Of the parameters behind `?`,
    /// `sslmode` is `verify-full` (the default for every server that is not on this machine) or `disable`, and
    /// `sslrootcert` names a file of certificate authorities instead of those that the machine trusts; the others are
    /// those of libpq.
    pub url: String,
    /// The schema that holds the tables; one per cluster. Lower-case letters, digits and `_`. Default `streamhouse`.
    pub schema: String,
    /// How many connections are held at most, 1 to [`CONNECTIONS_MAX`]. Default 8. A commit needs one for one round trip.
    pub connections: usize,
    /// How long a request waits for a free connection before it fails. Default 5 s.
    pub acquire_limit: Duration,
    /// How long making a connection may take, from the first packet to a verified session. Default 5 s.
    pub connect_limit: Duration,
    /// The server stops a statement after this long (`statement_timeout`). It does not bound the wait of a COMMIT for
    /// synchronous replicas. Default 10 s.
    pub statement_limit: Duration,
    /// The server stops waiting for a locked row after this long (`lock_timeout`). Default 1 s.
    pub lock_limit: Duration,
    /// A request that takes longer than this as a whole is given up: its connection is thrown away, and the outcome of
    /// a write is unknown. Must be longer than `statement_limit`. Default 15 s.
    pub request_limit: Duration,
    /// How long opening waits for another broker that brings the schema up to date, and how long that may take.
    /// Default 60 s.
    pub migration_limit: Duration,
}

impl PostgresSettings {
    /// The defaults, for the server at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "streamhouse".to_owned(),
            connections: 8,
            acquire_limit: Duration::from_secs(5),
            connect_limit: Duration::from_secs(5),
            statement_limit: Duration::from_secs(10),
            lock_limit: Duration::from_secs(1),
            request_limit: Duration::from_secs(15),
            migration_limit: Duration::from_secs(60),
        }
    }
}

/// Without the URL, which holds a password.
impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("acquire_limit", &self.acquire_limit)
            .field("connect_limit", &self.connect_limit)
            .field("statement_limit", &self.statement_limit)
            .field("lock_limit", &self.lock_limit)
            .field("request_limit", &self.request_limit)
            .field("migration_limit", &self.migration_limit)
            .finish_non_exhaustive()
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The way is not encrypted.
    Unprotected,
    /// The authorities that the machine trusts.
    Machine,
    /// The authorities in this file.
    File(PathBuf),
}

/// The settings after they were checked.
#[derive(Clone)]
pub(super) struct Target {
    /// What the library connects with.
    pub(super) config: tokio_postgres::Config,
    pub(super) trust: Trust,
    /// Host, port and database, for people.
    pub(super) name: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

fn wrong(reason: impl Into<String>) -> OpenError {
    OpenError::Settings {
        reason: reason.into(),
    }
}

/// Checks all settings and reads the URL.
pub(super) fn target(settings: &PostgresSettings) -> Result<Target, OpenError> {
    check_limits(settings)?;
    check_schema(&settings.schema)?;
    let (plain, tls) = split_tls(&settings.url)?;
    // The library's text names the part that is wrong, never its value.
    let mut config = plain.parse::<tokio_postgres::Config>().map_err(|error| {
        let reason = with_cause(&error);
        wrong(format!(
            "the URL of the metadata database cannot be read: {reason}"
        ))
    })?;
    if config.get_hosts().is_empty() {
        return Err(wrong("the URL of the metadata database names no host"));
    }
    if config.get_options().is_some() {
        return Err(wrong(
            "the URL of the metadata database sets options; StreamHouse sets those of its sessions itself",
        ));
    }
    let trust = match tls {
        Tls {
            mode: None,
            file: None,
        } if is_on_this_machine(&config) => Trust::Unprotected,
        Tls {
            mode: Some(Mode::Disable),
            file: None,
        } => Trust::Unprotected,
        Tls {
            mode: Some(Mode::Disable),
            file: Some(_),
        } => {
            return Err(wrong("sslrootcert has no meaning with sslmode=disable"));
        }
        Tls {
            file: Some(file), ..
        } => Trust::File(file),
        Tls {
            mode: None | Some(Mode::VerifyFull),
            file: None,
        } => Trust::Machine,
    };
    config
        .application_name("streamhouse")
        .connect_timeout(settings.connect_limit)
        .tcp_user_timeout(UNANSWERED_MAX)
        .keepalives(true)
        .keepalives_idle(QUIET_MAX)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .ssl_mode(match trust {
            Trust::Unprotected => SslMode::Disable,
            Trust::Machine | Trust::File(_) => SslMode::Require,
        });
    let name = name(&config);
    Ok(Target {
        config,
        trust,
        name,
    })
}

fn check_limits(settings: &PostgresSettings) -> Result<(), OpenError> {
    let connections = settings.connections;
    if connections == 0 || connections > CONNECTIONS_MAX {
        return Err(wrong(format!(
            "the metadata database cannot be used over {connections} connections; choose 1 to {CONNECTIONS_MAX}"
        )));
    }
    let limits = [
        ("acquire limit", settings.acquire_limit),
        ("connect limit", settings.connect_limit),
        ("statement limit", settings.statement_limit),
        ("lock limit", settings.lock_limit),
        ("request limit", settings.request_limit),
        ("migration limit", settings.migration_limit),
    ];
    // Below a millisecond the server would understand "no limit", above its integer nothing.
    let lawful = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
    if let Some((name, limit)) = limits.iter().find(|(_, limit)| !lawful.contains(limit)) {
        return Err(wrong(format!(
            "the {name} of the metadata database is {limit:?}; choose 1 ms to 24 h"
        )));
    }
    if settings.request_limit <= settings.statement_limit {
        return Err(wrong(format!(
            "the request limit of the metadata database ({:?}) must be longer than its statement limit ({:?})",
            settings.request_limit, settings.statement_limit
        )));
    }
    Ok(())
}

/// The name is written into statements, so that it may hold nothing that needs quoting.
fn check_schema(schema: &str) -> Result<(), OpenError> {
    let is_lawful = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = schema.bytes().all(is_lawful)
        && schema.len() <= SCHEMA_BYTES_MAX
        && schema
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
        && !schema.starts_with("pg_");
    if is_name {
        Ok(())
    } else {
        Err(wrong(format!(
            "the schema {schema:?} cannot be used; choose a name of lower-case letters, digits and '_' \
             that does not begin with a digit or with pg_"
        )))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    VerifyFull,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tls {
    mode: Option<Mode>,
    file: Option<PathBuf>,
}

/// Takes the two parameters out of the URL that the library does not know.
fn split_tls(url: &str) -> Result<(String, Tls), OpenError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong(
            "the URL of the metadata database must begin with postgres://",
        ));
    }
    let Some((plain, parameters)) = url.split_once('?') else {
        return Ok((url.to_owned(), Tls::default()));
    };
    let mut tls = Tls::default();
    let mut others = Vec::new();
    for parameter in parameters.split('&').filter(|part| !part.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", "disable")) => tls.mode = Some(Mode::Disable),
            Some(("sslmode", "verify-full")) => tls.mode = Some(Mode::VerifyFull),
            Some(("sslmode", other)) => {
                return Err(wrong(format!(
                    "sslmode {other:?} of the metadata database does not tell whose server it is; \
                     choose verify-full, or disable where nobody can listen"
                )));
            }
            Some(("sslrootcert", file)) => tls.file = Some(PathBuf::from(decoded(file)?)),
            Some(_) | None => others.push(parameter),
        }
    }
    let joint = if others.is_empty() { "" } else { "?" };
    Ok((format!("{plain}{joint}{}", others.join("&")), tls))
}

/// A value of a URL, its `%xx` replaced.
fn decoded(value: &str) -> Result<String, OpenError> {
    let broken = || wrong("sslrootcert of the metadata database holds a broken %-sequence");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(broken());
        };
        bytes.push(high * 16 + low);
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

fn is_on_this_machine(config: &tokio_postgres::Config) -> bool {
    let is_local = |name: &str| {
        name == "localhost"
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    };
    config
        .get_hostaddrs()
        .iter()
        .all(std::net::IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => is_local(name),
            Host::Unix(_) => true,
        })
}

fn name(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).unwrap_or(&5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    let database = config.get_dbname().unwrap_or("(the user's)");
    format!("{} on {}", database, hosts.join(", "))
}

#[cfg(test)]
mod tests;
