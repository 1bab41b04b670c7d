//! A run: who plays is fed and heard, the nemesis acts at its counts, and everything is written down. It is paced by what was
//! acknowledged, never by a clock; only the length of a stop is time, because that is the fault.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::cast::{ADMIN, Cast, FINALS, Heard, PARTS, names};
use super::chance::Chance;
use super::event::{Fault, History, Role, What};
use super::plan::{PARTITIONS, Plan, Shape};
use crate::broker::Broker;
use crate::clock::wall_ms;
use crate::process::Signal;
use crate::proxy::Proxy;

/// Records of one producer that have no answer yet.
const WINDOW: u64 = 300;

/// Between two looks at whether a stop is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// Without an event for so long, something is stuck.
const STUCK_MS: i64 = 60_000;

/// How often a question is asked, in acknowledgements.
const WATCH_EVERY: u64 = 40;
const COMMIT_EVERY: u64 = 100;
const NOISE_EVERY: u64 = 200;

/// How often the last questions are asked anew.
const TRIES: usize = 5;

const NEMESIS: &str = "nemesis";

/// A producer as the harness feeds it.
#[derive(Debug)]
struct Feed {
    chance: Chance,
    sent: u64,
    ended: u64,
    to_send: u64,
}

/// The broker, and the way to it on which answers of Produce get lost.
type Victim<'a> = (&'a mut Broker, &'a Proxy);

/// A run under way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    history: History,
    cast: Cast,
    /// `None` where the server is not ours to harm.
    victim: Option<Victim<'a>>,
    /// How many answers are lost when it is time for the kill.
    losing: Option<usize>,
    start_ms: i64,
    heard_ms: i64,
    feeds: BTreeMap<&'static str, Feed>,
    acknowledged: u64,
    faults: VecDeque<(u64, Fault)>,
    stopped_until: Option<i64>,
    /// An earlier state of the broker's folder.
    copy: Option<TempDir>,
    is_rewound: bool,
    rewinds: bool,
    /// Parts that have a question to answer, and those that gave up.
    busy: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Counts of acknowledgements at which a part was asked last, and how often it was asked.
    asked: BTreeMap<&'static str, (u64, u64)>,
    /// The next offset of everybody who reads.
    next: BTreeMap<(String, i32), i64>,
    ends: BTreeMap<i32, i64>,
    whole: usize,
}

impl<'a> Run<'a> {
    /// Everybody takes their places.
    pub(super) fn new(
        plan: &Plan,
        mut cast: Cast,
        address: &str,
        victim: Option<Victim<'a>>,
    ) -> Result<Self> {
        let mut history = History::new(plan.seed);
        let is_ours = victim.is_some();
        history.push(0, NEMESIS, What::Role(Role::Nemesis))?;
        for part in PARTS {
            history.push(0, part.name, What::Role(part.role))?;
            let words = if part.role == Role::Producer {
                address
            } else {
                ""
            };
            cast.play(part, words)?;
        }
        cast.play_admin()?;
        let count = u64::try_from(names(Role::Producer).count())?;
        let feeds = names(Role::Producer).zip(1_u64..).map(|(name, index)| {
            let feed = Feed {
                chance: plan.chance(index),
                sent: 0,
                ended: 0,
                to_send: plan.operations / count,
            };
            (name, feed)
        });
        Ok(Self {
            history,
            cast,
            victim,
            losing: None,
            start_ms: wall_ms(),
            heard_ms: wall_ms(),
            feeds: feeds.collect(),
            acknowledged: 0,
            faults: if is_ours {
                plan.faults().into()
            } else {
                VecDeque::new()
            },
            stopped_until: None,
            copy: None,
            is_rewound: false,
            rewinds: plan.rewinds,
            busy: BTreeSet::new(),
            gone: BTreeSet::new(),
            asked: BTreeMap::new(),
            next: BTreeMap::new(),
            ends: BTreeMap::new(),
            whole: 0,
        })
    }

    /// Plays it; the history is there even if something got stuck.
    pub(super) fn play(mut self) -> (History, Result<()>) {
        let played = self.play_middle().and_then(|()| self.play_last_act());
        if played.is_err() {
            // What is there is read all the same, and judged.
            self.busy.clear();
            self.heard_ms = wall_ms();
        }
        let read = self.resume().and_then(|()| self.read_everything());
        let outcome = played.and(read);
        let outcome = outcome.map_err(|error| error.context(self.cast.last_words()));
        (self.history, outcome)
    }

    fn now(&self) -> u32 {
        u32::try_from(wall_ms() - self.start_ms).unwrap_or(u32::MAX)
    }

    /// Sends, kills and asks until every record has an outcome.
    fn play_middle(&mut self) -> Result<()> {
        while !self.is_rewound && self.feeds.values().any(|feed| feed.ended < feed.to_send) {
            self.feed()?;
            self.harm()?;
            self.ask_some()?;
            self.turn()?;
        }
        self.resume()
    }

