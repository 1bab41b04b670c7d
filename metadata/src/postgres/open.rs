//! Opening the store in PostgreSQL: whether the server can be trusted with commits, whose schema it is, and bringing the
//! schema up to date while other brokers may do the same.

use refinery::error::Kind;
use streamhouse_runtime::{Ambient, deadline};

use super::session::Session;
use super::settings::{PostgresSettings, Target, target};
use super::tls::Connector;
use crate::store::Class;

/// The first half of the key of the lock under which the schema is changed ("SHMD"); the second is the schema's name.
/// Every version must take the same lock: never change.
const MIGRATION_LOCK: i32 = 0x5348_4d44;

mod embedded {
    refinery::embed_migrations!("src/postgres/migrations");
}

/// Why the metadata database was not opened. Nothing was changed in it, except perhaps a migration that was finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A setting is wrong.
    #[error("{reason}")]
    Settings {
        /// Which, and what to choose.
        reason: String,
    },
    /// The certificates that the server is to be checked with cannot be used.
    #[error("the certificate of the metadata database cannot be checked: {reason}")]
    Certificates {
        /// Why not.
        reason: String,
    },
    /// No connection could be made in time.
    #[error(
        "metadata database {server} cannot be reached: {reason}; check that it runs, its address and the network"
    )]
    Unreachable {
        /// Database, host and port.
        server: String,
        /// What the system or the library said.
        reason: String,
    },
    /// The server does not let us in.
    #[error(
        "metadata database {server} refuses the connection: {reason}; check user, password and rights"
    )]
    Refused {
        /// Database, host and port.
        server: String,
        /// What the server said.
        reason: String,
    },
    /// The server takes no writes.
    #[error(
        "metadata database {server} is a standby; connect to the primary, or name all servers in the URL"
    )]
    Standby {
        /// Database, host and port.
        server: String,
    },
    /// The server is on an earlier timeline than this process has seen: a primary that was replaced.
    #[error(
        "metadata database {server} is on timeline {found}, and timeline {seen} was seen before: \
         it was replaced by another primary; shut it down"
    )]
    Replaced {
        /// Database, host and port.
        server: String,
        /// Its timeline.
        found: u32,
        /// The newest one that was seen.
        seen: u32,
    },
    /// The server is too old.
    #[error(
        "metadata database {server} is PostgreSQL {found}; PostgreSQL {needed} or later is needed"
    )]
    TooOld {
        /// Database, host and port.
        server: String,
        /// Its major version.
        found: i32,
        /// The oldest that is supported.
        needed: i32,
    },
    /// The server would not make commits durable.
    #[error(
        "metadata database {server} does not keep what it commits: {setting} is {found}; correct its configuration"
    )]
    NotDurable {
        /// Database, host and port.
        server: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
    },
    /// A later version of StreamHouse has written the schema.
    #[error(
        "schema {schema:?} of metadata database {server} has version {found}, this version knows versions up to {known}; \
         start the version that wrote it, or a later one"
    )]
    Newer {
        /// Database, host and port.
        server: String,
        /// The schema.
        schema: String,
        /// Its version.
        found: i32,
        /// The newest that is known.
        known: i32,
    },
    /// The schema holds tables of somebody else.
    #[error(
        "schema {schema:?} of metadata database {server} holds tables that are not StreamHouse's; choose another schema"
    )]
    NotOurs {
        /// Database, host and port.
        server: String,
        /// The schema.
        schema: String,
    },
    /// Another broker changes the schema and does not finish.
    #[error(
        "schema {schema:?} of metadata database {server} was not brought up to date in time: {reason}; \
         look for another broker that starts, and for locks on its tables"
    )]
    Busy {
        /// Database, host and port.
        server: String,
        /// The schema.
        schema: String,
        /// What was waited for.
        reason: String,
    },
    /// The schema is not what a migration left.
    #[error(
        "schema {schema:?} of metadata database {server} is damaged: {reason}; restore it from a copy"
    )]
    Damaged {
        /// Database, host and port.
        server: String,
        /// The schema.
        schema: String,
        /// What is wrong.
        reason: String,
    },
}

impl OpenError {
    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Settings { .. } | Self::Certificates { .. } => Class::Caller,
            Self::Newer { .. } | Self::NotOurs { .. } | Self::TooOld { .. } => Class::Conflict,
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Standby { .. }
            | Self::Replaced { .. }
            | Self::NotDurable { .. }
            | Self::Busy { .. } => Class::Unavailable,
            Self::Damaged { .. } => Class::Corrupt,
        }
    }

    /// What an error says that came while a connection was made.
    pub(super) fn connecting(target: &Target, error: &tokio_postgres::Error) -> Self {
        let server = target.name.clone();
        match error.as_db_error() {
            Some(told) => Self::Refused {
                server,
                reason: format!("{} ({})", told.message(), told.code().code()),
            },
            None => Self::Unreachable {
                server,
                reason: with_cause(error),
            },
        }
    }
}

