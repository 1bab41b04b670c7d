//! One connection to PostgreSQL: made, set up, verified, and watched for what the server says beside its answers.
//!
//! Invariants: a session commits durably (`synchronous_commit`, verified, not only set) and at READ COMMITTED; it is on a
//! server that takes writes; it knows that server's timeline; a warning that comes while a commit is under way makes its
//! outcome unknown (a COMMIT whose wait for synchronous replicas is cut short answers with success and a warning).

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use parking_lot::Mutex;
use streamhouse_runtime::{Ambient, planted};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_postgres::error::DbError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row, Statement};
use tracing::{debug, warn};

use super::fault::{Fallible, Fault, Phase};
use super::open::OpenError;
use super::settings::{PostgresSettings, Target};
use super::tls::Connector;

/// The oldest server that is supported, as `server_version_num`: 13.
const VERSION_MIN: i32 = 130_000;

/// Values of a statement, in the order of its `$n`.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What the server said without being asked, since the connection was made.
#[derive(Default)]
struct Notices {
    heard: Mutex<Heard>,
    listener: Mutex<Option<Listener>>,
}

/// Who wants to know of the words of other brokers about a schema.
struct Listener {
    schema: String,
    hear: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Heard {
    count: u64,
    last: String,
}

impl Notices {
    fn hear(&self, notice: &DbError) {
        let mut heard = self.heard.lock();
        heard.count += 1;
        heard.last = format!("{} ({})", notice.message(), notice.code().code());
    }

    fn listen(&self, schema: &str, hear: Box<dyn Fn() + Send + Sync>) {
        *self.listener.lock() = Some(Listener {
            schema: schema.to_owned(),
            hear,
        });
    }

    fn hear_of(&self, schema: &str) {
        if let Some(listener) = &*self.listener.lock()
            && listener.schema == schema
        {
            (listener.hear)();
        }
    }

    fn count(&self) -> u64 {
        self.heard.lock().count
    }

    /// The last notice, if there was one behind the first `count`.
    fn since(&self, count: u64) -> Option<String> {
        let heard = self.heard.lock();
        (heard.count > count).then(|| heard.last.clone())
    }
}

/// A connection that was verified.
pub(super) struct Session {
    client: Client,
    /// By their text, which is a constant of the code: as many as there are statements in it.
    statements: BTreeMap<&'static str, Statement>,
    notices: Arc<Notices>,
    phase: Phase,
    /// Of the server, when the connection was made.
    timeline: u32,
    abandon: oneshot::Sender<()>,
    /// Fails when the connection has ended.
    ended: oneshot::Receiver<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("timeline", &self.timeline)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a connection and verifies it.
    pub(super) async fn connect(
        target: &Target,
        connector: &Connector,
        settings: &PostgresSettings,
        ambient: &Ambient,
    ) -> Result<Self, OpenError> {
        let notices = Arc::new(Notices::default());
        let (last_word, ended) = oneshot::channel();
        let (abandon, abandoned) = oneshot::channel();
        let heard = Arc::clone(&notices);
        let unreachable = |error: tokio_postgres::Error| OpenError::connecting(target, &error);
        let client = match connector {
            Connector::Plain => {
                let (client, connection) =
                    target.config.connect(NoTls).await.map_err(unreachable)?;
                let driver = drive(connection, heard, abandoned, last_word);
                ambient.tasks.spawn("metadata-postgres-connection", driver);
                client
            }
            Connector::Tls(tls) => {
                let (client, connection) = target
                    .config
                    .connect(tls.clone())
                    .await
                    .map_err(unreachable)?;
                let driver = drive(connection, heard, abandoned, last_word);
                ambient.tasks.spawn("metadata-postgres-connection", driver);
                client
            }
        };
        let mut session = Self {
            client,
            statements: BTreeMap::new(),
            notices,
            phase: Phase::Before,
            timeline: 0,
            abandon,
            ended,
        };
        session
            .client
            .batch_execute(&set_up(settings))
            .await
            .map_err(unreachable)?;
        session.timeline = verify(&session.client, target).await?;
        Ok(session)
    }

    /// The timeline of the server when the connection was made.
    pub(super) const fn timeline(&self) -> u32 {
        self.timeline
    }

    /// The connection itself, for what is no shelf's work: migrations.
    pub(super) const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Listens to what other brokers tell, and calls `hear` for each of their words until the connection ends.
    pub(super) async fn listen(
        &mut self,
        schema: &str,
        hear: impl Fn() + Send + Sync + 'static,
    ) -> Fallible<()> {
        self.notices.listen(schema, Box::new(hear));
        self.client.batch_execute("LISTEN streamhouse").await?;
        Ok(())
    }

