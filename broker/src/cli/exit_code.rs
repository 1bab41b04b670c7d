//! How `streamhouse` ends: every exit code with its meaning, in one table.
//!
//! The numbers are those of `sysexits.h` where it has one, so that service managers and scripts can tell what may be
//! tried again. They are an interface: never give one another meaning. The table is shown by `--help` and is the page
//! `docs/reference/exit-codes.md`, which a test keeps equal to it.

/// A way to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for was done.
    Success,
    /// A broker refused the request, or the thing does not exist.
    Refused,
    /// The command line cannot be understood.
    Usage,
    /// Data that was read is not what it should be.
    Data,
    /// The port is taken, or no broker answers.
    Unavailable,
    /// An invariant was broken.
    Software,
    /// The system refuses what every program needs.
    System,
    /// A folder cannot be created or used.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// Another process uses the data folder.
    InUse,
    /// The peer does not speak the Kafka protocol as it should.
    Protocol,
    /// The settings are wrong.
    Config,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitLine {
    /// The way to end.
    pub exit: Exit,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All ways to end, by number.
pub const TABLE: &[ExitLine] = &[
    ExitLine {
        exit: Exit::Success,
        meaning: "done; for a broker: stopped because it was asked to",
        remedy: "nothing",
    },
    ExitLine {
        exit: Exit::Refused,
        meaning: "a broker refused the request; the text has its code and its words",
        remedy: "change the request",
    },
    ExitLine {
        exit: Exit::Usage,
        meaning: "the command line cannot be understood",
        remedy: "see --help of the command",
    },
    ExitLine {
        exit: Exit::Data,
        meaning: "data cannot be used: input records, or a data folder that is damaged or of another version",
        remedy: "see the text; the data was left as it is",
    },
    ExitLine {
        exit: Exit::Unavailable,
        meaning: "the port is taken, or no broker, database or object store answers in time",
        remedy: "choose another port, or start what does not answer; then try again",
    },
    ExitLine {
        exit: Exit::Software,
        meaning: "an invariant of StreamHouse was broken; the broker stopped rather than go on",
        remedy: "start it again, and report the log lines",
    },
    ExitLine {
        exit: Exit::System,
        meaning: "the system refuses what every program needs: threads, signals",
        remedy: "raise the limits of this user",
    },
    ExitLine {
        exit: Exit::CannotCreate,
        meaning: "the data folder cannot be created or written",
        remedy: "name a folder that this user may write",
    },
    ExitLine {
        exit: Exit::Io,
        meaning: "reading or writing failed: the WAL could not be made durable, or input or output broke",
        remedy: "check disk and space; acknowledged records are kept and recovered at the next start",
    },
    ExitLine {
        exit: Exit::InUse,
        meaning: "another process uses the data folder",
        remedy: "stop that process, or name another folder; then try again",
    },
    ExitLine {
        exit: Exit::Protocol,
        meaning: "the peer speaks no Kafka, or no version of it that is spoken here",
        remedy: "check the address",
    },
    ExitLine {
        exit: Exit::Config,
        meaning: "settings are wrong; every problem is listed",
        remedy: "correct them; see `streamhouse config check`",
    },
];

/// The table as `--help` shows it.
pub(super) fn help() -> String {
    let lines = TABLE
        .iter()
        .map(|line| format!("\n  {:>2}  {}", line.exit.number(), line.meaning));
    format!("Exit codes:{}", lines.collect::<String>())
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::System => 71,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::InUse => 75,
            Self::Protocol => 76,
            Self::Config => 78,
        }
    }
}
