//! kcat as Debian ships it (librdkafka 2.0): one process per operation, as on a command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::group_process::{GroupProcess, Line};
use super::{Client, START_DEADLINE, Session};
use crate::operation::{Answer, Bytes, Header, Node, Position, Producer, Record, Refusal, Request};
use crate::process::{self, Output, Process};
use crate::records_file;

/// Stand between key and value, and after a record, on kcat's input. The data hold neither.
const KEY_END: u8 = 0x1f;
const RECORD_END: u8 = 0x1e;

const DEADLINE: Duration = Duration::from_secs(90);

/// What librdkafka says, and Kafka's code for it; kcat prints words only.
const WORDS: &[(&str, i16)] = &[
    ("Unknown topic or partition", 3),
    ("Message size too large", 10),
];

#[derive(Debug)]
pub(super) struct Kcat;

impl Client for Kcat {
    fn name(&self) -> &'static str {
        "kcat"
    }

    fn title(&self) -> &'static str {
        "kcat (librdkafka)"
    }

    fn prepare(&mut self) -> Result<String> {
        let told = process::output("kcat", Command::new("kcat").arg("-V"), &[], START_DEADLINE)?;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("Version "));
        let version = version.context("kcat -V tells no version")?;
        // Version 1.7.1 (JSON, Avro, Transactions, IncrementalAssign, librdkafka 2.0.2 builtin.features=...)
        let own = version.split_whitespace().next().unwrap_or_default();
        let core = version
            .split_once("librdkafka ")
            .map_or("", |(_, rest)| rest);
        Ok(format!(
            "{own} librdkafka {}",
            core.split([' ', ')']).next().unwrap_or_default()
        ))
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        match scenario {
            "create-topic" | "alter-topic" | "delete-records" | "delete-group" => Some(
                "kcat has no command that creates, alters or deletes a topic, records or a group",
            ),
            "unknown-topic" => {
                Some("kcat asks for the topic to be created when it lists its metadata")
            }
            "kill-member" => Some("kcat ends when no broker answers"),
            _ => super::joins_classic_only(scenario),
        }
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        match scenario {
            "nulls" => Some(
                "kcat sends an empty value only with a key, and a null value only without an empty one",
            ),
            "group" | "kill-group" => Some("kcat commits when it leaves"),
            _ => None,
        }
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let log = folder.join("kcat.log");
        Ok(Box::new(Commands {
            bootstrap: bootstrap.to_owned(),
            log,
            member: None,
        }))
    }
}

/// A user with a shell.
#[derive(Debug)]
struct Commands {
    bootstrap: String,
    log: PathBuf,
    member: Option<GroupProcess>,
}

impl Session for Commands {
    fn perform(&mut self, request: &Request) -> Result<Answer> {
        match request {
            Request::Metadata { topic } => self.metadata(topic),
            Request::Produce {
                topic,
                records,
                producer,
            } => self.produce(topic, records, producer),
            Request::ProduceFile {
                topic,
                file,
                producer,
            } => self.produce_file(topic, file, producer),
            Request::Seek {
                topic,
                partition,
                position,
            } => self.seek(topic, *partition, *position),
            Request::Consume {
                topic,
                partition,
                position,
                count,
            } => self.consume(topic, *partition, *position, *count),
            Request::ConsumeFile { topic, file, count } => self.consume_file(topic, file, *count),
            Request::Join { group, topic } => self.join(group, topic),
            Request::JoinConsumer { .. } => bail!("it joins by the classic protocol only"),
            Request::Assigned { partitions } => {
                self.member()?.wait_for_partitions(*partitions)?;
                Ok(Answer::default())
            }
            Request::Take { count } => Ok(Answer {
                records: self.member()?.take(*count)?,
                ..Answer::default()
            }),
            // kcat commits what it has shown when it leaves.
            Request::Commit => Ok(Answer::default()),
            Request::Leave => {
                self.member.take().context("not in a group")?.leave()?;
                Ok(Answer::default())
            }
            Request::CreateTopic { .. }
            | Request::DeleteTopic { .. }
            | Request::TopicConfig { .. }
            | Request::CreatePartitions { .. }
            | Request::AlterConfig { .. }
            | Request::DeleteRecords { .. }
            | Request::Groups
            | Request::DeleteGroup { .. } => {
                bail!("kcat has no command for {request:?}")
            }
        }
    }

