//! Where to begin reading: beginning, end, an offset, a timestamp.

use anyhow::{Result, ensure};

use super::{consume, ensure_same, numbered, offset_of, produce};
use crate::operation::{Position, Producer};
use crate::stage::Stage;

pub(super) fn seek(stage: &Stage<'_>) -> Result<()> {
    const COUNT: usize = 30;
    const BATCH: usize = 10;
    let mut session = stage.open()?;
    let topic = stage.topic(1, &[])?;
    let mut records = numbered("timed", 0..COUNT);
    for (record, time) in records.iter_mut().zip((1_700_000_000_000..).step_by(1_000)) {
        record.timestamp = Some(time);
    }
    // Three batches, so that a time lies in the middle of one.
    for batch in records.chunks(BATCH) {
        produce(session.as_mut(), &topic, batch, &Producer::default())?;
    }
    let session = session.as_mut();
    let all = consume(session, &topic, 0, Position::Beginning, COUNT)?;
    ensure_same(&records, &all, 0)?;
    ensure!(
        offset_of(session, &topic, 0, Position::Beginning)? == 0,
        "the beginning is not 0"
    );
    let end = i64::try_from(COUNT)?;
    ensure!(
        offset_of(session, &topic, 0, Position::End)? == end,
        "the end is not {COUNT}"
    );
    let from_offset = consume(session, &topic, 0, Position::Offset(17), COUNT - 17)?;
    ensure_same(&records[17..], &from_offset, 17)?;

    // Some clients stamp records themselves, several within a millisecond: what must come is seen in what lies there.
    let times: Vec<i64> = all.iter().filter_map(|record| record.timestamp).collect();
    for time in [
        times[0] - 1,
        times[0],
        times[14],
        times[14] + 1,
        times[COUNT - 1],
    ] {
        let first = times.iter().position(|at| *at >= time);
        let found = offset_of(session, &topic, 0, Position::Time(time))?;
        match first {
            Some(first) => {
                ensure!(
                    found == i64::try_from(first)?,
                    "time {time} is at {found}, not {first}"
                );
                let from_time = consume(session, &topic, 0, Position::Time(time), COUNT - first)?;
                ensure_same(&records[first..], &from_time, i64::try_from(first)?)?;
            }
            None => ensure!(
                found == -1 || found == end,
                "time {time} is at {found}, not at the end"
            ),
        }
    }
    let late = offset_of(
        session,
        &topic,
        0,
        Position::Time(times[COUNT - 1] + 3_600_000),
    )?;
    // Clients without a word for no offset say the end, or -1 for it.
    ensure!(
        late == -1 || late == end,
        "a time after the last record is at {late}"
    );
    Ok(())
}
