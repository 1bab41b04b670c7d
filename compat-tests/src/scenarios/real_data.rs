//! Real data in, the same data out.

use anyhow::{Context, Result, ensure};

use crate::clients::Session;
use crate::data_set;
use crate::operation::{Producer, Request};
use crate::records_file;
use crate::stage::Stage;

pub(super) fn data_set(stage: &Stage<'_>) -> Result<()> {
    let topic = stage.topic(1, &[])?;
    let mut session = stage.open()?;
    send(stage, session.as_mut(), &topic)?;
    receive(stage, session.as_mut(), &topic)
}

pub(super) fn data_set_after_kill(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker()?;
    let bootstrap = broker.bootstrap();
    let told = stage.topic_at(&bootstrap, 1, &[]).and_then(|topic| {
        send(stage, stage.open_at(&bootstrap)?.as_mut(), &topic)?;
        broker.kill_and_restart()?;
        receive(stage, stage.open_at(&bootstrap)?.as_mut(), &topic)
    });
    told.with_context(|| format!("the broker's last words:{}", broker.last_words()))?;
    broker.stop()
}

fn send(stage: &Stage<'_>, session: &mut dyn Session, topic: &str) -> Result<()> {
    let file = stage.folder().join("data-set");
    let data_set = data_set::get()?;
    records_file::write(&file, data_set.records.iter().map(Vec::as_slice))?;
    let producer = Producer {
        idempotent: true,
        ..Producer::default()
    };
    let answer = session.perform(&Request::ProduceFile {
        topic: topic.to_owned(),
        file,
        producer,
    })?;
    ensure!(
        answer.count == Some(data_set.records.len()),
        "{:?} records were sent",
        answer.count
    );
    Ok(())
}

fn receive(stage: &Stage<'_>, session: &mut dyn Session, topic: &str) -> Result<()> {
    let file = stage.folder().join("back");
    let sent = &data_set::get()?.records;
    let (topic, count) = (topic.to_owned(), sent.len());
    session.perform(&Request::ConsumeFile {
        topic,
        file: file.clone(),
        count,
    })?;
    let received = records_file::read(&file)?;
    let (wanted, found) = (data_set::checksum(sent)?, data_set::checksum(&received)?);
    ensure!(
        wanted == found,
        "the checksum is {found:016x}, not {wanted:016x}"
    );
    ensure!(
        received.len() == count,
        "{} records instead of {count}",
        received.len()
    );
    Ok(())
}