    fn can_send(&self, record: &Record) -> bool {
        match (&record.key, &record.value) {
            // An empty line without a key is skipped.
            (None, Some(value)) => !value.0.is_empty(),
            // The switch that makes an empty value null does the same to the key.
            (Some(key), None) => !key.0.is_empty(),
            (None, None) | (Some(_), Some(_)) => true,
        }
    }
}

impl Commands {
    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut command = Command::new("kcat");
        command.args(["-b", &self.bootstrap]).args(arguments);
        let output = process::output("kcat", &mut command, input, DEADLINE)?;
        // Words about broken connections are no failure: librdkafka connects again. A record that was not delivered is one.
        let said = output
            .stderr
            .lines()
            .find(|line| line.contains("Delivery failed"));
        if output.status.success() && said.is_none() {
            return Ok(output);
        }
        let text = output.stderr.trim().to_owned();
        let code = WORDS
            .iter()
            .find(|(words, _)| text.contains(words))
            .map(|(_, code)| *code);
        Err(Refusal { code, text }.into())
    }

    fn metadata(&self, topic: &str) -> Result<Answer> {
        let output = self.run(&["-L", "-J", "-t", topic], &[])?;
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let found = &seen["topics"][0];
        if let Some(text) = found["error"].as_str() {
            let code = WORDS
                .iter()
                .find(|(words, _)| text.contains(words))
                .map(|(_, code)| *code);
            return Err(Refusal {
                code,
                text: text.to_owned(),
            }
            .into());
        }
        let mut brokers = Vec::new();
        for broker in seen["brokers"]
            .as_array()
            .context("brokers in kcat's metadata")?
        {
            let (host, port) = broker["name"]
                .as_str()
                .and_then(|name| name.rsplit_once(':'))
                .context("host:port")?;
            let id = broker["id"].as_i64().context("a broker id")?;
            brokers.push(Node {
                id: i32::try_from(id)?,
                host: host.to_owned(),
                port: port.parse()?,
            });
        }
        let partitions = found["partitions"]
            .as_array()
            .context("partitions in kcat's metadata")?
            .len();
        Ok(Answer {
            brokers,
            partitions: Some(i32::try_from(partitions)?),
            ..Answer::default()
        })
    }

    fn produce(&self, topic: &str, records: &[Record], producer: &Producer) -> Result<Answer> {
        // A process has one set of headers, one partition and one notion of empty.
        let same = |left: &Record, right: &Record| shape(left) == shape(right);
        for run in records.chunk_by(same) {
            let mut input = Vec::new();
            for record in run {
                if shape(record).2 {
                    input.extend_from_slice(field(record.key.as_ref())?);
                    input.push(KEY_END);
                }
                input.extend_from_slice(field(record.value.as_ref())?);
                input.push(RECORD_END);
            }
            let (partition, headers, is_keyed, is_null) = shape(&run[0]);
            let mut more = Vec::new();
            if is_keyed {
                more.extend(["-K".to_owned(), char::from(KEY_END).to_string()]);
            }
            if is_null {
                more.push("-Z".to_owned());
            }
            for header in headers {
                more.extend(["-H".to_owned(), header_argument(header)?]);
            }
            self.send(topic, partition, producer, &more, &input)?;
        }
        Ok(Answer {
            count: Some(records.len()),
            ..Answer::default()
        })
    }

    fn produce_file(&self, topic: &str, file: &Path, producer: &Producer) -> Result<Answer> {
        let values = records_file::read(file)?;
        let mut input = Vec::new();
        for value in &values {
            ensure!(
                !value.contains(&RECORD_END),
                "a record holds the byte that ends records"
            );
            input.extend_from_slice(value);
            input.push(RECORD_END);
        }
        self.send(topic, Some(0), producer, &[], &input)?;
        Ok(Answer {
            count: Some(values.len()),
            ..Answer::default()
        })
    }

    fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        producer: &Producer,
        more: &[String],
        input: &[u8],
    ) -> Result<()> {
        let mut arguments = vec!["-P".to_owned(), "-t".to_owned(), topic.to_owned()];
        arguments.extend(["-D".to_owned(), char::from(RECORD_END).to_string()]);
        arguments.extend(["-z".to_owned(), producer.compression.name().to_owned()]);
        arguments.extend(["-X".to_owned(), "acks=all".to_owned()]);
        if let Some(partition) = partition {
            arguments.extend(["-p".to_owned(), partition.to_string()]);
        }
        if producer.idempotent {
            arguments.extend(["-X".to_owned(), "enable.idempotence=true".to_owned()]);
        }
        if producer.batch_records > 0 {
            arguments.extend([
                "-X".to_owned(),
                format!("batch.num.messages={}", producer.batch_records),
            ]);
        }
        if producer.request_bytes > 0 {
            arguments.extend([
                "-X".to_owned(),
                format!("message.max.bytes={}", producer.request_bytes),
            ]);
        }
        arguments.extend_from_slice(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments, input).map(|_| ())
    }

    fn seek(&self, topic: &str, partition: i32, position: Position) -> Result<Answer> {
        let at = match position {
            Position::Beginning => -2,
            Position::End => -1,
            Position::Offset(offset) => {
                return Ok(Answer {
                    offset: Some(offset),
                    ..Answer::default()
                });
            }
            Position::Time(time) => time,
        };
        let output = self.run(&["-Q", "-t", &format!("{topic}:{partition}:{at}")], &[])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let offset = text.trim().rsplit(' ').next().unwrap_or_default();
        let offset = offset
            .parse()
            .with_context(|| format!("kcat -Q says {text}"))?;
        Ok(Answer {
            offset: Some(offset),
            ..Answer::default()
        })
    }

    fn consume(
        &self,
        topic: &str,
        partition: i32,
        position: Position,
        count: usize,
    ) -> Result<Answer> {
        let at = match position {
            Position::Beginning => "beginning".to_owned(),
            Position::End => "end".to_owned(),
            Position::Offset(offset) => offset.to_string(),
            Position::Time(time) => format!("s@{time}"),
        };
        let (partition, count) = (partition.to_string(), count.to_string());
        let mut arguments = vec!["-C", "-t", topic, "-p", &partition, "-o", &at, "-c", &count];
        arguments.extend(["-f", "%p %o %T %K %S %h\n%k%s\n"]);
        let output = self.run(&arguments, &[])?;
        Ok(Answer {
            records: records(&output.stdout)?,
            ..Answer::default()
        })
    }

    fn consume_file(&self, topic: &str, file: &Path, count: usize) -> Result<Answer> {
        let wanted = count.to_string();
        let mut arguments = vec![
            "-C",
            "-t",
            topic,
            "-p",
            "0",
            "-o",
            "beginning",
            "-c",
            &wanted,
        ];
        arguments.extend(["-X", "fetch.message.max.bytes=16777216"]);
        arguments.extend(["-X", "receive.message.max.bytes=134217728"]);
        arguments.extend(["-f", "%R%s"]);
        let output = self.run(&arguments, &[])?;
        std::fs::write(file, output.stdout)?;
        Ok(Answer {
            count: Some(count),
            ..Answer::default()
        })
    }

    fn join(&mut self, group: &str, topic: &str) -> Result<Answer> {
        let mut command = Command::new("sh");
        // Assignments are told among the errors: both are read in one stream.
        command.args(["-c", "exec kcat \"$@\" 2>&1", "kcat"]);
        command.args([
            "-b",
            &self.bootstrap,
            "-u",
            "-X",
            "auto.offset.reset=earliest",
        ]);
        command.args(["-f", "record %p %o %T %k %s\n", "-G", group, topic]);
        let process = Process::start("kcat -G", &mut command, &self.log)?;
        self.member = Some(GroupProcess::new(process, read_member_line));
        Ok(Answer::default())
    }

    fn member(&mut self) -> Result<&mut GroupProcess> {
        self.member.as_mut().context("not in a group")
    }
}

