//! The console tools of Apache Kafka (`kafka-topics`, `kafka-console-producer`, `kafka-consumer-groups` and so on): one process
//! per operation, by the main classes that the scripts start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::group_process::GroupProcess;
use super::{Client, START_DEADLINE, Session, console_text as text, java};
use crate::clock::wall_ms;
use crate::operation::{Answer, Node, Position, Producer, Record, Refusal, Request};
use crate::process::{self, Output, Process};
use crate::records_file;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

const DEADLINE: Duration = Duration::from_secs(90);

/// For a group to settle or commit, seen by asking again and again.
const GROUP_DEADLINE_MS: i64 = 60_000;

/// What the console producer and kafka-consumer-groups say when they end well, but did not do it.
const TROUBLE: &[&str] = &["Error when sending", "could not be deleted due to"];

/// What the tools say, and Kafka's code for it.
const WORDS: &[(&str, i16)] = &[
    ("does not exist as expected", 3),
    ("UnknownTopicOrPartitionException", 3),
    ("RecordTooLargeException", 10),
    ("already exists", 36),
    ("InvalidPartitionsException", 37),
    ("GroupIdNotFoundException", 69),
];

#[derive(Debug)]
pub(super) struct Console {
    jars: PathBuf,
}

impl Console {
    pub(super) fn new(cache: &Path) -> Self {
        Self {
            jars: cache.join("java"),
        }
    }
}

impl Client for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn title(&self) -> &'static str {
        "Apache Kafka's console tools"
    }

    fn prepare(&mut self) -> Result<String> {
        let version = java::version(&self.jars, "kafka-tools-")?;
        let told = process::output(
            "java",
            Command::new("java").arg("-version"),
            &[],
            START_DEADLINE,
        )?;
        ensure!(told.status.success(), "java does not run: {}", told.stderr);
        Ok(version)
    }

    fn limitation(&self, _scenario: &str) -> Option<&'static str> {
        None
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        match scenario {
            "group"
            | "kill-group"
            | "kill-member"
            | "consumer-protocol"
            | "consumer-protocol-kill" => Some(
                "the console consumer commits by time and when it ends; kafka-consumer-groups shows it",
            ),
            "seek" => Some(
                "kafka-get-offsets finds the offset of a time, from which the console consumer starts",
            ),
            "data-set" | "data-set-after-kill" | "data-set-from-objects" => Some(
                "the console producer reads lines: line ends inside a record are sent as another byte",
            ),
            _ => None,
        }
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        Ok(Box::new(Commands {
            jars: self.jars.clone(),
            bootstrap: bootstrap.to_owned(),
            log: folder.join("console.log"),
            member: None,
        }))
    }
}

/// A user with a shell.
#[derive(Debug)]
struct Commands {
    jars: PathBuf,
    bootstrap: String,
    log: PathBuf,
    member: Option<Member>,
}

/// A console consumer in a group.
#[derive(Debug)]
struct Member {
    process: GroupProcess,
    group: String,
    client_id: String,
}

impl Session for Commands {
    fn perform(&mut self, request: &Request) -> Result<Answer> {
        match request {
            Request::Metadata { topic } => self.metadata(topic),
            Request::CreateTopic {
                topic,
                partitions,
                configs,
            } => self.create_topic(topic, *partitions, configs),
            Request::DeleteTopic { topic } => self.done(TOPICS, &["--delete", "--topic", topic]),
            Request::TopicConfig { topic, name } => self.topic_config(topic, name),
            Request::CreatePartitions { topic, partitions } => {
                let partitions = partitions.to_string();
                self.done(
                    TOPICS,
                    &["--alter", "--topic", topic, "--partitions", &partitions],
                )
            }
            Request::AlterConfig { topic, name, value } => self.alter_config(topic, name, value),
            Request::DeleteRecords { topic, before } => self.delete_records(topic, *before),
            Request::Groups => self.groups(),
            Request::DeleteGroup { group } => {
                self.done(CONSUMER_GROUPS, &["--delete", "--group", group])
            }
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
            } => Ok(Answer {
                offset: Some(self.offset(topic, *partition, *position)?),
                ..Answer::default()
            }),
            Request::Consume {
                topic,
                partition,
                position,
                count,
            } => self.consume(topic, *partition, *position, *count),
            Request::ConsumeFile { topic, file, count } => self.consume_file(topic, file, *count),
            Request::Join { group, topic } => self.join(group, topic, "classic"),
            Request::JoinConsumer { group, topic } => self.join(group, topic, "consumer"),
            Request::Assigned { partitions } => self.wait_for_partitions(*partitions),
            Request::Take { count } => {
                let member = self.member.as_mut().context("not in a group")?;
                Ok(Answer {
                    records: member.process.take(*count)?,
                    ..Answer::default()
                })
            }
            Request::Commit => self.wait_for_commit(),
            Request::Leave => {
                self.member
                    .take()
                    .context("not in a group")?
                    .process
                    .leave()?;
                Ok(Answer::default())
            }
        }
    }
}

