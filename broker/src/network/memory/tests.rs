//! Laws of the request memory.

use futures::FutureExt;

use super::{MemoryPool, RequestMemory};

#[test]
fn frames_share_a_pool_and_give_back_what_they_held() {
    let pool = MemoryPool::new(100);
    let mut first = pool.reservation();
    let mut second = pool.reservation();
    first.grow(60).now_or_never().unwrap();
    second.grow(40).now_or_never().unwrap();
    assert_eq!(pool.used_bytes(), 100);
    drop(first);
    assert_eq!(pool.used_bytes(), 40);
    drop(second);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn one_frame_may_exceed_the_pool_and_the_next_one_waits() {
    let pool = MemoryPool::new(100);
    let mut held = pool.reservation();
    held.grow(100).now_or_never().unwrap();
    let mut finisher = pool.reservation();
    finisher.grow(50).now_or_never().unwrap();
    finisher.grow(50).now_or_never().unwrap();
    let mut waiting = pool.reservation();
    let mut turn = Box::pin(waiting.grow(10));
    assert!(turn.as_mut().now_or_never().is_none());
    assert!(pool.is_contended());
    assert_eq!(pool.used_bytes(), 200);
    drop(finisher);
    assert!(
        turn.as_mut().now_or_never().is_some(),
        "the next waiter becomes the finisher"
    );
    drop(turn);
    assert_eq!(pool.used_bytes(), 110);
}

#[test]
fn waiters_are_served_in_order() {
    let pool = MemoryPool::new(10);
    let mut held = pool.reservation();
    held.grow(10).now_or_never().unwrap();
    let mut finisher = pool.reservation();
    finisher.grow(1).now_or_never().unwrap();
    let (mut first, mut second) = (pool.reservation(), pool.reservation());
    let mut first_turn = Box::pin(first.grow(8));
    assert!(first_turn.as_mut().now_or_never().is_none());
    let mut second_turn = Box::pin(second.grow(1));
    assert!(second_turn.as_mut().now_or_never().is_none());
    drop(held);
    assert!(first_turn.now_or_never().is_some());
    assert!(second_turn.now_or_never().is_some());
    assert_eq!(pool.used_bytes(), 10);
}

#[test]
fn a_waiter_that_leaves_holds_nothing() {
    let pool = MemoryPool::new(10);
    let mut held = pool.reservation();
    held.grow(10).now_or_never().unwrap();
    let mut finisher = pool.reservation();
    finisher.grow(1).now_or_never().unwrap();
    let mut leaving = pool.reservation();
    let mut turn = Box::pin(leaving.grow(5));
    assert!(turn.as_mut().now_or_never().is_none());
    drop(turn);
    assert!(!pool.is_contended());
    // Granted but never polled again: the grant comes back as well.
    let mut turn = Box::pin(leaving.grow(5));
    assert!(turn.as_mut().now_or_never().is_none());
    drop(held);
    drop(turn);
    drop(leaving);
    drop(finisher);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn producers_large_frames_and_others_do_not_share() {
    let memory = RequestMemory::new(1, 2, 3);
    let mib = 1024 * 1024;
    assert_eq!(memory.pool_of(true, mib).capacity, 1);
    assert_eq!(memory.pool_of(true, mib + 1).capacity, 2);
    assert_eq!(memory.pool_of(false, mib + 1).capacity, 2);
    assert_eq!(memory.pool_of(false, mib).capacity, 3);
}
