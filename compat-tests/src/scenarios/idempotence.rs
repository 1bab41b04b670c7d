//! Idempotent producers: each record once and in order, whatever the network loses.

use anyhow::{Result, ensure};

use super::{ensure_holds, many, numbered, produce};
use crate::clients::Session;
use crate::operation::{Producer, Record};
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::wire;

/// Small batches, so that several are on their way when an answer is lost.
const BATCH_RECORDS: u32 = 10;

/// How many answers are lost.
const LOSSES: usize = 3;

pub(super) fn plain(stage: &Stage<'_>) -> Result<()> {
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let records = numbered("once", 0..many(100));
    send(session.as_mut(), &topic, &records)?;
    for batch in wire::batches(stage.bootstrap(), &topic, 0)? {
        ensure!(batch.producer_id >= 0, "a batch without a producer id");
    }
    ensure_holds(session.as_mut(), &topic, &records)
}

pub(super) fn lost_answers(stage: &Stage<'_>) -> Result<()> {
    let topic = stage.topic(1, &[])?;
    let proxy = Proxy::start(stage.bootstrap(), LOSSES)?;
    let mut session = stage.open_at(&proxy.bootstrap())?;
    let records = numbered("once", 0..many(100));
    for part in records.chunks(many(50)) {
        send(session.as_mut(), &topic, part)?;
    }
    ensure!(
        proxy.lost() == LOSSES,
        "{} answers were lost, not {LOSSES}",
        proxy.lost()
    );
    let mut direct = stage.open()?;
    ensure_holds(direct.as_mut(), &topic, &records)
}

fn send(session: &mut dyn Session, topic: &str, records: &[Record]) -> Result<()> {
    let producer = Producer {
        idempotent: true,
        batch_records: BATCH_RECORDS,
        ..Producer::default()
    };
    produce(session, topic, records, &producer).map(|_| ())
}
