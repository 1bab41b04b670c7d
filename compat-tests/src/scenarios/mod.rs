//! What users do with any client. Each scenario is written once and says only what the user asks and what must come back.

mod administration;
mod consumer_protocol;
mod crashes;
mod groups;
mod idempotence;
mod positions;
mod real_data;
mod records;
mod topics;

use anyhow::{Result, ensure};

use crate::clients::Session;
use crate::matrix::scale;
use crate::operation::{Answer, Position, Producer, Record, Request};
use crate::stage::Stage;

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name in cells and topics.
    pub(crate) name: &'static str,
    /// What it shows, for people.
    pub(crate) title: &'static str,
    /// Whether the broker is killed in it, so that it needs one of its own.
    pub(crate) kills: bool,
    pub(crate) play: fn(&Stage<'_>) -> Result<()>,
}

/// Every scenario; the ones that take longest first, so that the end of a run is not spent on one of them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(
        "data-set",
        "60,000 real records arrive with equal checksums",
        real_data::data_set,
    ),
    killing(
        "data-set-after-kill",
        "60,000 real records survive `kill -9`",
        real_data::data_set_after_kill,
    ),
    killing(
        "data-set-from-objects",
        "60,000 real records come out of objects alone, after `kill -9` and with an empty WAL and cache",
        real_data::data_set_from_objects,
    ),
    killing(
        "kill",
        "a producer and a consumer go on after `kill -9`",
        crashes::records,
    ),
    killing(
        "kill-group",
        "a group resumes at its committed offsets after `kill -9`",
        crashes::group,
    ),
    killing(
        "kill-member",
        "a member that was running goes on after `kill -9`",
        crashes::member,
    ),
    killing(
        "consumer-protocol-kill",
        "members by `group.protocol=consumer` that were running go on after `kill -9`",
        consumer_protocol::killed,
    ),
    scenario(
        "consumer-protocol",
        "three members by `group.protocol=consumer` (KIP-848) come and go, and resume at the committed offsets",
        consumer_protocol::group,
    ),
    scenario(
        "consumer-protocol-change",
        "a group changes from the classic to the consumer protocol and back while members are in it",
        consumer_protocol::changed,
    ),
    scenario(
        "group",
        "two members share a topic, leave, and resume at the committed offsets",
        groups::group,
    ),
    scenario(
        "metadata",
        "partitions and brokers are listed, and the brokers answer",
        topics::metadata,
    ),
    scenario(
        "unknown-topic",
        "a topic that does not exist is error 3",
        topics::unknown,
    ),
    scenario(
        "create-topic",
        "a topic is created with configs, refused twice, deleted",
        topics::create,
    ),
    scenario(
        "alter-topic",
        "a topic gets more partitions, not fewer, and another config",
        administration::alter_topic,
    ),
    scenario(
        "delete-records",
        "the first records of a partition are deleted",
        administration::delete_records,
    ),
    scenario(
        "delete-group",
        "a group without members is listed and deleted, once",
        administration::delete_group,
    ),
    scenario(
        "auto-create",
        "a topic comes into being by the first record",
        topics::auto_create,
    ),
    scenario(
        "none",
        "produce and consume without compression",
        records::none,
    ),
    scenario("gzip", "produce and consume with gzip", records::gzip),
    scenario("snappy", "produce and consume with snappy", records::snappy),
    scenario("lz4", "produce and consume with lz4", records::lz4),
    scenario("zstd", "produce and consume with zstd", records::zstd),
    scenario(
        "keys",
        "equal keys share a partition, in order",
        records::keys,
    ),
    scenario(
        "headers",
        "headers keep order, duplicates, null and empty values",
        records::headers,
    ),
    scenario(
        "nulls",
        "null and empty keys and values stay apart; tombstones",
        records::nulls,
    ),
    scenario(
        "large",
        "a record of 10 MB, where `max.message.bytes` lets it in, else error 10",
        records::large,
    ),
    scenario(
        "log-append-time",
        "`LogAppendTime` stamps records, compressed or not",
        records::log_append_time,
    ),
    scenario(
        "seek",
        "positions by beginning, end, offset and timestamp",
        positions::seek,
    ),
    scenario(
        "idempotent",
        "an idempotent producer's records arrive once, in order",
        idempotence::plain,
    ),
    scenario(
        "idempotent-lost-answer",
        "the same when answers are lost on the way",
        idempotence::lost_answers,
    ),
];

const fn scenario(
    name: &'static str,
    title: &'static str,
    play: fn(&Stage<'_>) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        title,
        kills: false,
        play,
    }
}

const fn killing(
    name: &'static str,
    title: &'static str,
    play: fn(&Stage<'_>) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        title,
        kills: true,
        play,
    }
}

/// Sends records with a producer of this kind.
fn produce(
    session: &mut dyn Session,
    topic: &str,
    records: &[Record],
    producer: &Producer,
) -> Result<Answer> {
    let (topic, records, producer) = (topic.to_owned(), records.to_vec(), producer.clone());
    session.perform(&Request::Produce {
        topic,
        records,
        producer,
    })
}

/// Reads records of one partition.
fn consume(
    session: &mut dyn Session,
    topic: &str,
    partition: i32,
    position: Position,
    count: usize,
) -> Result<Vec<Record>> {
    let topic = topic.to_owned();
    let answer = session.perform(&Request::Consume {
        topic,
        partition,
        position,
        count,
    })?;
    ensure!(
        answer.records.len() == count,
        "{} records instead of {count}",
        answer.records.len()
    );
    Ok(answer.records)
}

/// Where a position lies.
fn offset_of(
    session: &mut dyn Session,
    topic: &str,
    partition: i32,
    position: Position,
) -> Result<i64> {
    let answer = session.perform(&Request::Seek {
        topic: topic.to_owned(),
        partition,
        position,
    })?;
    answer
        .offset
        .ok_or_else(|| anyhow::anyhow!("an answer without an offset"))
}

/// What came back is what was sent: keys, values and headers, in order, at consecutive offsets from `first`.
fn ensure_same(sent: &[Record], received: &[Record], first: i64) -> Result<()> {
    for ((sent, received), offset) in sent.iter().zip(received).zip(first..) {
        ensure!(
            sent.content() == received.content(),
            "sent {sent:?}, received {received:?}"
        );
        ensure!(
            received.offset == Some(offset),
            "at offset {:?} instead of {offset}",
            received.offset
        );
    }
    ensure!(
        sent.len() == received.len(),
        "sent {} records, received {}",
        sent.len(),
        received.len()
    );
    Ok(())
}

/// The first `count` records of partition 0 are these, and there is no other.
fn ensure_holds(session: &mut dyn Session, topic: &str, sent: &[Record]) -> Result<()> {
    let received = consume(session, topic, 0, Position::Beginning, sent.len())?;
    ensure_same(sent, &received, 0)?;
    let end = offset_of(session, topic, 0, Position::End)?;
    ensure!(
        end == i64::try_from(sent.len())?,
        "the partition ends at {end}, not {}",
        sent.len()
    );
    Ok(())
}

/// As many as in a default run, or more where more is asked for.
fn many(count: usize) -> usize {
    count * scale()
}

/// Numbered records for partition 0.
fn numbered(what: &str, numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers
        .map(|number| Record::of(format!("{what} {number:05}")).at(0))
        .collect()
}
