//! A real PostgreSQL server for tests: in a temporary folder, on a free port of this machine, with fsync on.
//!
//! The server refuses to run as root, so that root starts it as the user `postgres`, or else `nobody`. It belongs to the
//! process that started it: a small shell program waits at the other end of a pipe, and when the pipe closes, however
//! the process ended, stops the server and removes the folder.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// How often another port is tried when somebody else was faster.
const TRIES_MAX: usize = 5;

/// Makes a server with the port $1 and further arguments of the server $2, and TLS if $3 says so, or a standby of the
/// server on port $4; says where it is, and waits for the end of its input. Debian keeps the programs outside of the
/// search path.
const KEEPER: &str = r#"
set -eu
for bin in /usr/lib/postgresql/*/bin; do
    if [ -x "$bin/initdb" ]; then PATH="$bin:$PATH"; fi
done
folder=$(mktemp -d "${TMPDIR:-/tmp}/streamhouse-postgres-XXXXXX")
trap 'rm -rf "$folder"' EXIT
if [ "$3" = standby ]; then
    pg_basebackup -h 127.0.0.1 -p "$4" -U streamhouse -D "$folder/data" -R -X stream -c fast -N
else
    initdb -D "$folder/data" -U streamhouse -A trust -E UTF8 --locale=C -N
fi >"$folder/initdb.log" 2>&1 </dev/null || { cat "$folder/initdb.log" >&2; exit 1; }
tls=
if [ "$3" = tls ]; then
    cd "$folder"
    {
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' >extensions
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
            -out server.pem
    } >openssl.log 2>&1 </dev/null || { cat openssl.log >&2; exit 1; }
    tls="-c ssl=on -c ssl_cert_file=$folder/server.pem -c ssl_key_file=$folder/server.key"
    cd /
fi
pg_ctl -D "$folder/data" -l "$folder/server.log" -w -t 60 start >/dev/null 2>&1 </dev/null -o \
    "-c port=$1 -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=on -c max_connections=300 $tls $2" \
    || { cat "$folder/server.log" >&2; exit 1; }
echo "$folder"
read -r _ || true
pg_ctl -D "$folder/data" -m immediate -w stop >/dev/null 2>&1 </dev/null || true
"#;

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    keeper: Child,
    port: u16,
    folder: String,
}

impl Server {
    /// Starts a server; `arguments` are added to its command line (`-c name=value ...`).
    pub fn start(arguments: &str) -> io::Result<Self> {
        Self::start_with(arguments, &["plain"])
    }

    /// Starts a server that can also be reached by TLS under the name `localhost`; [`Server::authority`] vouches for it.
    pub fn start_with_tls() -> io::Result<Self> {
        Self::start_with("", &["tls"])
    }

    /// Starts a standby, which has what this server committed so far and follows it. `SELECT pg_promote()` makes it a
    /// primary, on the next timeline.
    pub fn standby(&self) -> io::Result<Self> {
        Self::start_with("", &["standby", &self.port.to_string()])
    }

    /// Runs SQL as the operator would, and returns what is told, a line per row.
    pub fn run(&self, sql: &str) -> io::Result<String> {
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(told));
        }
        let told = String::from_utf8_lossy(&output.stdout);
        Ok(told.trim_end().to_owned())
    }

    fn start_with(arguments: &str, kind: &[&str]) -> io::Result<Self> {
        let mut last = io::Error::other("no port was tried");
        for _ in 0..TRIES_MAX {
            match Self::start_on(free_port()?, arguments, kind) {
                Ok(server) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn start_on(port: u16, arguments: &str, kind: &[&str]) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER, "keeper", &port.to_string(), arguments])
            .args(kind)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C for the tests reaches the server as the end of the pipe, not on the way.
            .process_group(0);
        if let Some((user, group)) = another_user()? {
            command.uid(user).gid(group);
        }
        let mut keeper = command.spawn()?;
        let mut folder = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut folder)?;
        }
        let folder = folder.trim_end().to_owned();
        if folder.is_empty() {
            let told = keeper.wait_with_output()?;
            let told = String::from_utf8_lossy(&told.stderr).into_owned();
            return Err(io::Error::other(format!(
                "PostgreSQL did not start: {told}"
            )));
        }
        Ok(Self {
            keeper,
            port,
            folder,
        })
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://streamhouse@127.0.0.1:{}/postgres", self.port)
    }

    /// The file of the certificate authority of [`Server::start_with_tls`].
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}/ca.pem", self.folder)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its data (`data`) and its log (`server.log`).
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

/// Stops the server as a crash would, and waits for it.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // An error says that it is gone.
        let _ = self.keeper.wait();
    }
}

/// One server for all tests of this process, stopped when the process ends. None where PostgreSQL is not installed,
/// which is said once; with `CI=true` that is a failure.
///
/// # Panics
///
/// With `CI=true`, if the server does not start.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER
        .get_or_init(|| match Server::start("") {
            Ok(server) => Some(server),
            Err(error) => {
                let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
                assert!(!is_ci, "CI needs PostgreSQL: {error}");
                let left_out = format!("left out for want of PostgreSQL: {error}\n");
                // Whoever closed the error output does not want to know.
                let _ = io::stderr().write_all(left_out.as_bytes());
                None
            }
        })
        .as_ref()
}

/// A port that nobody listens on. Somebody may be faster.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// User and group that the server runs as; none: as we do.
fn another_user() -> io::Result<Option<(u32, u32)>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .ok_or_else(|| io::Error::other("there is no user postgres or nobody to run PostgreSQL as"))
}
