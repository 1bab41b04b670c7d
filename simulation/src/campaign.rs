//! Many seeds, on all cores: each thread has worlds of its own, one at a time.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::encounters::Encounter;
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::shrink::shrink;
use crate::sites::Site;
use crate::world::Counts;

/// What is run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Which kind of worlds.
    pub scenario: Scenario,
    /// The worlds.
    pub seeds: Range<u64>,
    /// Operations of clients in each.
    pub operations: usize,
    /// How many at once.
    pub threads: usize,
    /// Whether the first failure ends it, or all are looked for.
    pub stops_at_failure: bool,
    /// The planted bug that is switched on, if there is one.
    pub bug: Option<&'static str>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The kind of worlds.
    pub scenario: Scenario,
    /// Worlds that ended.
    pub worlds: u64,
    /// What happened in all of them.
    pub counts: Counts,
    /// Worlds in which an invariant was broken, by seed.
    pub failures: Vec<Failure>,
}

/// A world in which an invariant was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kind of world.
    pub scenario: Scenario,
    /// Its seed.
    pub seed: u64,
    /// Its operations.
    pub operations: usize,
    /// The planted bug, if there was one.
    pub bug: Option<&'static str>,
    /// What came of it.
    pub outcome: Outcome,
}

impl Campaign {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        let next = AtomicU64::new(self.seeds.start);
        let is_over = AtomicBool::new(false);
        let report = Mutex::new(Report {
            scenario: self.scenario,
            ..Report::default()
        });
        let work = || {
            switch_on(self.bug);
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end || is_over.load(Ordering::Relaxed) {
                    break;
                }
                let history = self.scenario.history(seed, self.operations);
                let outcome = self.scenario.run(seed, &history, false);
                let mut report = report.lock();
                report.worlds += 1;
                report.counts.add(&outcome.counts);
                if outcome.breach.is_some() {
                    is_over.store(self.stops_at_failure, Ordering::Relaxed);
                    report.failures.push(Failure {
                        scenario: self.scenario,
                        seed,
                        operations: self.operations,
                        bug: self.bug,
                        outcome,
                    });
                }
            }
            switch_on(None);
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(work);
            }
            work();
        });
        let mut report = report.into_inner();
        report.failures.sort_by_key(|failure| failure.seed);
        report
    }
}

/// Switches a planted bug on for worlds of this thread.
#[cfg(feature = "planted-bugs")]
pub fn switch_on(bug: Option<&'static str>) {
    streamhouse_runtime::planted::switch_on(bug);
}

/// Switches nothing on: this build holds no planted bugs.
#[cfg(not(feature = "planted-bugs"))]
pub fn switch_on(_bug: Option<&'static str>) {}

impl Report {
    /// Sites at which no broker died in any world.
    #[must_use]
    pub fn never_struck(&self) -> Vec<Site> {
        self.counts.sites.never_struck(self.scenario)
    }

    /// What no world met.
    #[must_use]
    pub fn never_met(&self) -> Vec<Encounter> {
        self.counts.encounters.never_met(self.scenario)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} worlds: {} crashes ({} inside a recovery), {} starts, {} batches acknowledged, {} outcomes unknown, {} \
             duplicates sent again, {} records read, {} commits, {} checkpoints, {} objects deleted, {} offsets \
             committed, {} generations",
            self.worlds,
            counts.crashes,
            counts.crashes_in_recovery,
            counts.starts,
            counts.acknowledged,
            counts.unknown_outcomes,
            counts.duplicates,
            counts.records_read,
            counts.commits,
            counts.checkpoints,
            counts.deleted,
            counts.offsets_committed,
            counts.generations,
        )?;
        writeln!(f, "{:>10} {:>8}  crash site", "passed", "struck")?;
        let sites = Site::of(self.scenario);
        let passed = counts
            .sites
            .iter()
            .filter(|(site, ..)| sites.contains(site));
        for (site, passed, struck) in passed {
            writeln!(f, "{passed:>10} {struck:>8}  {site}")?;
        }
        writeln!(f, "{:>10}  encounter", "met")?;
        let encounters = counts.encounters.iter();
        let encounters = encounters.filter(|(one, _)| one.scenario() == self.scenario);
        for (encounter, met) in encounters {
            writeln!(f, "{met:>10}  {encounter}")?;
        }
        Ok(())
    }
}

impl Failure {
    /// What went wrong, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let (seed, operations) = (self.seed, self.operations);
        self.outcome.breach.as_ref().map_or_else(
            || format!("seed {seed}: nothing went wrong"),
            |breach| {
                let (operation, violation) = (breach.operation, &breach.violation);
                format!("seed {seed}: at operation {operation} of {operations}: {violation}")
            },
        )
    }

    /// What went wrong, how to repeat it, and a short history that shows it.
    #[must_use]
    pub fn explain(&self) -> String {
        switch_on(self.bug);
        let operations = self.scenario.history(self.seed, self.operations);
        let (short, outcome) = shrink(self.scenario, self.seed, &operations, self.outcome.clone());
        let logged = self.scenario.run(self.seed, &short, true);
        switch_on(None);
        let mut text = self.summary() + "\n";
        let bug = self.bug.map(|bug| format!(" --bug {bug}"));
        let features = self.bug.map(|_| " --features planted-bugs");
        text += &format!(
            "to repeat it: cargo run -p streamhouse-simulation{} -- --scenario {} --seed {} --ops {}{}\n",
            features.unwrap_or_default(),
            self.scenario,
            self.seed,
            self.operations,
            bug.unwrap_or_default(),
        );
        if let Some(breach) = outcome.breach {
            text += &format!(
                "{} of its operations do as well: {}\n",
                short.len(),
                breach.violation
            );
        }
        let from = logged.log.len().saturating_sub(400);
        for line in &logged.log[from..] {
            text += line;
            text.push('\n');
        }
        text
    }
}