    /// Everybody reads up to the end, and the group commits that.
    fn play_last_act(&mut self) -> Result<()> {
        if self.is_rewound {
            // Nobody can be expected to come to terms with that.
            return Ok(());
        }
        self.ask_ends()?;
        let readers: Vec<&str> = names(Role::Reader).collect();
        self.until("a reader does not come to the end", |run| {
            readers
                .iter()
                .all(|reader| run.is_at_end(|name| name == *reader))
        })?;
        let members: Vec<&str> = names(Role::Member).collect();
        self.until("the group does not come to the end", |run| {
            run.is_at_end(|name| members.contains(&name))
        })?;
        for member in members {
            self.question(member, "commit", What::CommitAsked)?;
        }
        self.until_answered()?;
        for watcher in names(Role::Watcher) {
            self.question(watcher, "ask committed", What::CommittedAsked)?;
        }
        self.until_answered()
    }

    /// Fresh readers read every partition from its beginning to its end.
    fn read_everything(&mut self) -> Result<()> {
        self.ask_ends()?;
        let ends: Vec<String> = self.ends.values().map(ToString::to_string).collect();
        for part in FINALS {
            let at_ms = self.now();
            self.history.push(at_ms, part.name, What::Role(part.role))?;
            self.cast.play(part, &ends.join(" "))?;
        }
        let whole = FINALS.len() * PARTITIONS;
        self.until("a final reader does not come to the end", |run| {
            run.whole >= whole
        })
    }

    /// Whether those with such names have together come to the end of every partition.
    fn is_at_end(&self, is_one: impl Fn(&str) -> bool) -> bool {
        self.ends.iter().all(|(partition, end)| {
            *end == 0
                || self
                    .next
                    .iter()
                    .any(|((name, at), next)| is_one(name) && at == partition && next >= end)
        })
    }

    /// Gives every producer as much as it may have on its way.
    fn feed(&mut self) -> Result<()> {
        for (name, feed) in &mut self.feeds {
            while feed.sent < feed.to_send && feed.sent - feed.ended < WINDOW {
                let Shape {
                    partition,
                    bytes,
                    kind,
                } = Shape::draw(&mut feed.chance);
                let command = format!("send {} {partition} {bytes} {kind}", feed.sent);
                self.cast.tell(name, &command)?;
                feed.sent += 1;
            }
        }
        Ok(())
    }

    /// What the nemesis does at this count.
    fn harm(&mut self) -> Result<()> {
        if self.stopped_until.is_some_and(|until| wall_ms() >= until) {
            self.resume()?;
        }
        let lost = self.victim.as_ref().map_or(0, |(_, proxy)| proxy.lost());
        if self.losing.is_some_and(|losing| lost >= losing) {
            self.losing = None;
            return self.kill();
        }
        let is_due = self
            .faults
            .front()
            .is_some_and(|(at, _)| *at <= self.acknowledged);
        if self.stopped_until.is_some() || self.losing.is_some() || !is_due {
            return Ok(());
        }
        match self.faults.pop_front() {
            Some((_, Fault::Kill)) => self.kill(),
            Some((_, fault)) => self.strike(fault),
            None => Ok(()),
        }
    }

    fn kill(&mut self) -> Result<()> {
        if let Some((broker, _)) = &mut self.victim {
            broker.kill()?;
        }
        self.hear_out()?;
        self.strike(Fault::Kill)
    }

    fn strike(&mut self, fault: Fault) -> Result<()> {
        let at_ms = self.now();
        let Some((broker, proxy)) = &mut self.victim else {
            return Ok(());
        };
        self.history.push(at_ms, NEMESIS, What::Fault(fault))?;
        match fault {
            Fault::Kill if self.rewinds => {
                let copy = TempDir::new()?;
                broker.kill_and_meddle(|data| copy_folder(data, copy.path()))?;
                self.copy = Some(copy);
            }
            Fault::Kill => broker.kill_and_restart()?,
            Fault::Restart => broker.restart()?,
            Fault::Rewind => {
                let copy = self.copy.take().context("a copy was made before")?;
                broker.kill_and_meddle(|data| {
                    std::fs::remove_dir_all(data)?;
                    copy_folder(copy.path(), data)
                })?;
                self.is_rewound = true;
            }
            Fault::Lose(answers) => {
                let answers = usize::try_from(answers)?;
                self.losing = Some(proxy.lost() + answers);
                proxy.lose(answers);
            }
            Fault::Stop(length_ms) => {
                broker.signal(Signal::STOP)?;
                self.stopped_until = Some(wall_ms() + i64::from(length_ms));
            }
        }
        Ok(())
    }