    /// Completes when the connection has ended.
    pub(super) async fn ended(&mut self) {
        // An error is the only answer.
        let _ = (&mut self.ended).await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Forgets how far the last piece of work came.
    pub(super) const fn start(&mut self) {
        self.phase = Phase::Before;
    }

    /// Closes the socket at once, whatever is under way on it. No cancel is sent: a COMMIT that the server has begun
    /// goes on to its end.
    pub(super) fn throw_away(self) {
        // An error says that the connection has ended by itself.
        let _ = self.abandon.send(());
    }

    async fn statement(&mut self, sql: &'static str) -> Fallible<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The rows of a statement that commits nothing: a read, or a step of an open transaction.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Fallible<Vec<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// The row of a statement that has one at most.
    pub(super) async fn query_one(
        &mut self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Fallible<Option<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query_opt(&statement, params).await?)
    }

    /// Runs a step of an open transaction; how many rows it wrote.
    pub(super) async fn execute(&mut self, sql: &'static str, params: Params<'_>) -> Fallible<u64> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Runs a statement that is a transaction of its own: one round trip, after which it is committed.
    pub(super) async fn commit_by(
        &mut self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Fallible<Vec<Row>> {
        let statement = self.statement(sql).await?;
        let heard = self.begin_commit();
        // The rows end only when the server is ready for the next statement, which is after the commit.
        let rows = self.client.query(&statement, params).await?;
        self.end_commit(heard)?;
        Ok(rows)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, kind: &'static str) -> Fallible<()> {
        Ok(self.client.batch_execute(kind).await?)
    }

    /// Commits the open transaction. No step of it may have failed: the server would roll it back and call that a
    /// success.
    pub(super) async fn commit(&mut self) -> Fallible<()> {
        let heard = self.begin_commit();
        self.client.batch_execute("COMMIT").await?;
        self.end_commit(heard)
    }

    /// Undoes the open transaction.
    pub(super) async fn roll_back(&mut self) -> Fallible<()> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }

    fn begin_commit(&mut self) -> u64 {
        // After a first commit of the same request nothing can be said to have left no trace.
        if self.phase == Phase::Before {
            self.phase = Phase::Committing;
        }
        self.notices.count()
    }

    fn end_commit(&mut self, heard: u64) -> Fallible<()> {
        if let Some(notice) = self.notices.since(heard)
            && !planted::bug("commit_despite_notice")
        {
            return Err(Fault::Unavailable(format!(
                "the server committed with a warning: {notice}"
            )));
        }
        self.phase = Phase::Committed;
        Ok(())
    }
}

/// What every session is set to. Numbers and the checked name of the schema only: nothing needs quoting.
fn set_up(settings: &PostgresSettings) -> String {
    format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; \
         SET synchronous_commit = on; SET search_path = {schema}; SET client_min_messages = warning; \
         SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {request}; SET DateStyle = ISO",
        schema = settings.schema,
        statement = settings.statement_limit.as_millis(),
        lock = settings.lock_limit.as_millis(),
        request = settings.request_limit.as_millis(),
    )
}

/// Reads back what safety rests on. The timeline is that of the WAL that the server writes now: what
/// `pg_control_checkpoint` tells stays behind after a promotion.
pub(super) async fn verify(client: &Client, target: &Target) -> Result<u32, OpenError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4 AS version,
                 pg_is_in_recovery() AS is_standby,
                 CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
                 current_setting('synchronous_commit') AS synchronous_commit,
                 current_setting('fsync') AS fsync,
                 current_setting('full_page_writes') AS full_page_writes,
                 current_setting('default_transaction_isolation') AS default_transaction_isolation,
                 current_setting('default_transaction_read_only') AS default_transaction_read_only",
            &[],
        )
        .await
        .map_err(|error| OpenError::connecting(target, &error))?;
    let failed = |error: tokio_postgres::Error| OpenError::connecting(target, &error);
    let found: i32 = row.try_get("version").map_err(failed)?;
    if found < VERSION_MIN {
        return Err(OpenError::TooOld {
            server: target.name.clone(),
            found: found / 10_000,
            needed: VERSION_MIN / 10_000,
        });
    }
    let file: Option<String> = row.try_get("wal_file").map_err(failed)?;
    let (Some(file), false) = (file, row.try_get("is_standby").map_err(failed)?) else {
        return Err(OpenError::Standby {
            server: target.name.clone(),
        });
    };
    for (setting, expected) in [
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "off"),
    ] {
        let found: String = row.try_get(setting).map_err(failed)?;
        // A file system that never tears a page may do without.
        let is_needed = setting != "full_page_writes";
        if found != expected && is_needed {
            return Err(OpenError::NotDurable {
                server: target.name.clone(),
                setting,
                found,
            });
        }
        if found != expected {
            warn!(
                setting,
                found, "the metadata database relies on its file system to write whole pages"
            );
        }
    }
    timeline(&file).ok_or_else(|| OpenError::Unreachable {
        server: target.name.clone(),
        reason: format!("its WAL file is named {file:?}, which tells no timeline"),
    })
}

/// The timeline in the name of a WAL file: its first eight digits, hexadecimal.
fn timeline(wal_file: &str) -> Option<u32> {
    u32::from_str_radix(wal_file.get(..8)?, 16).ok()
}

/// Moves the connection along until it ends or is thrown away.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    notices: Arc<Notices>,
    abandoned: oneshot::Receiver<()>,
    last_word: oneshot::Sender<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let talk = pin!(async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    notices.hear(&notice);
                    warn!(
                        code = notice.code().code(),
                        message = notice.message(),
                        "the metadata database warns"
                    );
                }
                Ok(AsyncMessage::Notification(told)) => notices.hear_of(told.payload()),
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "a connection to the metadata database ended");
                    return;
                }
            }
        }
    });
    let thrown_away = pin!(async {
        if abandoned.await.is_err() {
            // The session was dropped in peace: what is under way on it ends first.
            std::future::pending::<()>().await;
        }
    });
    // Both arms may be dropped: the connection closes its socket with them.
    match select(talk, thrown_away).await {
        Either::Left(_) | Either::Right(_) => {}
    }
    drop(last_word);
}
