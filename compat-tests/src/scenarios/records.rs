//! Records: what was sent is, byte for byte, what is received.

use anyhow::{Result, bail, ensure};

use super::{consume, ensure_holds, many, numbered, produce};
use crate::clients::refusal_code;
use crate::clock::wall_ms;
use crate::operation::{
    Bytes, Compression, Header, Position, Producer, Record, Request, StampedBy,
};
use crate::records_file;
use crate::stage::Stage;
use crate::wire;

const MESSAGE_TOO_LARGE: i16 = 10;

/// The size of the large record; and the bounds that let it in, of the topic and of clients.
const LARGE: usize = 10_000_000;
const LARGE_BOUND: &str = "11000000";
const LARGE_REQUEST: u32 = 12_000_000;

pub(super) fn none(stage: &Stage<'_>) -> Result<()> {
    compressed(stage, Compression::None)
}

pub(super) fn gzip(stage: &Stage<'_>) -> Result<()> {
    compressed(stage, Compression::Gzip)
}

pub(super) fn snappy(stage: &Stage<'_>) -> Result<()> {
    compressed(stage, Compression::Snappy)
}

pub(super) fn lz4(stage: &Stage<'_>) -> Result<()> {
    compressed(stage, Compression::Lz4)
}

pub(super) fn zstd(stage: &Stage<'_>) -> Result<()> {
    compressed(stage, Compression::Zstd)
}

/// Records that compress well, in batches that say how they are compressed.
fn compressed(stage: &Stage<'_>, compression: Compression) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let records: Vec<Record> = (0..many(200))
        .map(|number| Record::of(format!("{number} {}", "over and over ".repeat(20))).at(0))
        .collect();
    produce(
        session.as_mut(),
        &topic,
        &records,
        &Producer {
            compression,
            ..Producer::default()
        },
    )?;
    for batch in wire::batches(stage.bootstrap(), &topic, 0)? {
        ensure!(
            batch.compression == compression.bits(),
            "a batch has compression {}, not {compression:?}",
            batch.compression
        );
    }
    ensure_holds(session.as_mut(), &topic, &records)
}

pub(super) fn keys(stage: &Stage<'_>) -> Result<()> {
    const PARTITIONS: i32 = 4;
    let mut session = stage.open()?;
    let topic = stage.topic(PARTITIONS, &[])?;
    let records: Vec<Record> = (0..many(60))
        .map(|number| Record::of(format!("value {number}")).keyed(format!("key {}", number % 10)))
        .collect();
    produce(session.as_mut(), &topic, &records, &Producer::default())?;
    let mut received = Vec::new();
    for partition in 0..PARTITIONS {
        let end = super::offset_of(session.as_mut(), &topic, partition, Position::End)?;
        let count = usize::try_from(end)?;
        if count > 0 {
            received.extend(consume(
                session.as_mut(),
                &topic,
                partition,
                Position::Beginning,
                count,
            )?);
        }
    }
    ensure!(
        received.len() == records.len(),
        "{} records instead of {}",
        received.len(),
        records.len()
    );
    for number in 0..10 {
        let key = Some(Bytes(format!("key {number}").into()));
        let sent: Vec<_> = records.iter().filter(|record| record.key == key).collect();
        let arrived: Vec<_> = received.iter().filter(|record| record.key == key).collect();
        let same = sent
            .iter()
            .map(|record| &record.value)
            .eq(arrived.iter().map(|record| &record.value));
        ensure!(same, "of {key:?} arrived {arrived:?}");
        let first = arrived.first().and_then(|record| record.partition);
        ensure!(
            arrived.iter().all(|record| record.partition == first),
            "{key:?} is in two partitions"
        );
    }
    Ok(())
}

pub(super) fn headers(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let mut record = Record::of("value").at(0).keyed("key");
    record.headers = vec![
        Header::new("b", Some(b"1")),
        Header::new("a", Some(b"2")),
        Header::new("b", Some(b"3")),
        Header::new("null", None),
        Header::new("empty", Some(b"")),
        Header::new("a", None),
    ];
    if !session.can_send(&record) {
        // Some clients keep headers of one name together, so they lie here; some have no null.
        record
            .headers
            .sort_by(|left, right| left.name.cmp(&right.name));
        record.headers.retain(|header| {
            let alone = Record {
                headers: vec![header.clone()],
                ..Record::default()
            };
            session.can_send(&alone)
        });
    }
    let records = [record, Record::of("none").at(0).keyed("key")];
    produce(session.as_mut(), &topic, &records, &Producer::default())?;
    ensure_holds(session.as_mut(), &topic, &records)
}

pub(super) fn nulls(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let kinds = [None, Some(""), Some("text")];
    let mut records = Vec::new();
    for key in kinds {
        for value in kinds {
            let bytes = |text: Option<&str>| text.map(|text| Bytes(text.into()));
            let record = Record {
                partition: Some(0),
                key: bytes(key),
                value: bytes(value),
                ..Record::default()
            };
            records.push(record);
        }
    }
    records.retain(|record| session.can_send(record));
    ensure!(
        records
            .iter()
            .any(|record| record.key.is_some() && record.value.is_none()),
        "no tombstone"
    );
    produce(session.as_mut(), &topic, &records, &Producer::default())?;
    ensure_holds(session.as_mut(), &topic, &records)
}

pub(super) fn large(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[("max.message.bytes", LARGE_BOUND)])?;
    let value: Vec<u8> = (0..LARGE)
        .map(|index| b'a' + u8::try_from(index * 7 % 26).unwrap_or(0))
        .collect();
    let (file, back) = (stage.folder().join("large"), stage.folder().join("back"));
    records_file::write(&file, [value.as_slice()])?;
    let producer = Producer {
        request_bytes: LARGE_REQUEST,
        ..Producer::default()
    };
    session.perform(&Request::ProduceFile {
        topic: topic.clone(),
        file: file.clone(),
        producer: producer.clone(),
    })?;
    session.perform(&Request::ConsumeFile {
        topic,
        file: back.clone(),
        count: 1,
    })?;
    ensure!(
        records_file::read(&back)? == [value],
        "the large record came back changed"
    );

    let topic = stage.name("small");
    wire::create_topic(stage.bootstrap(), &topic, 1, &Default::default())?;
    match session.perform(&Request::ProduceFile {
        topic,
        file,
        producer,
    }) {
        Err(error) if refusal_code(&error) == Some(MESSAGE_TOO_LARGE) => Ok(()),
        outcome => bail!("without the config: {outcome:?}, not error {MESSAGE_TOO_LARGE}"),
    }
}

pub(super) fn log_append_time(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[("message.timestamp.type", "LogAppendTime")])?;
    let mut records = numbered("stamped", 0..20);
    for record in &mut records {
        record.timestamp = Some(1_000);
    }
    let before = wall_ms();
    for compression in [Compression::None, Compression::Gzip] {
        produce(
            session.as_mut(),
            &topic,
            &records,
            &Producer {
                compression,
                ..Producer::default()
            },
        )?;
    }
    let after = wall_ms();
    for record in consume(
        session.as_mut(),
        &topic,
        0,
        Position::Beginning,
        2 * records.len(),
    )? {
        let time = record.timestamp.unwrap_or_default();
        ensure!(
            (before..=after).contains(&time),
            "{time} is not between {before} and {after}"
        );
        ensure!(
            record.stamped_by != Some(StampedBy::Producer),
            "stamped by the producer: {record:?}"
        );
    }
    Ok(())
}
