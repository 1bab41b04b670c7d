//! The committed offsets of the one group of a history. An offset that is told must be one that was committed and that no
//! later commit, known to have succeeded before the question, had replaced. A member begins at such an offset. Everything
//! before a committed offset was given to some member.
//!
//! A commit whose outcome nobody knows may come late, so nothing ever replaces it.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::anomaly::Anomaly;
use crate::history::event::{History, Role, What, Who};

/// Never, as the place of an event.
const NEVER: usize = usize::MAX;

/// A commit of one partition.
#[derive(Clone, Copy, Debug)]
struct Commit {
    offset: i64,
    asked: usize,
    ended: usize,
    is_acknowledged: bool,
    /// From this event on, a later commit has replaced it.
    replaced: usize,
}

/// The commits of a partition.
#[derive(Debug, Default)]
struct Commits {
    /// By offset.
    by_offset: BTreeMap<i64, Vec<Commit>>,
    /// The first acknowledged one ended here.
    first_acknowledged: Option<usize>,
    /// The highest acknowledged offset, and where.
    highest: Option<(i64, usize)>,
}

/// What the members of the group were given of a partition: everything below `whole`, and some offsets behind it.
#[derive(Debug, Default)]
struct Delivered {
    whole: i64,
    behind: std::collections::BTreeSet<i64>,
}

/// What a member did last.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// Its last question, whether or not it was answered.
    asked: usize,
    /// A moment that it has certainly lived through: its last question that it answered, or its beginning.
    lived: usize,
}

/// The state of the second walk.
#[derive(Debug)]
pub(super) struct Groups {
    commits: BTreeMap<i32, Commits>,
    delivered: BTreeMap<i32, Delivered>,
    members: BTreeMap<Who, Member>,
    /// Partitions that a member was given and has not read from: what it had lived through then.
    fresh: BTreeMap<(Who, i32), usize>,
    asked: BTreeMap<Who, usize>,
}

