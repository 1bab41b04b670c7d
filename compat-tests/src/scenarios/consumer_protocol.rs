//! Groups by the protocol of KIP-848: the coordinator assigns, members follow with their heartbeats.

use anyhow::{Result, ensure};

use super::groups::{self, assigned, both_assigned, spread, take};
use crate::broker::Broker;
use crate::clients::Session;
use crate::matrix::HEARTBEATS;
use crate::operation::Request;
use crate::stage::Stage;

const PARTITIONS: usize = 4;

pub(super) fn group(stage: &Stage<'_>) -> Result<()> {
    groups::come_and_go(stage, join)
}

/// An application is restarted process by process into the new protocol, and back.
pub(super) fn changed(stage: &Stage<'_>) -> Result<()> {
    let topic = stage.topic(i32::try_from(PARTITIONS)?, &[])?;
    let group = stage.name("group");
    let mut producer = stage.open()?;
    let mut first = stage.open()?;
    groups::join(first.as_mut(), &group, &topic)?;
    assigned(first.as_mut(), PARTITIONS)?;
    let mut second = stage.open()?;
    join(second.as_mut(), &group, &topic)?;
    both_assigned(first.as_mut(), second.as_mut(), PARTITIONS / 2)?;
    let sent = spread(producer.as_mut(), &topic, 0..20)?;
    let mut taken = take(first.as_mut(), sent / 2)?;
    taken.append(&mut take(second.as_mut(), sent / 2)?);
    first.perform(&Request::Commit)?;
    second.perform(&Request::Commit)?;
    first.perform(&Request::Leave)?;
    assigned(second.as_mut(), PARTITIONS)?;

    let mut third = stage.open()?;
    groups::join(third.as_mut(), &group, &topic)?;
    both_assigned(second.as_mut(), third.as_mut(), PARTITIONS / 2)?;
    let sent = spread(producer.as_mut(), &topic, 20..40)?;
    let mut rest = take(second.as_mut(), sent / 2)?;
    rest.append(&mut take(third.as_mut(), sent / 2)?);
    second.perform(&Request::Commit)?;
    third.perform(&Request::Commit)?;
    second.perform(&Request::Leave)?;
    assigned(third.as_mut(), PARTITIONS)?;
    let sent = spread(producer.as_mut(), &topic, 40..60)?;
    rest.append(&mut take(third.as_mut(), sent)?);
    ensure!(
        taken.is_disjoint(&rest) && taken.len() + rest.len() == 60,
        "records came again, or not: {taken:?} and {rest:?}"
    );
    third.perform(&Request::Leave)?;
    Ok(())
}

/// Two members live through the death of the broker and go on with what they had.
pub(super) fn killed(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker_with(HEARTBEATS)?;
    let told = play_killed(stage, &mut broker);
    told.map_err(|error| {
        error.context(format!("the broker's last words:{}", broker.last_words()))
    })?;
    broker.stop()
}

fn play_killed(stage: &Stage<'_>, broker: &mut Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let topic = stage.topic_at(&bootstrap, i32::try_from(PARTITIONS)?, &[])?;
    let group = stage.name("group");
    let mut producer = stage.open_at(&bootstrap)?;
    let mut first = stage.open_at(&bootstrap)?;
    join(first.as_mut(), &group, &topic)?;
    let mut second = stage.open_at(&bootstrap)?;
    join(second.as_mut(), &group, &topic)?;
    both_assigned(first.as_mut(), second.as_mut(), PARTITIONS / 2)?;
    let sent = spread(producer.as_mut(), &topic, 0..20)?;
    let mut before = take(first.as_mut(), sent / 2)?;
    before.append(&mut take(second.as_mut(), sent / 2)?);
    first.perform(&Request::Commit)?;
    second.perform(&Request::Commit)?;

    broker.kill_and_restart()?;
    let sent = spread(producer.as_mut(), &topic, 20..40)?;
    let mut after = take(first.as_mut(), sent / 2)?;
    after.append(&mut take(second.as_mut(), sent / 2)?);
    ensure!(
        before.is_disjoint(&after) && after.len() == sent,
        "records came again: {before:?} and {after:?}"
    );
    first.perform(&Request::Commit)?;
    second.perform(&Request::Commit)?;
    first.perform(&Request::Leave)?;
    assigned(second.as_mut(), PARTITIONS)?;
    second.perform(&Request::Leave)?;
    Ok(())
}

/// Becomes a member.
fn join(session: &mut dyn Session, group: &str, topic: &str) -> Result<()> {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    session
        .perform(&Request::JoinConsumer { group, topic })
        .map(|_| ())
}
