//! How `streamhouse` ends: every exit code with its meaning, in one table.
//!
//! The numbers are those of `sysexits.h` where it has one, so that service managers and scripts can tell what may be
//! tried again. They are an interface: never give one another meaning. The table is shown by `--help` and is the page
//! `docs/reference/exit-codes.md`.

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
    /// Its number.
    pub number: u8,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All ways to end, by number.
pub const TABLE: &[ExitLine] = &[
    ExitLine {
        exit: Exit::Success,
        number: 0,
        meaning: "done; for a broker: stopped because it was asked to",
        remedy: "nothing",
    },
    ExitLine {
        exit: Exit::Refused,
        number: 1,
        meaning: "a broker refused the request; the text has its code and its words",
        remedy: "change the request",
    },
    ExitLine {
        exit: Exit::Usage,
        number: 2,
        meaning: "the command line cannot be understood",
        remedy: "see --help of the command",
    },
    ExitLine {
        exit: Exit::Data,
        number: 65,
        meaning: "data cannot be used: input records, or a data folder that is damaged or of another version",
        remedy: "see the text; the data was left as it is",
    },
    ExitLine {
        exit: Exit::Unavailable,
        number: 69,
        meaning: "the port is taken, or no broker answers in time",
        remedy: "choose another port, or start the broker; then try again",
    },
    ExitLine {
        exit: Exit::Software,
        number: 70,
        meaning: "an invariant of StreamHouse was broken; the broker stopped rather than go on",
        remedy: "start it again, and report the log lines",
    },
    ExitLine {
        exit: Exit::System,
        number: 71,
        meaning: "the system refuses what every program needs: threads, signals",
        remedy: "raise the limits of this user",
    },
    ExitLine {
        exit: Exit::CannotCreate,
        number: 73,
        meaning: "the data folder cannot be created or written",
        remedy: "name a folder that this user may write",
    },
    ExitLine {
        exit: Exit::Io,
        number: 74,
        meaning: "reading or writing failed: the WAL could not be made durable, or input or output broke",
        remedy: "check disk and space; acknowledged records are kept and recovered at the next start",
    },
    ExitLine {
        exit: Exit::InUse,
        number: 75,
        meaning: "another process uses the data folder",
        remedy: "stop that process, or name another folder; then try again",
    },
    ExitLine {
        exit: Exit::Protocol,
        number: 76,
        meaning: "the peer speaks no Kafka, or no version of it that is spoken here",
        remedy: "check the address",
    },
    ExitLine {
        exit: Exit::Config,
        number: 78,
        meaning: "settings are wrong; every problem is listed",
        remedy: "correct them; see `streamhouse config check`",
    },
];

/// The table as `--help` shows it; a test keeps it equal to [`TABLE`].
pub const HELP: &str = "\
Exit codes:
   0  done; for a broker: stopped because it was asked to
   1  a broker refused the request; the text has its code and its words
   2  the command line cannot be understood
  65  data cannot be used: input records, or a data folder that is damaged or of another version
  69  the port is taken, or no broker answers in time
  70  an invariant of StreamHouse was broken; the broker stopped rather than go on
  71  the system refuses what every program needs: threads, signals
  73  the data folder cannot be created or written
  74  reading or writing failed: the WAL could not be made durable, or input or output broke
  75  another process uses the data folder
  76  the peer speaks no Kafka, or no version of it that is spoken here
  78  settings are wrong; every problem is listed";

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
