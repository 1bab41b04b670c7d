//! Who plays in a history: programs of three client libraries, each with several clients. A client is a *part*, by name.
//!
//! A program is given the address, the topic, the number of partitions and the group. Then it reads commands, `NAME WHAT ...`:
//! `producer ADDRESS`, `reader`, `member`, `watcher`, `admin` begin a part; `final END END ...` begins a reader that stops at these ends;
//! `send NUMBER PARTITION BYTES KIND`, `ask ends`, `ask committed`, `commit`, `ask create TOPIC` and the like are for a part that plays.
//! It writes events (`event.rs`), `NAME done` when a question was answered, with whatever success, and `NAME gone` when a part gave up.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::event::Role;
use super::plan::PARTITIONS;
use crate::clients::Programs;
use crate::process::Process;

/// Lines of all programs that wait to be written down; a program with more to say waits on its pipe.
const LINES_WAITING_MAX: usize = 16 << 10;

/// The part that makes noise with other topics; it has no role in the history.
pub(super) const ADMIN: &str = "librdkafka-admin";

/// A part from the beginning on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) role: Role,
    program: usize,
}

const fn part(name: &'static str, role: Role, program: usize) -> Part {
    Part {
        name,
        role,
        program,
    }
}

const JAVA: usize = 0;
const PYTHON: usize = 1;
const GO: usize = 2;

/// Those who play while the broker suffers.
pub(super) const PARTS: &[Part] = &[
    part("java-1", Role::Producer, JAVA),
    part("java-2", Role::Producer, JAVA),
    part("librdkafka-1", Role::Producer, PYTHON),
    part("librdkafka-2", Role::Producer, PYTHON),
    part("franz-1", Role::Producer, GO),
    part("franz-2", Role::Producer, GO),
    part("java-reader", Role::Reader, JAVA),
    part("librdkafka-reader", Role::Reader, PYTHON),
    part("franz-reader", Role::Reader, GO),
    part("java-member", Role::Member, JAVA),
    part("librdkafka-member", Role::Member, PYTHON),
    part("java-watcher", Role::Watcher, JAVA),
    part("franz-watcher", Role::Watcher, GO),
];

/// Those who read everything when all is over.
pub(super) const FINALS: &[Part] = &[
    part("franz-final", Role::Final, GO),
    part("librdkafka-final", Role::Final, PYTHON),
];

/// Names of those with a role.
pub(super) fn names(role: Role) -> impl Iterator<Item = &'static str> {
    let parts = PARTS.iter().filter(move |part| part.role == role);
    parts.map(|part| part.name)
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Line(String),
    Nothing,
}

/// The programs that run.
#[derive(Debug)]
pub(super) struct Cast {
    programs: Vec<Process>,
    parts: BTreeMap<&'static str, usize>,
    lines: Receiver<(usize, Option<String>)>,
}

impl Cast {
    /// Starts the programs; nobody plays yet.
    pub(super) fn start(
        programs: &Programs,
        bootstrap: &str,
        topic: &str,
        folder: &Path,
    ) -> Result<Self> {
        let commands = [
            ("java", programs.java()?),
            ("librdkafka", programs.python()),
            ("franz-go", programs.go()),
        ];
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        let mut started = Vec::new();
        for (index, (name, mut command)) in commands.into_iter().enumerate() {
            let command: &mut Command = &mut command;
            command.args([bootstrap, topic, &PARTITIONS.to_string(), "members"]);
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::start(&format!("the program of {name}"), command, &log)?;
            let sender = sender.clone();
            process.send_lines_to(move |line| sender.send((index, line)).is_ok())?;
            started.push(process);
        }
        Ok(Self {
            programs: started,
            parts: BTreeMap::new(),
            lines,
        })
    }

    /// Begins a part.
    pub(super) fn play(&mut self, part: &Part, words: &str) -> Result<()> {
        self.parts.insert(part.name, part.program);
        let command = match part.role {
            Role::Producer => "producer",
            Role::Reader => "reader",
            Role::Final => "final",
            Role::Member => "member",
            Role::Watcher => "watcher",
            Role::Nemesis => bail!("the nemesis is no client"),
        };
        self.tell(part.name, &format!("{command} {words}"))
    }

    /// Begins the part that makes noise.
    pub(super) fn play_admin(&mut self) -> Result<()> {
        self.parts.insert(ADMIN, PYTHON);
        self.tell(ADMIN, "admin")
    }

    /// Tells a part what to do.
    pub(super) fn tell(&mut self, name: &str, command: &str) -> Result<()> {
        let index = self.parts.get(name);
        let index = *index.with_context(|| format!("nobody plays {name}"))?;
        let line = format!("{name} {}", command.trim_end());
        self.programs[index].write_line(&line)
    }

    /// The next line of any program.
    pub(super) fn hear(&mut self, deadline: Duration) -> Result<Heard> {
        match self.lines.recv_timeout(deadline) {
            Ok((_, Some(line))) => Ok(Heard::Line(line)),
            Ok((index, None)) => bail!(self.programs[index].tale("ended")),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => bail!("every program ended"),
        }
    }

    /// The last words of every program.
    pub(super) fn last_words(&self) -> String {
        let programs = self.programs.iter();
        programs
            .map(|program| format!("\n  {}", program.tale("said last:")))
            .collect()
    }
}
