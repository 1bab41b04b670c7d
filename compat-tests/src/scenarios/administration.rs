//! What administrators do through libraries: topics grow and change, records and groups are deleted.

use anyhow::{Result, bail, ensure};

use super::groups::{join, spread, take};
use super::topics::soon;
use super::{consume, ensure_same, numbered, offset_of, produce};
use crate::clients::{Session, refusal_code};
use crate::operation::{Position, Producer, Request};
use crate::stage::Stage;

const INVALID_PARTITIONS: i16 = 37;
const GROUP_ID_NOT_FOUND: i16 = 69;

pub(super) fn alter_topic(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[("max.message.bytes", "2000000")])?;
    let grow = Request::CreatePartitions {
        topic: topic.clone(),
        partitions: 3,
    };
    session.perform(&grow)?;
    let topic_again = topic.clone();
    let seen = soon(session.as_mut(), &Request::Metadata { topic: topic_again })?;
    ensure!(
        seen.partitions == Some(3),
        "{:?} partitions instead of 3",
        seen.partitions
    );
    refused(session.as_mut(), &grow, INVALID_PARTITIONS)?;

    let (name, value) = ("retention.ms".to_owned(), "7200000".to_owned());
    session.perform(&Request::AlterConfig {
        topic: topic.clone(),
        name: name.clone(),
        value: value.clone(),
    })?;
    let told = session.perform(&Request::TopicConfig { topic, name })?;
    ensure!(
        told.value == Some(value),
        "retention.ms is {:?}",
        told.value
    );
    Ok(())
}

pub(super) fn delete_records(stage: &Stage<'_>) -> Result<()> {
    const FIRST: i64 = 4;
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let records = numbered("deleted or kept", 0..10);
    produce(session.as_mut(), &topic, &records, &Producer::default())?;
    session.perform(&Request::DeleteRecords {
        topic: topic.clone(),
        before: FIRST,
    })?;
    let begin = offset_of(session.as_mut(), &topic, 0, Position::Beginning)?;
    ensure!(begin == FIRST, "the partition begins at {begin}");
    let kept = &records[usize::try_from(FIRST)?..];
    let received = consume(session.as_mut(), &topic, 0, Position::Beginning, kept.len())?;
    ensure_same(kept, &received, FIRST)
}

pub(super) fn delete_group(stage: &Stage<'_>) -> Result<()> {
    let topic = stage.topic(4, &[])?;
    let group = stage.name("group");
    let mut session = stage.open()?;
    let sent = spread(session.as_mut(), &topic, 0..4)?;
    join(session.as_mut(), &group, &topic)?;
    take(session.as_mut(), sent)?;
    session.perform(&Request::Commit)?;
    session.perform(&Request::Leave)?;

    ensure!(
        is_listed(session.as_mut(), &group)?,
        "{group} is not listed"
    );
    let delete = Request::DeleteGroup {
        group: group.clone(),
    };
    session.perform(&delete)?;
    ensure!(
        !is_listed(session.as_mut(), &group)?,
        "{group} is listed after it was deleted"
    );
    refused(session.as_mut(), &delete, GROUP_ID_NOT_FOUND)
}

fn is_listed(session: &mut dyn Session, group: &str) -> Result<bool> {
    let told = session.perform(&Request::Groups)?;
    Ok(told.groups.iter().any(|name| name == group))
}

fn refused(session: &mut dyn Session, request: &Request, code: i16) -> Result<()> {
    match session.perform(request) {
        Err(error) if refusal_code(&error) == Some(code) => Ok(()),
        outcome => bail!("a second time gives {outcome:?}, not error {code}"),
    }
}
