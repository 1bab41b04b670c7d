//! A history: what real clients did and saw, one event a line, in the order in which the harness learned of it.
//!
//! A line is `MILLISECONDS WHO WHAT ...`, parted by spaces. What takes time has two lines: a question, written down before the
//! client is asked (its name ends in `?`), and the answer, written down after it came. So a question stands before the moment
//! at which the client began, the answer behind the moment at which it ended, and whatever stands before a question was over
//! when it was asked. No clock is compared with another.

use std::fmt;
use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The first line of a saved history begins so.
const HEAD: &str = "history 1 seed";

/// A client or the nemesis, as an index into the names of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who(pub(crate) u16);

/// A record, named by who sent it and the how-manieth of that sender it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId {
    pub(crate) producer: Who,
    pub(crate) number: u32,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends with idempotence and acks=all.
    Producer,
    /// Reads partitions that were assigned by hand, while others write.
    Reader,
    /// Reads everything when all is over.
    Final,
    /// Is a member of the one group of the history.
    Member,
    /// Asks where partitions begin and end and what the group has committed.
    Watcher,
    /// Does the broker harm.
    Nemesis,
}

/// What the nemesis did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` and a start on the same folder.
    Kill,
    /// From here on, so many answers to Produce do not arrive; then a kill.
    Lose(u32),
    /// SIGSTOP, and SIGCONT after this many milliseconds.
    Stop(u32),
    /// SIGTERM and a start.
    Restart,
    /// The folder was replaced by an earlier copy: the broker must be found guilty of what follows.
    Rewind,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Role(Role),
    /// The client is given a record.
    Send {
        number: u32,
        partition: i32,
        /// CRC-32 of key, value and headers.
        digest: u32,
        /// Milliseconds since 1970.
        timestamp: i64,
    },
    /// The record was acknowledged; some clients do not tell the offset of what they had to send twice.
    Ack {
        number: u32,
        partition: i32,
        offset: Option<i64>,
    },
    /// The client says that it never sent the record.
    Failed {
        number: u32,
    },
    /// The client gave up; the record may be there.
    Unknown {
        number: u32,
    },
    /// The consumer reads this partition from now on; a member does not know from where.
    Assigned {
        partition: i32,
        from: Option<i64>,
    },
    /// The consumer no longer reads it.
    Revoked {
        partition: i32,
    },
    /// A record came. Without an id, nobody could tell what it is.
    Read {
        partition: i32,
        offset: i64,
        record: Option<RecordId>,
        digest: u32,
        timestamp: i64,
    },
    /// A final reader has read a partition up to its end.
    Whole {
        partition: i32,
        end: i64,
    },
    EndsAsked,
    Ends {
        partition: i32,
        start: i64,
        end: i64,
    },
    CommitAsked,
    Commit {
        partition: i32,
        offset: i64,
        is_acknowledged: bool,
    },
    CommittedAsked,
    Committed {
        partition: i32,
        offset: Option<i64>,
    },
    Fault(Fault),
    /// Words for people.
    Note,
}

/// An event with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Milliseconds since the run began, for people.
    pub(crate) at_ms: u32,
    pub(crate) who: Who,
    pub(crate) what: What,
}

