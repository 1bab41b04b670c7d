//! Consumer groups: members share the partitions of a topic, and a group goes on where it committed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::{many, produce};
use crate::clients::Session;
use crate::operation::{Producer, Record, Request};
use crate::stage::Stage;

const PARTITIONS: usize = 4;

/// Keys that the Java clients' partitioner puts into partitions 0 to 3 of four: the console producer has no other way to say
/// where a record goes.
pub(super) const KEYS: [&str; PARTITIONS] = ["alpha", "epsilon", "gamma", "nu"];

/// Which record of a topic: partition and offset.
type Place = (i32, i64);

/// How a session becomes a member: by one protocol or the other.
pub(super) type Join = fn(&mut dyn Session, group: &str, topic: &str) -> Result<()>;

pub(super) fn group(stage: &Stage<'_>) -> Result<()> {
    come_and_go(stage, join)
}

/// Three members come and go; each record is taken once, and a later member resumes where they committed.
pub(super) fn come_and_go(stage: &Stage<'_>, join: Join) -> Result<()> {
    let topic = stage.topic(i32::try_from(PARTITIONS)?, &[])?;
    let group = stage.name("group");
    let mut producer = stage.open()?;

    let mut first = stage.open()?;
    join(first.as_mut(), &group, &topic)?;
    assigned(first.as_mut(), PARTITIONS)?;
    let mut second = stage.open()?;
    join(second.as_mut(), &group, &topic)?;
    both_assigned(first.as_mut(), second.as_mut(), PARTITIONS / 2)?;

    let (first_part, both) = (i32::try_from(many(40))?, i32::try_from(many(60))?);
    let sent = spread(producer.as_mut(), &topic, 0..first_part)?;
    let mut taken = take(first.as_mut(), sent / 2)?;
    taken.append(&mut take(second.as_mut(), sent / 2)?);
    ensure!(
        taken.len() == sent,
        "{} different records instead of {sent}",
        taken.len()
    );
    first.perform(&Request::Commit)?;
    second.perform(&Request::Commit)?;
    second.perform(&Request::Leave)?;
    assigned(first.as_mut(), PARTITIONS)?;
    first.perform(&Request::Leave)?;

    let more = spread(producer.as_mut(), &topic, first_part..both)?;
    let mut third = stage.open()?;
    join(third.as_mut(), &group, &topic)?;
    let rest = take(third.as_mut(), more)?;
    ensure!(
        taken.is_disjoint(&rest),
        "committed records came again: {taken:?} and {rest:?}"
    );
    ensure!(
        rest.len() == more,
        "{} different records instead of {more}",
        rest.len()
    );
    third.perform(&Request::Commit)?;
    third.perform(&Request::Leave)?;
    Ok(())
}

/// Becomes a member.
pub(super) fn join(session: &mut dyn Session, group: &str, topic: &str) -> Result<()> {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    session.perform(&Request::Join { group, topic }).map(|_| ())
}

/// Waits for the member's share.
pub(super) fn assigned(session: &mut dyn Session, partitions: usize) -> Result<()> {
    session
        .perform(&Request::Assigned { partitions })
        .map(|_| ())
}

/// The next records of a member, by place; the same place twice is an error.
pub(super) fn take(session: &mut dyn Session, count: usize) -> Result<BTreeSet<Place>> {
    let answer = session.perform(&Request::Take { count })?;
    ensure!(
        answer.records.len() == count,
        "{} records instead of {count}",
        answer.records.len()
    );
    let mut places = BTreeSet::new();
    for record in &answer.records {
        let place = (
            record.partition.context("a partition")?,
            record.offset.context("an offset")?,
        );
        ensure!(places.insert(place), "{place:?} came twice");
    }
    Ok(places)
}

/// Sends records in equal parts to all partitions; how many.
pub(super) fn spread(
    session: &mut dyn Session,
    topic: &str,
    numbers: std::ops::Range<i32>,
) -> Result<usize> {
    let mut records = Vec::new();
    for (partition, key) in (0..).zip(KEYS) {
        let share = numbers
            .clone()
            .skip(usize::try_from(partition)?)
            .step_by(PARTITIONS);
        let keyed = |number| {
            Record::of(format!("shared-{number}"))
                .keyed(key)
                .at(partition)
        };
        records.extend(share.map(keyed));
    }
    produce(session, topic, &records, &Producer::default())?;
    Ok(records.len())
}

/// Members must be asked at the same time: each takes part in the rebalance only while it polls.
pub(super) fn both_assigned(
    first: &mut dyn Session,
    second: &mut dyn Session,
    partitions: usize,
) -> Result<()> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| assigned(second, partitions));
        assigned(first, partitions)?;
        other
            .join()
            .map_err(|_| anyhow::anyhow!("the second member broke"))?
    })
}
