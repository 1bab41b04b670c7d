//! `streamhouse produce`: each line of standard input becomes a record.
//!
//! A thread reads lines, since standard input cannot be waited for otherwise; at most [`LINES_MAX`] of them wait. What
//! is acknowledged is acknowledged: a command that ends with 0 has written everything it read.

mod line;

use std::io::{self, BufRead, Read};

use clap::{Args, ValueEnum};
use serde::Serialize;
use streamhouse_client::Client;
use streamhouse_client::produce::{Acks, ProduceOptions};
use streamhouse_client::producer::{Delivered, Producer, ProducerOptions};
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::record::Header;
use streamhouse_protocol::record_batch::RecordContent;
use tokio::sync::mpsc;

use self::line::Layout;
use super::failure::Failure;
use super::output::Output;
use super::target::Target;

/// Lines that wait to be sent.
const LINES_MAX: usize = 1024;

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Write each line of standard input as a record
#[derive(Args, Debug)]
pub(super) struct Produce {
    /// The name of the topic; the broker may create it
    topic: String,
    /// The partition [default: by the key as Kafka's clients do it, or in turns without a key]
    #[arg(short, long)]
    partition: Option<i32>,
    /// What separates the key from the value; a line without it has no key [default: no line has a key]
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record; a name without = has the value null. May be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = line::header)]
    headers: Vec<line::HeaderArg>,
    /// Make empty keys and values null; a null value is a tombstone on a compacted topic
    #[arg(short = 'Z', long)]
    null: bool,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// When a record counts as written: `all` when it is as durable as the topic promises, `1` when the leader has it,
    /// `0` never
    #[arg(short, long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Do without idempotence: a batch whose answer is lost is then not sent again, and the command fails
    #[arg(long)]
    no_idempotence: bool,
    /// The size of a full batch, before compression, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..))]
    batch_bytes: u32,
    /// Write JSON: one object per acknowledged batch
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// `--compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionArg {
    pub(super) const fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// `--acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AcksArg {
    #[value(alias = "-1")]
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    None,
}

impl AcksArg {
    pub(super) const fn acks(self) -> Acks {
        match self {
            Self::All => Acks::All,
            Self::Leader => Acks::Leader,
            Self::None => Acks::None,
        }
    }
}

/// Runs `streamhouse produce`.
pub(super) fn run(produce: &Produce, output: &mut Output) -> Result<(), Failure> {
    if produce.key_separator.as_deref() == Some("") {
        return Err(Failure::Usage(
            "--key-separator is empty; name the text between key and value".to_owned(),
        ));
    }
    produce
        .target
        .run(async |client| write(produce, client, output).await)
}

async fn write(produce: &Produce, client: Client, output: &mut Output) -> Result<(), Failure> {
    let topic = client.topic_or_create(&produce.topic).await?;
    let acks = produce.acks.acks();
    let identity = if acks == Acks::All && !produce.no_idempotence {
        Some(client.init_producer_id().await?)
    } else {
        None
    };
    let options = ProducerOptions {
        produce: ProduceOptions {
            acks,
            ..ProduceOptions::default()
        },
        compression: produce.compression.compression(),
        batch_bytes_max: usize::try_from(produce.batch_bytes).unwrap_or(usize::MAX),
        identity,
    };
    let mut lines = lines(&client)?;
    let mut sending = Sending {
        layout: Layout::new(produce.key_separator.as_deref(), produce.null),
        headers: produce
            .headers
            .iter()
            .map(line::HeaderArg::header)
            .collect(),
        partition: produce.partition,
        producer: Producer::new(client.clone(), topic, options),
        client,
    };
    let mut report = Report { produce, output };
    loop {
        // Both arms are cancel-safe: a line is taken or not, and a batch stays on the way until it is given out.
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => report.show(&sending.send(&line?).await?)?,
                None => break,
            },
            done = sending.producer.next_delivered(), if sending.producer.is_busy() => {
                report.show(done?.as_slice())?;
            }
        }
        if lines.is_empty() {
            sending.producer.nudge()?;
        }
    }
    report.show(&sending.producer.flush().await?)
}

struct Sending<'a> {
    layout: Layout<'a>,
    headers: Vec<Header<'a>>,
    partition: Option<i32>,
    producer: Producer,
    client: Client,
}

impl Sending<'_> {
    async fn send(&mut self, line: &[u8]) -> Result<Vec<Delivered>, Failure> {
        let (key, value) = self.layout.split(line);
        let record = RecordContent {
            timestamp_ms: self.client.ambient().clock.wall_ms(),
            attributes: 0,
            key,
            value,
            headers: &self.headers,
        };
        Ok(self.producer.send(self.partition, &record).await?)
    }
}

#[derive(Serialize)]
struct DeliveredView<'a> {
    topic: &'a str,
    partition: i32,
    base_offset: i64,
    records: i32,
}

struct Report<'a> {
    produce: &'a Produce,
    output: &'a mut Output,
}

impl Report<'_> {
    fn show(&mut self, delivered: &[Delivered]) -> Result<(), Failure> {
        if !self.produce.json || delivered.is_empty() {
            return Ok(());
        }
        for delivered in delivered {
            self.output.json(&DeliveredView {
                topic: &self.produce.topic,
                partition: delivered.partition,
                base_offset: delivered.appended.base_offset,
                records: delivered.records,
            })?;
        }
        self.output.flush()
    }
}

/// The lines of standard input, without the byte that ends them.
fn lines(client: &Client) -> Result<mpsc::Receiver<Result<Vec<u8>, Failure>>, Failure> {
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input
                .by_ref()
                .take(LINE_BYTES_MAX + 1)
                .read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(count) if u64::try_from(count).is_ok_and(|count| count > LINE_BYTES_MAX) => {
                    Err(Failure::Data(
                        "a line is longer than 256 MiB; records of that size cannot be written"
                            .to_owned(),
                    ))
                }
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    Ok(line)
                }
                Err(source) => Err(Failure::Io {
                    what: "standard input cannot be read",
                    source,
                }),
            };
            let is_last = line.is_err();
            // Nobody takes lines any more once the command has failed.
            if lines.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    };
    let started = client.ambient().tasks.thread("stdin", read);
    started.map(|_| receiver).map_err(|source| Failure::Io {
        what: "a thread cannot be started",
        source,
    })
}