/// Checks the settings and makes what connections are made with.
pub(super) fn prepare(settings: &PostgresSettings) -> Result<(Target, Connector), OpenError> {
    let target = target(settings)?;
    let connector = Connector::new(&target.trust)?;
    Ok((target, connector))
}

/// Makes a connection within its limit.
pub(super) async fn connect(
    target: &Target,
    connector: &Connector,
    settings: &PostgresSettings,
    ambient: &Ambient,
) -> Result<Session, OpenError> {
    let limit = ambient.clock.monotonic() + settings.connect_limit;
    let connecting = Session::connect(target, connector, settings, ambient);
    match deadline(&*ambient.clock, limit, connecting).await {
        Some(connected) => connected,
        None => Err(OpenError::Unreachable {
            server: target.name.clone(),
            reason: format!("it did not answer within {:?}", settings.connect_limit),
        }),
    }
}

/// Brings the schema up to date on a connection of its own, which ends with it: the lock ends with the connection.
pub(super) async fn migrate(
    mut session: Session,
    target: &Target,
    settings: &PostgresSettings,
    ambient: &Ambient,
) -> Result<(), OpenError> {
    let limit = ambient.clock.monotonic() + settings.migration_limit;
    let work = migrate_locked(&mut session, target, settings);
    let migrated = deadline(&*ambient.clock, limit, work).await;
    match migrated {
        Some(result) => result,
        None => {
            // What it has begun is undone when the server sees that the connection is gone.
            session.throw_away();
            Err(busy(target, settings, "the limit has passed".to_owned()))
        }
    }
}

fn busy(target: &Target, settings: &PostgresSettings, reason: String) -> OpenError {
    OpenError::Busy {
        server: target.name.clone(),
        schema: settings.schema.clone(),
        reason,
    }
}

async fn migrate_locked(
    session: &mut Session,
    target: &Target,
    settings: &PostgresSettings,
) -> Result<(), OpenError> {
    let client = session.client();
    let failed = |error: tokio_postgres::Error| OpenError::connecting(target, &error);
    // A migration may take longer than a statement of the broker, and wait longer for a table.
    let limit = settings.migration_limit.as_millis();
    client
        .batch_execute(&format!(
            "SET statement_timeout = {limit}; SET lock_timeout = {limit}"
        ))
        .await
        .map_err(failed)?;
    client
        .execute(
            "SELECT pg_advisory_lock($1, hashtext($2))",
            &[&MIGRATION_LOCK, &settings.schema],
        )
        .await
        .map_err(|error| busy(target, settings, with_cause(&error)))?;
    let known = known_version();
    match schema_version(client, &settings.schema)
        .await
        .map_err(failed)?
    {
        Found::Foreign => {
            return Err(OpenError::NotOurs {
                server: target.name.clone(),
                schema: settings.schema.clone(),
            });
        }
        Found::Version(found) if found > known => {
            return Err(OpenError::Newer {
                server: target.name.clone(),
                schema: settings.schema.clone(),
                found,
                known,
            });
        }
        Found::Nothing => client
            .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", settings.schema))
            .await
            .map_err(failed)?,
        Found::Version(_) => {}
    }
    // In one transaction: a crash between a change and the note that it was made would leave what nobody opens.
    let runner = embedded::migrations::runner().set_grouped(true);
    match runner.run_async(client).await {
        Ok(_) => Ok(()),
        // The server or the way to it failed, not the schema.
        Err(error) if matches!(error.kind(), Kind::Connection(..)) => {
            Err(busy(target, settings, with_cause(&error)))
        }
        Err(error) => Err(OpenError::Damaged {
            server: target.name.clone(),
            schema: settings.schema.clone(),
            reason: error.to_string(),
        }),
    }
}

/// An error and what caused it: the libraries' own text often names no cause.
pub(super) fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn known_version() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

enum Found {
    /// No schema, or an empty one.
    Nothing,
    /// Ours, with the newest migration that it has seen.
    Version(i32),
    /// Tables, and none of them the history of our migrations.
    Foreign,
}

async fn schema_version(
    client: &tokio_postgres::Client,
    schema: &str,
) -> Result<Found, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT count(*) AS tables, count(*) FILTER (WHERE tablename = 'refinery_schema_history') AS history,
                 EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS is_there
             FROM pg_tables WHERE schemaname = $1",
            &[&schema],
        )
        .await?;
    let (tables, history): (i64, i64) = (row.try_get("tables")?, row.try_get("history")?);
    if history == 0 {
        // Without the right to make schemas, an empty one that somebody else made will do.
        let is_there: bool = row.try_get("is_there")?;
        return Ok(match (tables, is_there) {
            (0, true) => Found::Version(0),
            (0, false) => Found::Nothing,
            _ => Found::Foreign,
        });
    }
    let row = client
        .query_one(
            "SELECT coalesce(max(version), 0)::int4 AS version FROM refinery_schema_history",
            &[],
        )
        .await?;
    Ok(Found::Version(row.try_get("version")?))
}
