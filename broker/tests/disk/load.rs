//! Producers at work, each with several requests on the way, until something breaks.

use std::collections::VecDeque;
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::broker::{Broker, PATIENCE};
use crate::history::{Outcome, Producer};
use crate::ledger::{Ledger, PRODUCE, outcome, request};
use crate::wire::Connection;

/// Requests on the way per producer: what an idempotent producer may have.
const IN_FLIGHT: usize = 5;

/// What producers tell while they work.
enum Event {
    Acknowledged,
    /// It will send nothing more, for a refusal or a broken connection.
    Ended,
}

/// Lets all producers work until `acks` batches were acknowledged or nobody goes on, then does `fault`, and waits until
/// the producers noticed: each works until its connection breaks, a batch is refused, or `fault` sets its flag. Gives
/// the number of acknowledged batches before the fault.
pub(crate) fn produce(
    ledger: &mut Ledger,
    broker: &Broker,
    acks: u64,
    fault: impl FnOnce(&AtomicBool),
) -> u64 {
    let must_stop = AtomicBool::new(false);
    let (sender, events) = sync_channel(1024);
    let working = ledger.producers.len();
    let port = broker.port;
    let before = std::thread::scope(|scope| {
        for producer in &mut ledger.producers {
            let (sender, must_stop) = (sender.clone(), &must_stop);
            scope.spawn(move || {
                // A broken connection leaves the outcomes unknown, as they are noted.
                let _ = work(producer, port, must_stop, &sender);
                let _ = sender.send(Event::Ended);
            });
        }
        drop(sender);
        let before = count(&events, acks, working);
        match before {
            Some(_) => fault(&must_stop),
            None => must_stop.store(true, Ordering::Relaxed),
        }
        // Those who still tell something must not wait for a listener.
        while events.recv().is_ok() {}
        before
    });
    before.unwrap_or_else(|| {
        panic!(
            "no batch was acknowledged for {} s: {}",
            PATIENCE.as_secs(),
            broker.last_words()
        )
    })
}

/// Counts batches until there are `acks` of them or all producers ended; nothing if neither comes.
fn count(events: &Receiver<Event>, acks: u64, working: usize) -> Option<u64> {
    let (mut counted, mut working) = (0, working);
    while counted < acks && working > 0 {
        match events.recv_timeout(PATIENCE).ok()? {
            Event::Acknowledged => counted += 1,
            Event::Ended => working -= 1,
        }
    }
    Some(counted)
}

fn work(
    producer: &mut Producer,
    port: u16,
    must_stop: &AtomicBool,
    events: &SyncSender<Event>,
) -> Result<()> {
    let mut connection = Connection::open(port)?;
    let mut waiting = VecDeque::new();
    let mut goes_on = true;
    loop {
        while goes_on && waiting.len() < IN_FLIGHT && !must_stop.load(Ordering::Relaxed) {
            let serial = producer.begin();
            waiting.push_back(serial);
            connection.send(PRODUCE, &request(producer, serial))?;
        }
        let Some(serial) = waiting.pop_front() else {
            return Ok(());
        };
        let response =
            connection.receive::<streamhouse_protocol::messages::ProduceRequest>(PRODUCE)?;
        match outcome(&response) {
            acknowledged @ Outcome::Acknowledged(_) => {
                producer.sent[serial].outcome = acknowledged;
                // Nobody counts any more after a failure elsewhere.
                let _ = events.send(Event::Acknowledged);
            }
            Outcome::Unknown => goes_on = false,
            Outcome::Refused(code) => {
                producer.refuse(serial, code);
                goes_on = false;
            }
        }
    }
}
