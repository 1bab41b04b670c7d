//! Records on their way out: what is sent is waited for, and the first no is the answer.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender as Tell, channel};
use std::time::Instant;

use anyhow::{Result, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::operation::{Answer, Producer, Record};
use crate::{DEADLINE, records_file};

/// Hands on what became of each record.
struct Deliveries(Tell<Result<(), KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let told = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // The receiver lives as long as the producer.
        let _ = self.0.send(told);
    }
}

/// A producer and what it has heard.
pub(crate) struct Sender {
    producer: BaseProducer<Deliveries>,
    told: Receiver<Result<(), KafkaError>>,
}

impl Sender {
    pub(crate) fn new(mut config: ClientConfig, settings: &Producer) -> Result<Self> {
        config.set("acks", "all");
        config.set("compression.type", settings.compression.name());
        config.set("enable.idempotence", settings.idempotent.to_string());
        config.set("queue.buffering.max.kbytes", (1 << 20).to_string());
        if settings.batch_records > 0 {
            config.set("batch.num.messages", settings.batch_records.to_string());
        }
        if settings.request_bytes > 0 {
            config.set("message.max.bytes", settings.request_bytes.to_string());
        }
        let (tell, told) = channel();
        let producer = config.create_with_context(Deliveries(tell))?;
        Ok(Self { producer, told })
    }

    pub(crate) fn send(&mut self, topic: &str, records: &[Record]) -> Result<Answer> {
        for record in records {
            let mut headers = OwnedHeaders::new();
            for header in &record.headers {
                headers = headers.insert(Header {
                    key: &header.name,
                    value: header.value.as_ref().map(|value| &value.0),
                });
            }
            self.enqueue(BaseRecord {
                topic,
                partition: record.partition,
                payload: record.value.as_ref().map(|value| value.0.as_slice()),
                key: record.key.as_ref().map(|key| key.0.as_slice()),
                timestamp: record.timestamp,
                headers: (!record.headers.is_empty()).then_some(headers),
                delivery_opaque: (),
            })?;
        }
        self.arrived(records.len())
    }

    pub(crate) fn send_file(&mut self, topic: &str, file: &Path) -> Result<Answer> {
        let values = records_file::read(file)?;
        for value in &values {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0);
            self.enqueue(record.payload(value))?;
        }
        self.arrived(values.len())
    }

    /// Puts a record into the client's queue, waiting while that is full.
    fn enqueue(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    self.producer.poll(std::time::Duration::ZERO);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again))
                    if Instant::now() < end =>
                {
                    self.producer.poll(std::time::Duration::from_millis(100));
                    record = again;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until every record has its answer.
    fn arrived(&self, count: usize) -> Result<Answer> {
        self.producer.flush(DEADLINE)?;
        let told: Vec<_> = self.told.try_iter().collect();
        if told.len() != count {
            bail!("{} of {count} records were answered", told.len());
        }
        for each in told {
            each?;
        }
        Ok(Answer {
            count: Some(count),
            ..Answer::default()
        })
    }
}
