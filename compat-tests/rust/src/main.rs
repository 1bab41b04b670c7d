//! Performs operations with rdkafka: one line of JSON in, one line of JSON out. The operations and answers are those of the
//! harness, whose files are read here as they are.

#[path = "../../src/operation.rs"]
#[expect(
    dead_code,
    reason = "the harness makes requests and reads answers, a driver the other way round"
)]
mod operation;
#[path = "../../src/records_file.rs"]
#[expect(dead_code, reason = "as above")]
mod records_file;

mod administration;
mod consuming;
mod producing;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use self::consuming::Member;
use self::operation::{Answer, Producer, Refusal, Request};
use self::producing::Sender;

/// How long an operation may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A user's program: its producers live across operations.
struct Driver {
    bootstrap: String,
    producers: HashMap<String, Sender>,
    member: Option<Member>,
}

fn main() -> Result<()> {
    let bootstrap = std::env::args().nth(1).context("the address is missing")?;
    let mut driver = Driver {
        bootstrap,
        producers: HashMap::new(),
        member: None,
    };
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let reply = match driver.perform(request) {
            Ok(answer) => serde_json::json!({ "answer": answer }),
            Err(error) => serde_json::json!({ "refusal": refusal(&error) }),
        };
        writeln!(output, "{reply}")?;
    }
    Ok(())
}

impl Driver {
    fn perform(&mut self, request: Request) -> Result<Answer> {
        match request {
            Request::Metadata { topic } => administration::metadata(&self.config(), &topic),
            Request::CreateTopic {
                topic,
                partitions,
                configs,
            } => administration::create_topic(&self.config(), &topic, partitions, &configs),
            Request::DeleteTopic { topic } => administration::delete_topic(&self.config(), &topic),
            Request::TopicConfig { topic, name } => {
                administration::topic_config(&self.config(), &topic, &name)
            }
            Request::CreatePartitions { topic, partitions } => {
                administration::create_partitions(&self.config(), &topic, partitions)
            }
            Request::AlterConfig { topic, name, value } => {
                administration::alter_config(&self.config(), &topic, &name, &value)
            }
            Request::DeleteRecords { topic, before } => {
                administration::delete_records(&self.config(), &topic, before)
            }
            Request::Groups => administration::groups(&self.config()),
            Request::DeleteGroup { group } => administration::delete_group(&self.config(), &group),
            Request::Produce {
                topic,
                records,
                producer,
            } => self.sender(&producer)?.send(&topic, &records),
            Request::ProduceFile {
                topic,
                file,
                producer,
            } => self.sender(&producer)?.send_file(&topic, &file),
            Request::Seek {
                topic,
                partition,
                position,
            } => consuming::seek(&self.config(), &topic, partition, position),
            Request::Consume {
                topic,
                partition,
                position,
                count,
            } => consuming::consume(&self.config(), &topic, partition, position, count),
            Request::ConsumeFile { topic, file, count } => {
                consuming::consume_file(&self.config(), &topic, &file, count)
            }
            Request::Join { group, topic } => self.join(&group, &topic, "classic"),
            Request::JoinConsumer { group, topic } => self.join(&group, &topic, "consumer"),
            Request::Assigned { partitions } => self.member()?.wait_for(partitions),
            Request::Take { count } => self.member()?.take(count),
            Request::Commit => self.member()?.commit(),
            Request::Leave => {
                self.member.take().context("not in a group")?;
                Ok(Answer::default())
            }
        }
    }

    /// What every client of this program has in common.
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn sender(&mut self, settings: &Producer) -> Result<&mut Sender> {
        let name = serde_json::to_string(settings)?;
        if !self.producers.contains_key(&name) {
            let sender = Sender::new(self.config(), settings)?;
            self.producers.insert(name.clone(), sender);
        }
        self.producers.get_mut(&name).context("it was put there")
    }

    fn join(&mut self, group: &str, topic: &str, protocol: &str) -> Result<Answer> {
        self.member = Some(Member::join(self.config(), group, topic, protocol)?);
        Ok(Answer::default())
    }

    fn member(&mut self) -> Result<&mut Member> {
        match &mut self.member {
            Some(member) => Ok(member),
            None => bail!("not in a group"),
        }
    }
}

/// The client's no, with the code of Kafka's where it tells one; its own codes are below zero.
fn refusal(error: &anyhow::Error) -> Refusal {
    let known = error.downcast_ref::<Refusal>().cloned();
    known.unwrap_or_else(|| {
        let code = error
            .downcast_ref::<KafkaError>()
            .and_then(KafkaError::rdkafka_error_code);
        refused(code, format!("{error:#}"))
    })
}

/// A no of the client's in its own words.
fn refused(code: Option<RDKafkaErrorCode>, text: String) -> Refusal {
    let code = code.and_then(|code| i16::try_from(code as i32).ok());
    Refusal { code, text }
}
