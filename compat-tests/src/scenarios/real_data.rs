//! Real data in, the same data out.

use anyhow::{Context, Result, ensure};

use crate::broker::Broker;
use crate::clients::Session;
use crate::clock::wall_ms;
use crate::data_set;
use crate::operation::{Producer, Request};
use crate::records_file;
use crate::stage::Stage;
use crate::wire;

/// Batches in the WAL that no object holds, and bytes of records in memory.
const WAL_ENTRIES: &str = "streamhouse_wal_entries";
const TAIL_BYTES: &str = "streamhouse_log_tail_bytes";

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

/// Objects are written early, and the WAL's files are small, so that they are used again.
const EARLY: &[&str] = &[
    "log.flush_bytes=1MiB",
    "log.flush_interval=100ms",
    "wal.file_bytes=4MiB",
];

/// Until all data has left the WAL.
const FLUSHED_WITHIN_MS: i64 = 60_000;

pub(super) fn data_set_from_objects(stage: &Stage<'_>) -> Result<()> {
    let mut broker = stage.broker_with(EARLY)?;
    let told = play_from_objects(stage, &mut broker);
    told.with_context(|| format!("the broker's last words:{}", broker.last_words()))?;
    broker.stop()
}

fn play_from_objects(stage: &Stage<'_>, broker: &mut Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let topic = stage.topic_at(&bootstrap, 1, &[])?;
    send(stage, stage.open_at(&bootstrap)?.as_mut(), &topic)?;
    let metrics = broker.metrics()?;
    let end = wall_ms() + FLUSHED_WITHIN_MS;
    while wire::metric(&metrics, WAL_ENTRIES)? > 0.0 {
        ensure!(
            wall_ms() < end,
            "the WAL still holds records after {FLUSHED_WITHIN_MS} ms"
        );
    }
    broker.kill_and_restart()?;

    let metrics = broker.metrics()?;
    for name in [WAL_ENTRIES, TAIL_BYTES] {
        ensure!(
            wire::metric(&metrics, name)? == 0.0,
            "{name} is not 0 after the restart"
        );
    }
    let before = broker.bytes_read();
    receive(stage, stage.open_at(&bootstrap)?.as_mut(), &topic)?;
    if let (Some(before), Some(after)) = (before, broker.bytes_read()) {
        // Neither the WAL nor memory had them: what the process read are objects.
        let wanted: usize = stage.data_set()?.iter().map(Vec::len).sum();
        let read = after - before;
        ensure!(
            read >= u64::try_from(wanted)?,
            "of {wanted} bytes only {read} were read from files"
        );
    }
    Ok(())
}

fn send(stage: &Stage<'_>, session: &mut dyn Session, topic: &str) -> Result<()> {
    let file = stage.folder().join("data-set");
    let records = stage.data_set()?;
    records_file::write(&file, records.iter().map(Vec::as_slice))?;
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
        answer.count == Some(records.len()),
        "{:?} records were sent",
        answer.count
    );
    Ok(())
}

fn receive(stage: &Stage<'_>, session: &mut dyn Session, topic: &str) -> Result<()> {
    let file = stage.folder().join("back");
    let sent = stage.data_set()?;
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
