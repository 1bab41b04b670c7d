//! Opening the file of the embedded metadata store: whose it is, which schema it has, and whether COMMIT will be durable.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::store::Class;

/// Marks a file as ours ("SHMD"). On disk: never change.
const APPLICATION_ID: i32 = 0x5348_4d44;

/// How many prepared statements are kept.
const STATEMENTS_MAX: usize = 96;

/// The journal shrinks to this after a burst.
const JOURNAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// `PRAGMA synchronous` as a number: FULL.
const SYNCHRONOUS_FULL: i64 = 2;

mod embedded {
    refinery::embed_migrations!("src/sqlite/migrations");
}

/// Why the metadata database was not opened. Nothing was changed in it, except perhaps a migration that was finished.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "metadata database {path:?} is in use by another process; stop that process or choose another data folder"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later version of StreamHouse has written it.
    #[error(
        "metadata database {path:?} has schema {found}, this version knows schemas up to {known}; \
         start the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema of this version.
        known: i64,
    },
    /// The file is something else.
    #[error(
        "file {path:?} is not a StreamHouse metadata database; bring the right file back from a copy, or choose another data folder"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error(
        "metadata database {path:?} cannot be opened for writing: {reason}; \
         check that its folder exists, may be written and has free space"
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The file is damaged, or its schema is not what a migration left.
    #[error("metadata database {path:?} is damaged: {reason}; restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// SQLite would not make commits durable.
    #[error(
        "metadata database {path:?} cannot make commits durable: {setting} is {found}; use a local file system"
    )]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
    },
    /// The thread of the database could not be started.
    #[error(
        "the thread of the metadata database could not be started: {error}; check the limits of the process"
    )]
    Thread {
        /// What the system said.
        error: std::io::Error,
    },
}

impl OpenError {
    /// What the receiver should do.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Locked { .. } | Self::Newer { .. } | Self::NotOurs { .. } => Class::Conflict,
            Self::Unwritable { .. } | Self::NotDurable { .. } | Self::Thread { .. } => {
                Class::Unavailable
            }
            Self::Damaged { .. } => Class::Corrupt,
        }
    }
}

/// Opens the file, locks it, verifies durability and migrates.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(explain)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection
        .busy_timeout(std::time::Duration::ZERO)
        .map_err(explain)?;
    // Before the first access: then the lock is held until the file is closed, and no shared-memory file is needed.
    connection
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .map_err(explain)?;
    // A foreign database must not even have its journal mode changed.
    check_owner(&connection, path)?;
    make_durable(&connection, path)?;
    // Takes the lock now, and shows a read-only file, before anything else is tried.
    connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .and_then(|empty| empty.commit())
        .map_err(explain)?;
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(explain)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(explain)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(explain)?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        Ok(())
    } else {
        Err(OpenError::NotOurs {
            path: path.to_owned(),
        })
    }
}

fn make_durable(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let journal: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(explain)?;
    if journal != "wal" {
        return Err(OpenError::NotDurable {
            path: path.to_owned(),
            setting: "journal_mode",
            found: journal,
        });
    }
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(explain)?;
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(explain)?;
    if synchronous != SYNCHRONOUS_FULL {
        let found = synchronous.to_string();
        return Err(OpenError::NotDurable {
            path: path.to_owned(),
            setting: "synchronous",
            found,
        });
    }
    // Where fsync does not reach the platter (macOS), these do; elsewhere they change nothing.
    connection
        .pragma_update(None, "fullfsync", true)
        .map_err(explain)?;
    connection
        .pragma_update(None, "checkpoint_fullfsync", true)
        .map_err(explain)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", JOURNAL_BYTES_MAX, |_| Ok(()))
        .map_err(explain)?;
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(explain)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    // In one transaction: a crash between a change and the note that it was made would leave a file that nobody opens.
    let runner = embedded::migrations::runner().set_grouped(true);
    let known = runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0);
    let found = schema_version(connection).map_err(|error| explain(path, &error))?;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    match runner.run(connection) {
        Ok(_) => Ok(()),
        Err(error) => Err(OpenError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// The newest migration that the file has seen, 0 for a file without any.
fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    let history: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if history.is_none() {
        return Ok(0);
    }
    connection.query_row(
        "SELECT coalesce(max(version), 0) FROM refinery_schema_history",
        [],
        |row| row.get(0),
    )
}

fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::NotADatabase) => OpenError::NotOurs { path },
        Some(ErrorCode::DatabaseCorrupt) | None => OpenError::Damaged {
            path,
            reason: error.to_string(),
        },
        Some(_) => OpenError::Unwritable {
            path,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
