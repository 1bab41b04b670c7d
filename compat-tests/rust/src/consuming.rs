//! Records on their way in: of one partition from a position, or of what a group assigns.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, Timestamp, TopicPartitionList};

use crate::DEADLINE;
use crate::operation::{Answer, Bytes, Header, Position, Record, StampedBy};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn seek(
    config: &ClientConfig,
    topic: &str,
    partition: i32,
    position: Position,
) -> Result<Answer> {
    let reader = reader(config)?;
    let offset = match place(&reader, topic, partition, position)? {
        Offset::Offset(offset) => offset,
        other => {
            let (low, high) = reader.fetch_watermarks(topic, partition, DEADLINE)?;
            if other == Offset::End { high } else { low }
        }
    };
    Ok(Answer {
        offset: Some(offset),
        ..Answer::default()
    })
}

pub(crate) fn consume(
    config: &ClientConfig,
    topic: &str,
    partition: i32,
    position: Position,
    count: usize,
) -> Result<Answer> {
    let mut records = Vec::new();
    read(config, (topic, partition, position), count, |message| {
        records.push(shown(message));
        Ok(())
    })?;
    Ok(Answer {
        records,
        ..Answer::default()
    })
}

pub(crate) fn consume_file(
    config: &ClientConfig,
    topic: &str,
    file: &Path,
    count: usize,
) -> Result<Answer> {
    let mut target = BufWriter::new(File::create(file)?);
    read(config, (topic, 0, Position::Beginning), count, |message| {
        let value = message.payload().unwrap_or_default();
        target.write_all(&u32::try_from(value.len())?.to_be_bytes())?;
        Ok(target.write_all(value)?)
    })?;
    target.flush()?;
    Ok(Answer {
        count: Some(count),
        ..Answer::default()
    })
}

/// Gives the next `count` records of a partition to `use_it`.
fn read(
    config: &ClientConfig,
    (topic, partition, position): (&str, i32, Position),
    count: usize,
    mut use_it: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<()> {
    let reader = reader(config)?;
    let mut partitions = TopicPartitionList::new();
    let place = place(&reader, topic, partition, position)?;
    partitions.add_partition_offset(topic, partition, place)?;
    reader.assign(&partitions)?;
    let end = Instant::now() + DEADLINE;
    let mut left = count;
    while left > 0 {
        if Instant::now() > end {
            bail!("{left} records are missing after {} s", DEADLINE.as_secs());
        }
        if let Some(message) = reader.poll(POLL) {
            use_it(&message?)?;
            left -= 1;
        }
    }
    Ok(())
}

fn reader(config: &ClientConfig) -> Result<BaseConsumer> {
    let mut config = config.clone();
    config.set("group.id", "nobody");
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error");
    config.set("fetch.message.max.bytes", (16 << 20).to_string());
    config.set("receive.message.max.bytes", (128 << 20).to_string());
    Ok(config.create()?)
}

/// A position as this client says it in an assignment.
fn place(reader: &BaseConsumer, topic: &str, partition: i32, position: Position) -> Result<Offset> {
    let time = match position {
        Position::Beginning => return Ok(Offset::Beginning),
        Position::End => return Ok(Offset::End),
        Position::Offset(offset) => return Ok(Offset::Offset(offset)),
        Position::Time(time) => time,
    };
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, partition, Offset::Offset(time))?;
    let found = reader.offsets_for_times(asked, DEADLINE)?;
    match found.find_partition(topic, partition) {
        Some(found) => {
            found.error()?;
            Ok(found.offset())
        }
        None => bail!("no answer about {topic} [{partition}]"),
    }
}

/// How many partitions a member has; the client tells what comes and what goes.
#[derive(Clone, Debug, Default)]
struct Share(Arc<AtomicUsize>);

impl ClientContext for Share {}

impl ConsumerContext for Share {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.0.fetch_sub(partitions.count(), Ordering::SeqCst);
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.0.fetch_add(partitions.count(), Ordering::SeqCst);
        }
    }
}

/// A member of a group, which leaves when it is dropped.
pub(crate) struct Member {
    consumer: BaseConsumer<Share>,
    share: Share,
    waiting: Vec<Record>,
}

impl Member {
    pub(crate) fn join(
        mut config: ClientConfig,
        group: &str,
        topic: &str,
        protocol: &str,
    ) -> Result<Self> {
        config.set("group.id", group);
        config.set("group.protocol", protocol);
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest");
        let share = Share::default();
        let consumer: BaseConsumer<Share> = config.create_with_context(share.clone())?;
        consumer.subscribe(&[topic])?;
        Ok(Self {
            consumer,
            share,
            waiting: Vec::new(),
        })
    }

    pub(crate) fn wait_for(&mut self, partitions: usize) -> Result<Answer> {
        self.until(&format!("{partitions} partitions"), |member| {
            member.share.0.load(Ordering::SeqCst) == partitions
        })?;
        Ok(Answer::default())
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<Answer> {
        self.until(&format!("{count} records"), |member| {
            member.waiting.len() >= count
        })?;
        Ok(Answer {
            records: self.waiting.drain(..count).collect(),
            ..Answer::default()
        })
    }

    pub(crate) fn commit(&self) -> Result<Answer> {
        self.consumer.commit_consumer_state(CommitMode::Sync)?;
        Ok(Answer::default())
    }

    /// Polls until something holds.
    fn until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while !is_done(self) {
            if Instant::now() > end {
                let (share, waiting) = (&self.share, self.waiting.len());
                bail!("no {what} within {DEADLINE:?}; it has {share:?} and {waiting} records");
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => self.waiting.push(shown(&message)),
                // The client goes on by itself.
                Some(Err(error)) => eprintln!("poll: {error}"),
                None => {}
            }
        }
        Ok(())
    }
}

fn shown(message: &BorrowedMessage<'_>) -> Record {
    let stamped_by = match message.timestamp() {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(_) => Some(StampedBy::Producer),
        Timestamp::LogAppendTime(_) => Some(StampedBy::Broker),
    };
    let bytes = |bytes: &[u8]| Bytes(bytes.to_vec());
    let headers = message.headers().map(|headers| {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
            name: header.key.to_owned(),
            value: header.value.map(bytes),
        };
        headers.iter().map(header).collect()
    });
    Record {
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        timestamp: message.timestamp().to_millis(),
        stamped_by,
        key: message.key().map(bytes),
        value: message.payload().map(bytes),
        headers: headers.unwrap_or_default(),
    }
}
