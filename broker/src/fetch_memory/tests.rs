//! Memory is held as long as the records are, and no longer.

use bytes::Bytes;

use super::FetchMemory;

#[tokio::test]
async fn what_was_read_is_held_until_its_last_bytes_go() {
    let memory = FetchMemory::new(64 * 1024);
    let reserved = memory.reserve(10_000_000, true).await.unwrap();
    assert_eq!(
        reserved.bytes,
        16 * 1024,
        "one partition gets a quarter at most"
    );
    let pieces = [1000, 2000].map(|length| Bytes::from(vec![7; length]));
    let held = reserved.hold(pieces.to_vec());
    assert_eq!(
        memory.free_bytes(),
        (64 - 3) * 1024,
        "what was not read is free at once"
    );
    let slice = held[1].slice(10..20);
    drop(held);
    assert_eq!(memory.free_bytes(), (64 - 3) * 1024);
    drop(slice);
    assert_eq!(memory.free_bytes(), 64 * 1024);
}

#[tokio::test]
async fn when_all_is_used_up_one_waits_and_others_get_none() {
    let memory = FetchMemory::new(4 * 1024);
    let held: Vec<Vec<Bytes>> =
        futures::future::join_all((0..4).map(|_| memory.reserve(1024, true)))
            .await
            .into_iter()
            .map(|reserved| reserved.unwrap().hold(vec![Bytes::from(vec![1; 1024])]))
            .collect();
    assert!(memory.reserve(1024, false).await.is_none());
    let mut waiting = Box::pin(memory.reserve(1024, true));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held);
    assert!(waiting.await.is_some());
}

#[tokio::test]
async fn an_empty_read_holds_nothing() {
    let memory = FetchMemory::new(8 * 1024);
    let reserved = memory.reserve(1024, true).await.unwrap();
    assert!(reserved.hold(Vec::new()).is_empty());
    assert_eq!(memory.free_bytes(), 8 * 1024);
}