impl Groups {
    /// Collects every commit, because a question may be answered with one that ends later.
    pub(super) fn of(history: &History) -> Self {
        let mut asked: BTreeMap<Who, usize> = BTreeMap::new();
        let mut all: BTreeMap<i32, Vec<Commit>> = BTreeMap::new();
        for (at, event) in history.events.iter().enumerate() {
            if event.what == What::CommitAsked {
                asked.insert(event.who, at);
            }
            if let What::Commit {
                partition,
                offset,
                is_acknowledged,
            } = event.what
            {
                all.entry(partition).or_default().push(Commit {
                    offset,
                    asked: asked.get(&event.who).copied().unwrap_or(at),
                    ended: at,
                    is_acknowledged,
                    replaced: NEVER,
                });
            }
        }
        let commits = all
            .into_iter()
            .map(|(partition, commits)| (partition, Commits::of(commits)));
        Self {
            commits: commits.collect(),
            delivered: BTreeMap::new(),
            members: BTreeMap::new(),
            fresh: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The next event.
    pub(super) fn see(&mut self, history: &History, verdict: &mut Verdict, at: usize) {
        let event = &history.events[at];
        let who = event.who;
        if event.what == What::Role(Role::Member) {
            self.members.insert(
                who,
                Member {
                    asked: at,
                    lived: at,
                },
            );
        }
        if event.what == What::CommittedAsked {
            self.asked.insert(who, at);
        }
        if let What::Committed { partition, offset } = event.what {
            let asked = self.asked.get(&who).copied().unwrap_or(at);
            self.told(verdict, (asked, at), partition, offset);
        }
        if let Some(member) = self.members.get_mut(&who) {
            if event.what == What::CommitAsked {
                member.asked = at;
            }
            if let What::Commit { .. } = event.what {
                member.lived = member.asked;
            }
            if let What::Assigned { partition, .. } = event.what {
                self.fresh.insert((who, partition), member.lived);
            }
            if let What::Revoked { partition } = event.what {
                self.fresh.remove(&(who, partition));
            }
            if let What::Read {
                partition, offset, ..
            } = event.what
            {
                self.delivered.entry(partition).or_default().add(offset);
                if let Some(lived) = self.fresh.remove(&(who, partition)) {
                    self.resumed(verdict, (lived, at), partition, offset, history.name(who));
                }
            }
        }
    }

    /// A watcher was told an offset, between two events.
    fn told(
        &self,
        verdict: &mut Verdict,
        (asked, at): (usize, usize),
        partition: i32,
        offset: Option<i64>,
    ) {
        let none = Commits::default();
        let commits = self.commits.get(&partition).unwrap_or(&none);
        if commits.may_be(offset, asked, at) {
            return;
        }
        let known = offset.and_then(|offset| commits.by_offset.get(&offset));
        let anomaly = match (offset, known) {
            (None, _) => Anomaly::CommittedLost,
            (Some(_), None) => Anomaly::CommittedInvented,
            (Some(_), Some(_)) => Anomaly::CommittedMovedBack,
        };
        verdict.find(anomaly, at, || {
            let offset = offset.map_or("nothing".to_owned(), |offset| offset.to_string());
            let highest = commits.highest.map_or(-1, |(offset, _)| offset);
            format!("the group has committed {offset} of partition {partition}; the highest acknowledged commit of the history is {highest}")
        });
    }

    /// A member began a partition, between two events.
    fn resumed(
        &self,
        verdict: &mut Verdict,
        (lived, at): (usize, usize),
        partition: i32,
        offset: i64,
        name: &str,
    ) {
        let none = Commits::default();
        let commits = self.commits.get(&partition).unwrap_or(&none);
        let is_from_the_start = offset == 0 && commits.may_be(None, lived, at);
        if !is_from_the_start && !commits.may_be(Some(offset), lived, at) {
            verdict.find(Anomaly::ResumedElsewhere, at, || {
                format!("{name} began partition {partition} at {offset}, which is not what the group had committed")
            });
        }
    }

    /// What can be said when every record was seen.
    pub(super) fn end(&self, verdict: &mut Verdict) {
        for (partition, commits) in &self.commits {
            let whole = self.delivered.get(partition).map_or(0, |given| given.whole);
            if let Some((offset, at)) = commits.highest
                && offset > whole
            {
                verdict.find(Anomaly::CommittedUndelivered, at, || {
                    format!("the group committed {offset} of partition {partition}, and no member was given {whole}")
                });
            }
        }
    }
}

impl Commits {
    fn of(mut commits: Vec<Commit>) -> Self {
        commits.sort_by_key(|commit| commit.asked);
        // Walking back: the earliest end of all acknowledged commits that were asked for later.
        let mut earliest: Vec<usize> = vec![NEVER; commits.len() + 1];
        for (index, commit) in commits.iter().enumerate().rev() {
            let ended = if commit.is_acknowledged {
                commit.ended
            } else {
                NEVER
            };
            earliest[index] = earliest[index + 1].min(ended);
        }
        let asked: Vec<usize> = commits.iter().map(|commit| commit.asked).collect();
        let mut sorted = Self::default();
        for mut commit in commits {
            if commit.is_acknowledged {
                let later = asked.partition_point(|asked| *asked <= commit.ended);
                commit.replaced = earliest[later];
                let first = sorted.first_acknowledged.unwrap_or(NEVER);
                sorted.first_acknowledged = Some(first.min(commit.ended));
                if sorted
                    .highest
                    .is_none_or(|(known, _)| commit.offset > known)
                {
                    sorted.highest = Some((commit.offset, commit.ended));
                }
            }
            sorted
                .by_offset
                .entry(commit.offset)
                .or_default()
                .push(commit);
        }
        sorted
    }

    /// Whether this may be the committed offset at some moment between two events.
    fn may_be(&self, offset: Option<i64>, from: usize, to: usize) -> bool {
        let Some(offset) = offset else {
            return self.first_acknowledged.is_none_or(|first| first >= from);
        };
        let commits = self.by_offset.get(&offset);
        commits.is_some_and(|commits| {
            commits
                .iter()
                .any(|commit| commit.asked < to && commit.replaced >= from)
        })
    }
}

impl Delivered {
    fn add(&mut self, offset: i64) {
        if offset > self.whole {
            self.behind.insert(offset);
            return;
        }
        if offset == self.whole {
            self.whole += 1;
        }
        while self.behind.first() == Some(&self.whole) {
            self.behind.pop_first();
            self.whole += 1;
        }
    }
}
