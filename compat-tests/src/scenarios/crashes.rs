//! `kill -9` and on again: what was acknowledged is there, and clients that were running go on by themselves.

use anyhow::{Result, ensure};

use super::groups::{assigned, join, spread, take};
use super::{ensure_holds, many, numbered, produce};
use crate::broker::Broker;
use crate::operation::{Producer, Request};
use crate::stage::Stage;

const PARTITIONS: i32 = 4;

pub(super) fn records(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker()?;
    let told = play_records(stage, &mut broker);
    told.map_err(|error| {
        error.context(format!("the broker's last words:{}", broker.last_words()))
    })?;
    broker.stop()
}

fn play_records(stage: &Stage<'_>, broker: &mut Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let topic = stage.topic_at(&bootstrap, 1, &[])?;
    let mut session = stage.open_at(&bootstrap)?;
    let sent = numbered("kept", 0..many(300));
    let producer = Producer {
        idempotent: true,
        ..Producer::default()
    };
    // The same producer and the same consumer live through both deaths.
    for part in sent.chunks(many(100)) {
        produce(session.as_mut(), &topic, part, &producer)?;
        broker.kill_and_restart()?;
    }
    ensure_holds(session.as_mut(), &topic, &sent)
}

pub(super) fn group(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker()?;
    let told = play_group(stage, &mut broker);
    told.map_err(|error| {
        error.context(format!("the broker's last words:{}", broker.last_words()))
    })?;
    broker.stop()
}

fn play_group(stage: &Stage<'_>, broker: &mut Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let topic = stage.topic_at(&bootstrap, PARTITIONS, &[])?;
    let group = stage.name("group");
    let mut producer = stage.open_at(&bootstrap)?;

    let sent = spread(producer.as_mut(), &topic, 0..20)?;
    let mut first = stage.open_at(&bootstrap)?;
    join(first.as_mut(), &group, &topic)?;
    let before = take(first.as_mut(), sent)?;
    first.perform(&Request::Commit)?;
    first.perform(&Request::Leave)?;
    broker.kill_and_restart()?;

    let mut second = stage.open_at(&bootstrap)?;
    join(second.as_mut(), &group, &topic)?;
    let sent = spread(producer.as_mut(), &topic, 20..40)?;
    let after = take(second.as_mut(), sent)?;
    ensure!(
        before.is_disjoint(&after),
        "committed records came again: {before:?} and {after:?}"
    );
    second.perform(&Request::Commit)?;
    second.perform(&Request::Leave)?;
    Ok(())
}

pub(super) fn member(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker()?;
    let told = play_member(stage, &mut broker);
    told.map_err(|error| {
        error.context(format!("the broker's last words:{}", broker.last_words()))
    })?;
    broker.stop()
}

fn play_member(stage: &Stage<'_>, broker: &mut Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let topic = stage.topic_at(&bootstrap, PARTITIONS, &[])?;
    let mut producer = stage.open_at(&bootstrap)?;
    let mut member = stage.open_at(&bootstrap)?;
    join(member.as_mut(), &stage.name("group"), &topic)?;
    assigned(member.as_mut(), usize::try_from(PARTITIONS)?)?;
    let sent = spread(producer.as_mut(), &topic, 0..20)?;
    let before = take(member.as_mut(), sent)?;
    member.perform(&Request::Commit)?;
    broker.kill_and_restart()?;

    let sent = spread(producer.as_mut(), &topic, 20..40)?;
    let after = take(member.as_mut(), sent)?;
    ensure!(
        before.is_disjoint(&after),
        "committed records came again: {before:?} and {after:?}"
    );
    member.perform(&Request::Commit)?;
    member.perform(&Request::Leave)?;
    Ok(())
}