/// A whole history; some 50 bytes an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) seed: u64,
    names: Vec<String>,
    pub(crate) events: Vec<Event>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The one with this name, known or not.
    pub(crate) fn who(&mut self, name: &str) -> Result<Who> {
        // A dozen names: looking through them costs less than a map.
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        Ok(Who(
            u16::try_from(index).context("more names than a history can hold")?
        ))
    }

    /// The name of a client.
    pub(crate) fn name(&self, who: Who) -> &str {
        self.names
            .get(usize::from(who.0))
            .map_or("?", String::as_str)
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.names.len()
    }

    /// Adds an event that the harness itself knows of.
    pub(crate) fn push(&mut self, at_ms: u32, name: &str, what: What) -> Result<()> {
        let who = self.who(name)?;
        self.events.push(Event { at_ms, who, what });
        Ok(())
    }

    /// Adds what a client said: `WHO WHAT ...`.
    pub(crate) fn push_line(&mut self, at_ms: u32, line: &str) -> Result<Event> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let what = self
            .what(&mut words)
            .with_context(|| format!("not an event: {line:.200}"))?;
        let who = self.who(name)?;
        let event = Event { at_ms, who, what };
        self.events.push(event);
        Ok(event)
    }

    fn what<'a>(&mut self, words: &mut impl Iterator<Item = &'a str>) -> Result<What> {
        let kind = words.next().context("no kind")?;
        let mut next = || words.next().context("a word is missing");
        Ok(match kind {
            "role" => What::Role(role(next()?)?),
            "send" => What::Send {
                number: next()?.parse()?,
                partition: next()?.parse()?,
                digest: u32::from_str_radix(next()?, 16)?,
                timestamp: next()?.parse()?,
            },
            "ack" => What::Ack {
                number: next()?.parse()?,
                partition: next()?.parse()?,
                offset: optional(next()?)?,
            },
            "failed" => What::Failed {
                number: next()?.parse()?,
            },
            "unknown" => What::Unknown {
                number: next()?.parse()?,
            },
            "assigned" => What::Assigned {
                partition: next()?.parse()?,
                from: optional(next()?)?,
            },
            "revoked" => What::Revoked {
                partition: next()?.parse()?,
            },
            "read" => {
                let (partition, offset) = (next()?.parse()?, next()?.parse()?);
                let record = self.record(next()?)?;
                What::Read {
                    partition,
                    offset,
                    record,
                    digest: u32::from_str_radix(next()?, 16)?,
                    timestamp: next()?.parse()?,
                }
            }
            "whole" => What::Whole {
                partition: next()?.parse()?,
                end: next()?.parse()?,
            },
            "ends?" => What::EndsAsked,
            "ends" => What::Ends {
                partition: next()?.parse()?,
                start: next()?.parse()?,
                end: next()?.parse()?,
            },
            "commit?" => What::CommitAsked,
            "commit" => What::Commit {
                partition: next()?.parse()?,
                offset: next()?.parse()?,
                is_acknowledged: match next()? {
                    "ok" => true,
                    "unknown" => false,
                    other => bail!("a commit is ok or unknown, not {other}"),
                },
            },
            "committed?" => What::CommittedAsked,
            "committed" => What::Committed {
                partition: next()?.parse()?,
                offset: optional(next()?)?,
            },
            "fault" => What::Fault(fault(words)?),
            "note" => What::Note,
            other => bail!("no such event: {other}"),
        })
    }

    /// `PRODUCER.NUMBER`, or `-`.
    fn record(&mut self, word: &str) -> Result<Option<RecordId>> {
        if word == "-" {
            return Ok(None);
        }
        let (producer, number) = word.rsplit_once('.').context("a record is NAME.NUMBER")?;
        Ok(Some(RecordId {
            producer: self.who(producer)?,
            number: number.parse()?,
        }))
    }

    /// An event as a line.
    pub(crate) fn line(&self, event: &Event) -> String {
        let (at_ms, name) = (event.at_ms, self.name(event.who));
        let shown = Shown {
            history: self,
            what: event.what,
        };
        format!("{at_ms} {name} {shown}")
    }

    /// Writes it down.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let file = std::fs::File::create(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = std::io::BufWriter::new(file);
        writeln!(file, "{HEAD} {}", self.seed)?;
        for event in &self.events {
            writeln!(file, "{}", self.line(event))?;
        }
        Ok(file.flush()?)
    }

    /// Reads what `save` wrote. The n-th event stands in line n + 2.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = std::io::BufReader::new(file).lines();
        let head = lines.next().context("an empty file")??;
        let seed = head.strip_prefix(HEAD).map(str::trim);
        let mut history = Self::new(seed.context("not a history")?.parse()?);
        for (index, line) in lines.enumerate() {
            let line = line?;
            let (at_ms, rest) = line.split_once(' ').unwrap_or_default();
            let added = at_ms
                .parse()
                .map_err(anyhow::Error::from)
                .and_then(|at_ms| history.push_line(at_ms, rest));
            added.with_context(|| format!("line {}", index + 2))?;
        }
        ensure!(!history.events.is_empty(), "a history without events");
        Ok(history)
    }
}

