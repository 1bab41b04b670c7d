//! Who set what: origins, assignments, and what went wrong or is worth saying.

use std::fmt;

/// A source's strength; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The defaults of a profile.
    Profile,
    /// A file; later files are stronger.
    File(usize),
    /// `KAFKA_*` variables.
    KafkaEnvironment,
    /// `STREAMHOUSE_*` variables.
    Environment,
    /// `--set`.
    CommandLine,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(crate) layer: Layer,
    place: String,
}

impl Origin {
    pub(crate) fn new(layer: Layer, place: String) -> Self {
        Self { layer, place }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// A key, a value and where they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The key as written: `section.field` or a Kafka key.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// Something that keeps the settings from being used. Nothing was started or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key or file at fault.
    pub key: String,
    /// One sentence: value, origin, bound and remedy.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(key: &str, text: String) -> Self {
        Self {
            key: key.to_owned(),
            text,
        }
    }

    /// A value that its setting refuses.
    pub(crate) fn of_value(assignment: &Assignment, reason: &str) -> Self {
        let Assignment { key, value, origin } = assignment;
        Self::new(
            key,
            format!("{value:?} (from {origin}) is not allowed: {reason}"),
        )
    }

    /// A file or variable that cannot be used.
    pub(crate) fn of_source(name: &str, reason: &str) -> Self {
        Self::new(name, reason.to_owned())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// All problems of a set of sources, one per line. Correct each of them and start again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// How loudly a note is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    /// Harmless: a key of Kafka that changes nothing here.
    Note,
    /// Perhaps a mistake: a key that nobody knows.
    Warning,
}

/// Something that the user should know once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How loudly.
    pub level: NoteLevel,
    /// One sentence.
    pub text: String,
}

/// What the sources said, before it is decided which one wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    /// Keys written as `section.field`.
    pub(crate) native: Vec<Assignment>,
    /// Kafka keys.
    pub(crate) kafka: Vec<Assignment>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
}

impl Gathered {
    pub(crate) fn native(&mut self, key: &str, value: &str, origin: Origin) {
        self.native.push(Assignment {
            key: key.to_owned(),
            value: value.to_owned(),
            origin,
        });
    }

    pub(crate) fn kafka(&mut self, key: &str, value: &str, origin: Origin) {
        self.kafka.push(Assignment {
            key: key.to_owned(),
            value: value.to_owned(),
            origin,
        });
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn warning(&mut self, text: String) {
        self.notes.push(Note {
            level: NoteLevel::Warning,
            text,
        });
    }
}
