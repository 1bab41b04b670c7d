//! Memory is held as long as the records are, and no longer; who waits for it gets it in turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use streamhouse_runtime::{Clock, ManualClock, Monotonic};

use super::{FetchMemory, FetchReader, Reserved, Share};

/// Longer than anything here takes.
const LATE: Monotonic = Monotonic(Duration::from_secs(1000));

fn reader() -> Arc<FetchReader> {
    Arc::default()
}

fn share(bytes: usize) -> Share {
    Share {
        bytes,
        batch_bytes: 0,
    }
}

/// One batch of that size, whatever else.
fn batch(batch_bytes: usize) -> Share {
    Share {
        bytes: 1,
        batch_bytes,
    }
}

fn records(bytes: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; bytes])]
}

/// Memory of which all is held, and who holds it.
fn used_up(bytes: usize) -> (FetchMemory, Arc<FetchReader>, Vec<Bytes>) {
    let (memory, holder) = (FetchMemory::new(bytes), reader());
    let all = memory.try_reserve(&holder, batch(bytes)).unwrap();
    (memory, holder, all.hold(records(bytes)))
}

async fn reserve(
    memory: FetchMemory,
    reader: Arc<FetchReader>,
    share: Share,
    clock: ManualClock,
    until: Monotonic,
) -> Option<Reserved> {
    memory.reserve(&reader, share, &clock, until).await
}

#[test]
fn what_was_read_is_held_until_it_goes_and_what_was_not_is_free() {
    let (memory, reader) = (FetchMemory::new(1 << 20), reader());
    let reserved = memory.try_reserve(&reader, share(10_000_000)).unwrap();
    assert_eq!(reserved.bytes, 1 << 18, "a quarter at most");
    let pieces = [100_000, 2000].map(|length| Bytes::from(vec![7; length]));
    let mut held = reserved.hold(pieces.to_vec());
    assert_eq!(held, pieces);
    assert_eq!(memory.free_bytes(), (1 << 20) - 102_000);
    let slice = held[0].slice(10..20);
    drop(held.remove(0));
    assert_eq!(memory.free_bytes(), (1 << 20) - 102_000);
    drop(slice);
    assert_eq!(memory.free_bytes(), (1 << 20) - 2000, "what was written");
    drop(held);
    assert_eq!(memory.free_bytes(), 1 << 20);
    assert!(!reader.stands_in_the_way(0));
}

#[test]
fn small_pieces_become_one_whose_copy_is_counted() {
    let (memory, reader) = (FetchMemory::new(1 << 20), reader());
    let pieces: Vec<Bytes> = (0..=255)
        .map(|byte| Bytes::from(vec![byte; if byte == 100 { 5000 } else { 300 }]))
        .collect();
    let all = pieces.concat();
    let held = memory
        .try_reserve(&reader, share(1 << 18))
        .unwrap()
        .hold(pieces);
    assert_eq!((held.concat() == all, held.len()), (true, 4));
    assert_eq!(memory.free_bytes(), (1 << 20) - all.len());
    drop(held);
    assert_eq!(memory.free_bytes(), 1 << 20);
}

#[test]
fn of_shared_records_only_the_copies_are_counted() {
    let (memory, reader) = (FetchMemory::new(1 << 20), reader());
    let pieces = [300, 400, 5000, 6000, 500].map(|length| Bytes::from(vec![7; length]));
    let reserved = memory.try_reserve(&reader, share(1 << 18)).unwrap();
    let held = reserved.hold_copies(&pieces);
    let lengths: Vec<usize> = held.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [700, 5000, 6000, 500]);
    assert_eq!(held[1].as_ptr(), pieces[2].as_ptr());
    assert_eq!(memory.free_bytes(), (1 << 20) - 1200);
    drop(held);
    assert_eq!(memory.free_bytes(), 1 << 20);
}

#[test]
fn each_gets_a_quarter_of_what_the_others_left() {
    let memory = FetchMemory::new(1 << 20);
    let mut held = Vec::new();
    let mut free = 1 << 20;
    while let Some(reserved) = memory.try_reserve(&reader(), share(usize::MAX)) {
        assert_eq!(reserved.bytes, (free / 4).max((1 << 20) / 64));
        free -= reserved.bytes;
        held.push(reserved);
    }
    assert!(held.len() > 10, "{}", held.len());
}

#[test]
fn a_batch_that_is_larger_than_its_share_is_paid_for() {
    let memory = FetchMemory::new(1 << 20);
    let reserved = memory.try_reserve(&reader(), batch(600_000)).unwrap();
    assert_eq!(reserved.bytes, 1);
    assert!(memory.try_reserve(&reader(), batch(600_000)).is_none());
    // A topic may hold batches that it would not take any more.
    let held = reserved.hold(records(2_000_000));
    assert_eq!(memory.free_bytes(), 0);
    drop(held);
    assert_eq!(memory.free_bytes(), 1 << 20);
    let any = memory.try_reserve(&reader(), batch(usize::MAX)).unwrap();
    assert_eq!(memory.free_bytes(), 0);
    assert!(any.hold(Vec::new()).is_empty());
    assert_eq!(memory.free_bytes(), 1 << 20, "an empty read holds nothing");
}