/// An event as text; names come from its history.
struct Shown<'a> {
    history: &'a History,
    what: What,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Role(role) => write!(f, "role {}", role.name()),
            What::Send {
                number,
                partition,
                digest,
                timestamp,
            } => write!(f, "send {number} {partition} {digest:08x} {timestamp}"),
            What::Ack {
                number,
                partition,
                offset,
            } => write!(f, "ack {number} {partition} {}", or_dash(offset)),
            What::Failed { number } => write!(f, "failed {number}"),
            What::Unknown { number } => write!(f, "unknown {number}"),
            What::Assigned { partition, from } => {
                write!(f, "assigned {partition} {}", or_dash(from))
            }
            What::Revoked { partition } => write!(f, "revoked {partition}"),
            What::Read {
                partition,
                offset,
                record,
                digest,
                timestamp,
            } => {
                let record = record.map_or_else(
                    || "-".to_owned(),
                    |id| format!("{}.{}", self.history.name(id.producer), id.number),
                );
                write!(
                    f,
                    "read {partition} {offset} {record} {digest:08x} {timestamp}"
                )
            }
            What::Whole { partition, end } => write!(f, "whole {partition} {end}"),
            What::EndsAsked => write!(f, "ends?"),
            What::Ends {
                partition,
                start,
                end,
            } => write!(f, "ends {partition} {start} {end}"),
            What::CommitAsked => write!(f, "commit?"),
            What::Commit {
                partition,
                offset,
                is_acknowledged,
            } => {
                let outcome = if is_acknowledged { "ok" } else { "unknown" };
                write!(f, "commit {partition} {offset} {outcome}")
            }
            What::CommittedAsked => write!(f, "committed?"),
            What::Committed { partition, offset } => {
                write!(f, "committed {partition} {}", or_dash(offset))
            }
            What::Fault(Fault::Kill) => write!(f, "fault kill"),
            What::Fault(Fault::Lose(answers)) => write!(f, "fault lose {answers}"),
            What::Fault(Fault::Stop(length)) => write!(f, "fault stop {length}"),
            What::Fault(Fault::Restart) => write!(f, "fault restart"),
            What::Fault(Fault::Rewind) => write!(f, "fault rewind"),
            What::Note => write!(f, "note"),
        }
    }
}

impl Role {
    /// Its word in a line.
    fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Reader => "reader",
            Self::Final => "final",
            Self::Member => "member",
            Self::Watcher => "watcher",
            Self::Nemesis => "nemesis",
        }
    }
}

fn role(word: &str) -> Result<Role> {
    let roles = [
        Role::Producer,
        Role::Reader,
        Role::Final,
        Role::Member,
        Role::Watcher,
        Role::Nemesis,
    ];
    let found = roles.into_iter().find(|role| role.name() == word);
    found.with_context(|| format!("no such role: {word}"))
}

fn fault<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Fault> {
    let mut next = || words.next().context("a word is missing");
    Ok(match next()? {
        "kill" => Fault::Kill,
        "restart" => Fault::Restart,
        "rewind" => Fault::Rewind,
        "lose" => Fault::Lose(next()?.parse()?),
        "stop" => Fault::Stop(next()?.parse()?),
        other => bail!("no such fault: {other}"),
    })
}

fn optional(word: &str) -> Result<Option<i64>> {
    if word == "-" {
        return Ok(None);
    }
    Ok(Some(word.parse()?))
}

fn or_dash(offset: Option<i64>) -> String {
    offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
}