    /// Hears what was on its way when the broker died, so that what comes behind the kill was done by its successor.
    fn hear_out(&mut self) -> Result<()> {
        while let Heard::Line(line) = self.cast.hear(PATIENCE)? {
            self.note(&line)?;
        }
        Ok(())
    }

    /// Lets a stopped broker go on.
    fn resume(&mut self) -> Result<()> {
        if let (Some(_), Some((broker, _))) = (self.stopped_until.take(), &self.victim) {
            broker.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// Asks whoever has nothing to answer and was not asked for a while.
    fn ask_some(&mut self) -> Result<()> {
        for watcher in names(Role::Watcher) {
            if let Some(times) = self.is_due(watcher, WATCH_EVERY) {
                if times.is_multiple_of(2) {
                    self.question(watcher, "ask ends", What::EndsAsked)?;
                } else {
                    self.question(watcher, "ask committed", What::CommittedAsked)?;
                }
            }
        }
        for member in names(Role::Member) {
            if self.is_due(member, COMMIT_EVERY).is_some() {
                self.question(member, "commit", What::CommitAsked)?;
            }
        }
        if let Some(times) = self.is_due(ADMIN, NOISE_EVERY) {
            let verb = if times.is_multiple_of(2) {
                "create"
            } else {
                "delete"
            };
            self.busy.insert(ADMIN.to_owned());
            self.cast
                .tell(ADMIN, &format!("ask {verb} noise-{}", times / 2))?;
        }
        Ok(())
    }

    /// How often a part was asked before, if it is to be asked now.
    fn is_due(&mut self, name: &'static str, every: u64) -> Option<u64> {
        if self.busy.contains(name) {
            return None;
        }
        let acknowledged = self.acknowledged;
        let (last, times) = self.asked.entry(name).or_insert((0, 0));
        if acknowledged < *last + every {
            return None;
        }
        let before = *times;
        (*last, *times) = (acknowledged, before + 1);
        Some(before)
    }

    /// Writes the question down, and asks it.
    fn question(&mut self, name: &str, command: &str, what: What) -> Result<()> {
        let at_ms = self.now();
        self.history.push(at_ms, name, what)?;
        self.busy.insert(name.to_owned());
        self.cast.tell(name, command)
    }

    /// Asks for the ends until they are told.
    fn ask_ends(&mut self) -> Result<()> {
        self.until_answered()?;
        for _ in 0..TRIES {
            self.ends.clear();
            for watcher in names(Role::Watcher) {
                self.question(watcher, "ask ends", What::EndsAsked)?;
            }
            self.until_answered()?;
            if self.ends.len() == PARTITIONS {
                return Ok(());
            }
        }
        bail!("nobody is told where the partitions end")
    }

    fn until_answered(&mut self) -> Result<()> {
        self.until("a question is not answered", |run| run.busy.is_empty())
    }

    fn until(&mut self, complaint: &str, is_done: impl Fn(&Self) -> bool) -> Result<()> {
        while !is_done(self) {
            self.turn().with_context(|| complaint.to_owned())?;
        }
        Ok(())
    }

    /// Hears one line, or waits a little.
    fn turn(&mut self) -> Result<()> {
        match self.cast.hear(PATIENCE)? {
            Heard::Line(line) => {
                self.heard_ms = wall_ms();
                self.note(&line)
            }
            Heard::Nothing => {
                ensure!(
                    wall_ms() - self.heard_ms < STUCK_MS,
                    "nothing happened for {} s; asked and not answered: {:?}; gave up: {:?}",
                    STUCK_MS / 1_000,
                    self.busy,
                    self.gone
                );
                Ok(())
            }
        }
    }

    fn note(&mut self, line: &str) -> Result<()> {
        if let Some(name) = line.strip_suffix(" done") {
            self.busy.remove(name);
            return Ok(());
        }
        if let Some(name) = line.strip_suffix(" gone") {
            self.gone.insert(name.to_owned());
            ensure!(self.is_rewound, "{name} gave up reading");
            return Ok(());
        }
        let at_ms = self.now();
        let event = self.history.push_line(at_ms, line)?;
        let is_acknowledged = matches!(event.what, What::Ack { .. });
        if let What::Ack { .. } | What::Failed { .. } | What::Unknown { .. } = event.what {
            self.acknowledged += u64::from(is_acknowledged);
            let name = self.history.name(event.who);
            if let Some(feed) = self.feeds.get_mut(name) {
                feed.ended += 1;
            }
        }
        if let What::Read {
            partition, offset, ..
        } = event.what
        {
            let name = self.history.name(event.who).to_owned();
            self.next.insert((name, partition), offset + 1);
        }
        if let What::Ends { partition, end, .. } = event.what {
            let known = self.ends.entry(partition).or_insert(end);
            *known = end.max(*known);
        }
        if let What::Whole { .. } = event.what {
            self.whole += 1;
        }
        Ok(())
    }
}

/// Copies everything that lies in a folder.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