/// What one process of kcat has in common: partition, headers, whether there are keys, whether empty means null.
fn shape(record: &Record) -> (Option<i32>, &[Header], bool, bool) {
    let is_null = record.value.is_none();
    (
        record.partition,
        &record.headers,
        record.key.is_some() || is_null,
        is_null,
    )
}

fn field(bytes: Option<&Bytes>) -> Result<&[u8]> {
    let bytes = bytes.map_or(&[][..], |bytes| &bytes.0);
    ensure!(
        !bytes.contains(&KEY_END) && !bytes.contains(&RECORD_END),
        "bytes that end fields in a field"
    );
    Ok(bytes)
}

fn header_argument(header: &Header) -> Result<String> {
    match &header.value {
        None => Ok(header.name.clone()),
        Some(value) => Ok(format!(
            "{}={}",
            header.name,
            std::str::from_utf8(&value.0)?
        )),
    }
}

/// Reads records as the format of `consume` writes them.
fn records(mut bytes: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .context("a line")?;
        let line = std::str::from_utf8(&bytes[..end])?;
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        let [
            partition,
            offset,
            timestamp,
            key_length,
            value_length,
            headers,
        ] = words[..]
        else {
            bail!("kcat writes {line}")
        };
        bytes = &bytes[end + 1..];
        let key = cut(&mut bytes, key_length)?;
        let value = cut(&mut bytes, value_length)?;
        bytes = bytes.strip_prefix(b"\n").context("the end of a record")?;
        records.push(Record {
            partition: Some(partition.parse()?),
            offset: Some(offset.parse()?),
            timestamp: Some(timestamp.parse()?),
            stamped_by: None,
            key,
            value,
            headers: headers.split(',').filter_map(header).collect(),
        });
    }
    Ok(records)
}