impl Commands {
    fn tool(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(java::JVM)
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class);
        command.args(["--bootstrap-server", &self.bootstrap]);
        command
    }

    fn run(&self, class: &str, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let name = class.rsplit('.').next().unwrap_or(class);
        let output = process::output(name, self.tool(class).args(arguments), input, DEADLINE)?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            output.stderr
        );
        // Some tools end well whatever became of what they were asked for.
        let has_failed = TROUBLE.iter().any(|words| said.contains(words));
        if output.status.success() && !has_failed {
            return Ok(output);
        }
        let code = WORDS
            .iter()
            .find(|(words, _)| said.contains(words))
            .map(|(_, code)| *code);
        Err(Refusal {
            code,
            text: format!("{name} {}: {said:.2000}", output.status),
        }
        .into())
    }

    fn metadata(&self, topic: &str) -> Result<Answer> {
        let described = self.run(TOPICS, &["--describe", "--topic", topic], &[])?;
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        let partitions = described.matches("\tPartition: ").count();
        let mut brokers = Vec::new();
        let mut command = Command::new("java");
        command
            .args(java::JVM)
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(CLUSTER);
        command.args(["list-endpoints", "--bootstrap-server", &self.bootstrap]);
        let listed = process::output("ClusterTool", &mut command, &[], DEADLINE)?;
        for line in String::from_utf8_lossy(&listed.stdout).lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, host, port, ..] = words[..] else {
                bail!("list-endpoints says {line}")
            };
            brokers.push(Node {
                id: id.parse()?,
                host: host.to_owned(),
                port: port.parse()?,
            });
        }
        let partitions = Some(i32::try_from(partitions)?);
        Ok(Answer {
            brokers,
            partitions,
            ..Answer::default()
        })
    }

    fn create_topic(
        &self,
        topic: &str,
        partitions: i32,
        configs: &BTreeMap<String, String>,
    ) -> Result<Answer> {
        let partitions = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", topic, "--partitions", &partitions];
        let configs: Vec<String> = configs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        arguments.extend(configs.iter().flat_map(|config| ["--config", config]));
        self.done(TOPICS, &arguments)
    }

    /// Runs a tool of which nothing but its success is asked.
    fn done(&self, class: &str, arguments: &[&str]) -> Result<Answer> {
        self.run(class, arguments, &[]).map(|_| Answer::default())
    }

    fn alter_config(&self, topic: &str, name: &str, value: &str) -> Result<Answer> {
        let config = format!("{name}={value}");
        let entity = ["--entity-type", "topics", "--entity-name", topic];
        let change = ["--alter", "--add-config", &config];
        self.done(CONFIGS, &[&change[..], &entity].concat())
    }

    fn delete_records(&self, topic: &str, before: i64) -> Result<Answer> {
        let file = self.log.with_file_name("delete-records.json");
        let partition = serde_json::json!({ "topic": topic, "partition": 0, "offset": before });
        let offsets = serde_json::json!({ "partitions": [partition], "version": 1 });
        std::fs::write(&file, offsets.to_string())?;
        let file = file.to_str().context("a folder with a name in Unicode")?;
        self.done(DELETE_RECORDS, &["--offset-json-file", file])
    }

    fn groups(&self) -> Result<Answer> {
        let listed = self.run(CONSUMER_GROUPS, &["--list"], &[])?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(Answer {
            groups: listed.lines().map(str::to_owned).collect(),
            ..Answer::default()
        })
    }

    fn topic_config(&self, topic: &str, name: &str) -> Result<Answer> {
        let arguments = [
            "--describe",
            "--entity-type",
            "topics",
            "--entity-name",
            topic,
        ];
        let described = self.run(CONFIGS, &arguments, &[])?;
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        let value = described.lines().find_map(|line| {
            let (found, rest) = line.trim().split_once('=')?;
            (found == name).then(|| rest.split(' ').next().unwrap_or_default().to_owned())
        });
        Ok(Answer {
            value,
            ..Answer::default()
        })
    }

    fn produce(&self, topic: &str, records: &[Record], producer: &Producer) -> Result<Answer> {
        let has_headers = records.iter().any(|record| !record.headers.is_empty());
        let mut input = Vec::new();
        for record in records {
            input.extend(text::line(record, has_headers)?);
        }
        let mut more = text::reader_properties(has_headers);
        more.extend(producer_arguments(producer));
        self.send(topic, &more, &input)?;
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
                !value.contains(&text::LINE_END),
                "a record holds the byte that stands for a line end"
            );
            let other = |byte: &u8| {
                if *byte == b'\n' {
                    text::LINE_END
                } else {
                    *byte
                }
            };
            input.extend(value.iter().map(other));
            input.push(b'\n');
        }
        self.send(topic, &producer_arguments(producer), &input)?;
        Ok(Answer {
            count: Some(values.len()),
            ..Answer::default()
        })
    }

    fn send(&self, topic: &str, more: &[String], input: &[u8]) -> Result<()> {
        let mut arguments = vec!["--topic", topic];
        arguments.extend(more.iter().map(String::as_str));
        self.run(CONSOLE_PRODUCER, &arguments, input).map(|_| ())
    }

    /// -1 for a time after the last record, of which the tool prints nothing.
    fn offset(&self, topic: &str, partition: i32, position: Position) -> Result<i64> {
        let time = match position {
            Position::Beginning => -2,
            Position::End => -1,
            Position::Offset(offset) => return Ok(offset),
            Position::Time(time) => time,
        };
        let (where_, time) = (format!("{topic}:{partition}"), time.to_string());
        let told = self.run(
            GET_OFFSETS,
            &["--topic-partitions", &where_, "--time", &time],
            &[],
        )?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let offset = told
            .lines()
            .find_map(|line| line.strip_prefix(&where_)?.strip_prefix(':'));
        Ok(offset.unwrap_or("-1").parse()?)
    }

    fn consume(
        &self,
        topic: &str,
        partition: i32,
        position: Position,
        count: usize,
    ) -> Result<Answer> {
        let at = match position {
            Position::Beginning => "earliest".to_owned(),
            Position::End => "latest".to_owned(),
            Position::Offset(_) | Position::Time(_) => {
                self.offset(topic, partition, position)?.to_string()
            }
        };
        let (partition, count) = (partition.to_string(), count.to_string());
        let mut arguments = vec!["--topic", topic, "--partition", &partition, "--offset", &at];
        arguments.extend(["--max-messages", &count, "--timeout-ms", "60000"]);
        let format = text::formatter_properties(text::RECORD_END);
        arguments.extend(format.iter().map(String::as_str));
        let output = self.run(CONSOLE_CONSUMER, &arguments, &[])?;
        Ok(Answer {
            records: text::records(&output.stdout)?,
            ..Answer::default()
        })
    }

    fn consume_file(&self, topic: &str, file: &Path, count: usize) -> Result<Answer> {
        let wanted = count.to_string();
        let end = format!("line.separator={}", text::RECORD_END);
        let mut arguments = vec!["--topic", topic, "--partition", "0", "--offset", "earliest"];
        arguments.extend([
            "--max-messages",
            &wanted,
            "--timeout-ms",
            "60000",
            "--formatter-property",
            &end,
        ]);
        let mut values = self.run(CONSOLE_CONSUMER, &arguments, &[])?.stdout;
        for byte in values.iter_mut().filter(|byte| **byte == text::LINE_END) {
            *byte = b'\n';
        }
        let mut values: Vec<&[u8]> = values
            .split(|byte| char::from(*byte) == text::RECORD_END)
            .collect();
        // Behind the last record.
        values.pop();
        records_file::write(file, values)?;
        Ok(Answer {
            count: Some(count),
            ..Answer::default()
        })
    }

    fn join(&mut self, group: &str, topic: &str, protocol: &str) -> Result<Answer> {
        let client_id = format!(
            "console-{}",
            self.log.parent().context("a folder")?.display()
        );
        let client_id = format!("{}-{}", client_id.replace(['/', '.'], ""), wall_ms());
        let mut command = self.tool(CONSOLE_CONSUMER);
        command.args(["--topic", topic, "--group", group, "--from-beginning"]);
        command.args(["--command-property", "auto.commit.interval.ms=200"]);
        command.args(["--command-property", &format!("client.id={client_id}")]);
        command.args(["--command-property", &format!("group.protocol={protocol}")]);
        command.args(text::formatter_properties('\n'));
        let process = Process::start("the console consumer", &mut command, &self.log)?;
        let process = GroupProcess::new(process, text::member_line);
        self.member = Some(Member {
            process,
            group: group.to_owned(),
            client_id,
        });
        Ok(Answer::default())
    }

    /// Until `kafka-consumer-groups` shows this many partitions at this member.
    fn wait_for_partitions(&mut self, partitions: usize) -> Result<Answer> {
        let member = self.member.as_ref().context("not in a group")?;
        self.wait_for(&["--members"], |rows| {
            // GROUP, CONSUMER-ID, HOST, CLIENT-ID, #PARTITIONS
            rows.iter().any(|row| {
                row.get(3) == Some(&member.client_id.as_str())
                    && row.get(4).and_then(|count| count.parse().ok()) == Some(partitions)
            })
        })
    }

    /// Until `kafka-consumer-groups` shows that nothing of the topic is left to read.
    fn wait_for_commit(&mut self) -> Result<Answer> {
        self.wait_for(&["--offsets"], |rows| {
            // GROUP, TOPIC, PARTITION, CURRENT-OFFSET, LOG-END-OFFSET, LAG
            let lags: Vec<&str> = rows
                .iter()
                .filter_map(|row| row.get(5).copied())
                .skip(1)
                .collect();
            !lags.is_empty() && lags.iter().all(|lag| *lag == "0")
        })
    }

    fn wait_for(&self, more: &[&str], is_done: impl Fn(&[Vec<&str>]) -> bool) -> Result<Answer> {
        let group = &self.member.as_ref().context("not in a group")?.group;
        let mut arguments = vec!["--describe", "--group", group];
        arguments.extend_from_slice(more);
        let end = wall_ms() + GROUP_DEADLINE_MS;
        loop {
            let told = match self.run(CONSUMER_GROUPS, &arguments, &[]) {
                Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
                Err(error) => format!("{error:#}"),
            };
            let rows: Vec<Vec<&str>> = told
                .lines()
                .map(|line| line.split_whitespace().collect())
                .collect();
            if is_done(&rows) {
                return Ok(Answer::default());
            }
            ensure!(
                wall_ms() < end,
                "kafka-consumer-groups {} still says: {told}",
                more.join(" ")
            );
        }
    }
}

fn producer_arguments(producer: &Producer) -> Vec<String> {
    let mut properties = vec![format!("enable.idempotence={}", producer.idempotent)];
    if producer.request_bytes > 0 {
        properties.push(format!("max.request.size={}", producer.request_bytes));
    }
    let mut arguments = vec![
        "--compression-codec".to_owned(),
        producer.compression.name().to_owned(),
    ];
    if producer.batch_records > 0 {
        // Batches are bounded by bytes: about this many of the short records of the scenarios.
        arguments.extend([
            "--batch-size".to_owned(),
            (producer.batch_records * 20).to_string(),
        ]);
    }
    arguments.extend(
        properties
            .into_iter()
            .flat_map(|property| ["--command-property".to_owned(), property]),
    );
    arguments
}
