//! Why a command failed, in one sentence for people, and with which exit code.

use std::io;

use streamhouse_client::{ClientError, ErrorKind};
use streamhouse_config::Problems;
use streamhouse_log::open::OpenError;
use streamhouse_metadata::postgres::OpenError as PostgresError;
use streamhouse_storage::objects::{ClaimError, OpenObjectsError, ProbeError};
use streamhouse_storage::wal::WalOpenError;

use super::exit_code::Exit;
use crate::assembly::StartError;
use crate::data_dir::DataDirError;
use crate::membership::JoinError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Arguments contradict each other in a way that only their values show.
    #[error("{0}")]
    Usage(String),
    /// Every broker that was started has ended.
    #[error("all brokers have ended; see their last words above")]
    AllEnded,
    /// The settings are wrong.
    #[error("the settings cannot be used:\n{0}")]
    Settings(#[from] Problems),
    /// A folder is needed and there is none.
    #[error("{0}")]
    NoFolder(String),
    /// The broker did not start, or ended.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request to a broker failed.
    #[error("{}", chain(_0))]
    Client(#[from] ClientError),
    /// What is asked for cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// What was read cannot be used.
    #[error("{0}")]
    Data(String),
    /// Input or output broke.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The reader of our output is gone.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// How the process ends.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Settings(_) => Exit::Config,
            Self::NoFolder(_) => Exit::CannotCreate,
            Self::Start(error) => of_start(error),
            Self::Client(error) => match error.kind() {
                ErrorKind::Caller => Exit::Usage,
                ErrorKind::Unavailable => Exit::Unavailable,
                ErrorKind::Refused => Exit::Refused,
                ErrorKind::Protocol => Exit::Protocol,
            },
            Self::Refused(_) => Exit::Refused,
            Self::AllEnded => Exit::Unavailable,
            Self::Data(_) => Exit::Data,
            Self::Io { .. } => Exit::Io,
            Self::OutputClosed => Exit::Success,
        }
    }

    /// An error of standard output: a closed pipe ends us quietly.
    pub(super) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Io {
                what: "the output cannot be written",
                source,
            }
        }
    }
}

/// How a process ends whose broker did not start, or ended by itself.
fn of_start(error: &StartError) -> Exit {
    match error {
        StartError::DataDir(DataDirError::InUse { .. }) => Exit::InUse,
        StartError::DataDir(DataDirError::OtherCluster { .. })
        | StartError::OtherCluster { .. }
        | StartError::ObjectsNotShared
        | StartError::Objects(OpenObjectsError::S3(_))
        | StartError::Claim(
            ClaimError::Taken { .. } | ClaimError::NotOurs { .. } | ClaimError::NoId { .. },
        )
        | StartError::Shards { .. }
        | StartError::Join(JoinError::Twin { .. })
        | StartError::Address { .. } => Exit::Config,
        StartError::DataDir(DataDirError::Unusable { .. })
        | StartError::WalDir { .. }
        | StartError::Objects(OpenObjectsError::Folder(_)) => Exit::CannotCreate,
        StartError::Listen(_)
        | StartError::MetricsAddress { .. }
        | StartError::Join(JoinError::Register(_) | JoinError::Heartbeat(_))
        | StartError::Claim(ClaimError::Unavailable { .. }) => Exit::Unavailable,
        StartError::Postgres(error) => of_postgres(error),
        StartError::Probe(error) => of_probe(error),
        StartError::Log(OpenError::Wal(WalOpenError::Io { .. })) => Exit::Io,
        StartError::DataDir(
            DataDirError::Foreign { .. }
            | DataDirError::Incomplete { .. }
            | DataDirError::Losses { .. }
            | DataDirError::OtherVersion { .. },
        )
        | StartError::MetadataOpen(_)
        | StartError::Metadata(_)
        | StartError::Initialise(_)
        | StartError::Log(_)
        | StartError::Damage { .. }
        | StartError::Groups(_) => Exit::Data,
        StartError::Signals(_) => Exit::System,
        StartError::TaskFailed => Exit::Software,
    }
}

fn of_postgres(error: &PostgresError) -> Exit {
    match error {
        PostgresError::Settings { .. }
        | PostgresError::Certificates { .. }
        | PostgresError::Refused { .. }
        | PostgresError::TooOld { .. }
        | PostgresError::NotDurable { .. } => Exit::Config,
        PostgresError::Unreachable { .. }
        | PostgresError::Standby { .. }
        | PostgresError::Replaced { .. }
        | PostgresError::Busy { .. } => Exit::Unavailable,
        PostgresError::Newer { .. }
        | PostgresError::NotOurs { .. }
        | PostgresError::Damaged { .. } => Exit::Data,
    }
}

fn of_probe(error: &ProbeError) -> Exit {
    match error {
        ProbeError::NoBucket { .. }
        | ProbeError::WrongRegion { .. }
        | ProbeError::WrongCredentials { .. }
        | ProbeError::NoCredentials { .. }
        | ProbeError::AccessDenied { .. }
        | ProbeError::ClockSkew { .. }
        | ProbeError::NotExclusive
        | ProbeError::Spoiled => Exit::Config,
        ProbeError::Unreachable { .. } | ProbeError::Refused { .. } => Exit::Unavailable,
    }
}

/// An error with its causes, as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = source.source();
    }
    text
}