fn cut(bytes: &mut &[u8], length: &str) -> Result<Option<Bytes>> {
    let length: i64 = length.parse()?;
    let Ok(length) = usize::try_from(length) else {
        return Ok(None);
    };
    let (field, rest) = bytes
        .split_at_checked(length)
        .context("a record is cut short")?;
    *bytes = rest;
    Ok(Some(Bytes(field.to_vec())))
}

/// kcat writes a null value as NULL; the scenarios have no value of these four letters.
fn header(text: &str) -> Option<Header> {
    let (name, value) = text.split_once('=')?;
    Some(Header::new(
        name,
        (value != "NULL").then_some(value.as_bytes()),
    ))
}

fn read_member_line(line: &str) -> Line {
    if let Some((_, partitions)) = line.split_once("): assigned: ") {
        return Line::Assigned(partitions.matches('[').count());
    }
    if line.contains("): revoked: ") {
        return Line::Assigned(0);
    }
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let ["record", partition, offset, timestamp, key, value] = words[..] else {
        return Line::Other;
    };
    Line::Record(Record {
        partition: partition.parse().ok(),
        offset: offset.parse().ok(),
        timestamp: timestamp.parse().ok(),
        stamped_by: None,
        key: (!key.is_empty()).then(|| Bytes(key.into())),
        value: Some(Bytes(value.into())),
        headers: Vec::new(),
    })
}