#[tokio::test]
async fn those_who_wait_are_served_in_order_and_nobody_passes_them() {
    let (memory, _, held) = used_up(1 << 20);
    let clock = ManualClock::new(0);
    let readers = [reader(), reader(), reader()];
    let mut waiting: Vec<_> = readers
        .iter()
        .map(|it| {
            let wanted = batch(400_000);
            Box::pin(reserve(
                memory.clone(),
                Arc::clone(it),
                wanted,
                clock.clone(),
                LATE,
            ))
        })
        .collect();
    for waiting in &mut waiting {
        assert!(futures::poll!(waiting).is_pending());
    }
    drop(held);
    assert!(memory.try_reserve(&reader(), share(1)).is_none());
    let first = waiting.remove(0).now_or_never().unwrap().unwrap();
    let _second = waiting.remove(0).now_or_never().unwrap().unwrap();
    assert!(futures::poll!(&mut waiting[0]).is_pending());
    drop(first);
    assert!(waiting.remove(0).now_or_never().unwrap().is_some());
    assert!(memory.try_reserve(&reader(), share(1)).is_some());
}

#[tokio::test]
async fn a_wait_ends_in_time_and_the_place_is_kept_for_the_next_one() {
    let (memory, _, held) = used_up(1 << 20);
    let clock = ManualClock::new(0);
    let (early, late) = (reader(), reader());
    let wait = |reader: &Arc<FetchReader>, until| {
        let wanted = batch(1 << 20);
        Box::pin(reserve(
            memory.clone(),
            Arc::clone(reader),
            wanted,
            clock.clone(),
            until,
        ))
    };
    let mut impatient = wait(&early, clock.monotonic() + Duration::from_millis(500));
    assert!(futures::poll!(&mut impatient).is_pending());
    let mut patient = wait(&late, LATE);
    assert!(futures::poll!(&mut patient).is_pending());
    clock.advance(Duration::from_millis(500));
    assert!(impatient.await.is_none());
    // It came first, so it is first again, however often it has to ask.
    let mut again = wait(&early, LATE);
    assert!(futures::poll!(&mut again).is_pending());
    drop(held);
    assert!(futures::poll!(&mut patient).is_pending());
    let all = again.now_or_never().unwrap().unwrap();
    // Once served it is the last one.
    let mut next = wait(&early, LATE);
    assert!(futures::poll!(&mut next).is_pending());
    drop(all);
    assert!(futures::poll!(&mut next).is_pending());
    assert!(patient.now_or_never().unwrap().is_some());
    assert!(next.now_or_never().unwrap().is_some());
}

#[tokio::test]
async fn who_leaves_makes_way_for_those_behind() {
    let (memory, reader) = (FetchMemory::new(1 << 20), reader());
    let half = memory.try_reserve(&reader, batch(1 << 19)).unwrap();
    let clock = ManualClock::new(0);
    let wait = |wanted| {
        let reader = Arc::default();
        Box::pin(reserve(memory.clone(), reader, wanted, clock.clone(), LATE))
    };
    let (mut large, mut small) = (wait(batch(1 << 20)), wait(batch(1 << 18)));
    assert!(futures::poll!(&mut large).is_pending());
    assert!(futures::poll!(&mut small).is_pending());
    drop(large);
    assert!(small.now_or_never().unwrap().is_some());
    drop(half);
    assert_eq!(memory.free_bytes(), 1 << 20);
}

#[tokio::test]
async fn who_holds_what_others_want_is_in_their_way_and_nobody_else_is() {
    let (memory, holder, held) = used_up(1 << 20);
    let clock = ManualClock::new(0);
    let (bystander, other) = (reader(), reader());
    assert!(!holder.stands_in_the_way(holder.unserved_others()));
    let wait = |reader: &Arc<FetchReader>, until| {
        let wanted = share(1000);
        Box::pin(reserve(
            memory.clone(),
            Arc::clone(reader),
            wanted,
            clock.clone(),
            until,
        ))
    };
    let mut own = wait(&holder, LATE);
    assert!(futures::poll!(&mut own).is_pending());
    assert!(!holder.stands_in_the_way(0), "it waits for itself");
    drop(own);
    assert!(!holder.stands_in_the_way(0), "it waited for itself");
    let mut waiting = wait(&other, clock.monotonic() + Duration::from_secs(1));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(holder.stands_in_the_way(0));
    assert!(!bystander.stands_in_the_way(0));
    clock.advance(Duration::from_secs(1));
    assert!(waiting.await.is_none());
    assert!(holder.stands_in_the_way(0), "somebody got nothing");
    assert!(
        !holder.stands_in_the_way(holder.unserved_others()),
        "since then nobody did"
    );
    drop(held);
    assert!(!holder.stands_in_the_way(0));
}
