//! Fetch: waiting, limits, error codes, sessions.

use std::time::Duration;

use futures::FutureExt;
use streamhouse_broker::network::CloseReason;
use streamhouse_log::LogSettings;
use streamhouse_protocol::messages::fetch_request::FetchTopic;
use streamhouse_protocol::messages::{DeleteRecordsRequest, FetchRequest};
use tokio::io::AsyncReadExt;

use crate::bench::{Bench, Client, Wanted, settle};
use crate::log_admin::deleting;
use crate::metadata::name;
use crate::records::{
    FETCH, append, base_offsets, batch, batch_of, bytes, fetched, fetching, only, partitions,
    wanted,
};
use crate::topics::{create, delete};

/// The codes that a consumer knows in the answer for a partition (`FetchCollector`): any other ends in the application.
const KNOWN_TO_CONSUMERS: [i16; 14] = [0, 6, 9, 56, 74, 78, 3, 100, 103, 1, 29, 75, -1, 2];

/// `request` with a wait.
pub(crate) fn waiting(request: FetchRequest, bytes: i32, ms: i32) -> FetchRequest {
    request.with_min_bytes(bytes).with_max_wait_ms(ms)
}

/// Nothing was answered by now.
pub(crate) async fn is_silent(client: &mut Client) {
    settle().await;
    let read = client.stream.read_u8().now_or_never();
    assert!(read.is_none(), "{read:?}");
}

/// A bench whose hot tail holds nothing, so that every read goes to the WAL or to objects.
async fn cold() -> Bench {
    let log = LogSettings {
        tail_bytes: 0,
        ..LogSettings::default()
    };
    Bench::with(Wanted {
        log,
        ..Wanted::default()
    })
    .await
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_the_append_and_not_by_the_clock() {
    let bench = Bench::new().await;
    let (mut consumer, mut producer) = (bench.connect(), bench.connect());
    create(&mut producer, "a", 2).await;
    let request = fetching("a", vec![wanted(0, 0), wanted(1, 0)]);
    for round in 0..20 {
        let parts = vec![wanted(0, round), wanted(1, 0)];
        let request = waiting(fetching("a", parts), 1, 30_000);
        let id = consumer.send(FETCH, &request).await;
        is_silent(&mut consumer).await;
        append(&mut producer, "a", 0, &batch(&["x"])).await;
        let response = consumer.answer::<FetchRequest>(FETCH, id).await;
        let found = partitions(response);
        assert_eq!(base_offsets(&found[0]), [round]);
        assert_eq!((bytes(&found[1]), found[1].error_code), (0, 0));
    }
    // The clock never moved, and a fetch that finds enough does not wait.
    let response = consumer.call(FETCH, &waiting(request, 1, 30_000)).await;
    assert_eq!(base_offsets(&partitions(response)[0]).len(), 20);
}

#[tokio::test]
async fn an_idle_fetch_is_answered_empty_when_its_time_is_over_and_not_before() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["x"])).await;
    let request = waiting(fetching("a", vec![wanted(0, 1)]), 1, 500);
    let id = client.send(FETCH, &request).await;
    is_silent(&mut client).await;
    bench.clock.advance(Duration::from_millis(499));
    is_silent(&mut client).await;
    bench.clock.advance(Duration::from_millis(1));
    let data = only(client.answer::<FetchRequest>(FETCH, id).await);
    assert_eq!((data.error_code, bytes(&data)), (0, 0));
    assert!(data.records.is_some(), "librdkafka does not take null");
    assert_eq!((data.high_watermark, data.log_start_offset), (1, 0));
}

#[tokio::test]
async fn a_fetch_that_does_not_want_to_wait_does_not() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for ms in [0, -1, i32::MIN] {
        let request = waiting(fetching("a", vec![wanted(0, 0)]), 1, ms);
        assert_eq!(bytes(&only(client.call(FETCH, &request).await)), 0);
    }
    for bytes_min in [0, -1] {
        let request = waiting(fetching("a", vec![wanted(0, 0)]), bytes_min, 30_000);
        assert_eq!(bytes(&only(client.call(FETCH, &request).await)), 0);
    }
    let nothing = waiting(FetchRequest::default(), 1, 30_000);
    assert_eq!(client.call(FETCH, &nothing).await.error_code, 0);
}

#[tokio::test]
async fn min_bytes_are_gathered_from_all_partitions() {
    let bench = Bench::new().await;
    let (mut consumer, mut producer) = (bench.connect(), bench.connect());
    create(&mut producer, "a", 3).await;
    let one = batch_of(400);
    let enough = i32::try_from(one.len()).unwrap() * 4;
    append(&mut producer, "a", 0, &one).await;
    let parts = (0..3).map(|index| wanted(index, 0)).collect();
    let request = waiting(fetching("a", parts), enough, 30_000);
    let id = consumer.send(FETCH, &request).await;
    for index in [1, 2] {
        is_silent(&mut consumer).await;
        append(&mut producer, "a", index, &one).await;
    }
    is_silent(&mut consumer).await;
    append(&mut producer, "a", 1, &one).await;
    let response = consumer.answer::<FetchRequest>(FETCH, id).await;
    let found: Vec<_> = partitions(response).iter().map(base_offsets).collect();
    assert_eq!(found, [vec![0], vec![0, 1], vec![0]]);
}

#[tokio::test]
async fn a_fetch_that_can_never_get_min_bytes_does_not_wait_for_them() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for _ in 0..3 {
        append(&mut client, "a", 0, &batch_of(400)).await;
    }
    // Two of three fit, and the third is there: no append makes the answer longer.
    let parts = vec![wanted(0, 0).with_partition_max_bytes(1000)];
    let request = waiting(fetching("a", parts), 100_000, 30_000);
    let data = only(client.call(FETCH, &request).await);
    assert_eq!(base_offsets(&data), [0, 1]);
    // More than an answer may hold is not waited for.
    let request = waiting(fetching("a", vec![wanted(0, 0)]), i32::MAX, 30_000);
    let data = only(client.call(FETCH, &request.with_max_bytes(1000)).await);
    assert_eq!(base_offsets(&data), [0, 1]);
}

#[tokio::test]
async fn a_fetch_goes_on_in_the_wal_where_the_objects_end() {
    let bench = cold().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["in an object"])).await;
    bench.turning(bench.log.flush()).await.unwrap();
    append(&mut client, "a", 0, &batch(&["in the WAL"])).await;
    let request = waiting(fetching("a", vec![wanted(0, 0)]), 120, 30_000);
    let data = only(client.call(FETCH, &request).await);
    assert_eq!((base_offsets(&data), data.high_watermark), (vec![0, 1], 2));
}

#[tokio::test]
async fn an_error_of_one_partition_is_told_at_once() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let parts = vec![wanted(0, 0), wanted(7, 0)];
    let request = waiting(fetching("a", parts), 1, 30_000);
    let found = partitions(client.call(FETCH, &request).await);
    let codes: Vec<_> = found.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, 3]);
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_waiting_fetches_ends_them_at_once() {
    let bench = Bench::new().await;
    bench.work_in_background();
    let mut other = bench.connect();
    for (topic, offset) in [("filled", 1), ("empty", 0)] {
        create(&mut other, topic, 1).await;
        for _ in 0..offset {
            append(&mut other, topic, 0, &batch(&["x"])).await;
        }
        let mut consumers = [bench.connect(), bench.connect()];
        let request = waiting(fetching(topic, vec![wanted(0, offset)]), 1, 30_000);
        let mut ids = Vec::new();
        for consumer in &mut consumers {
            ids.push(consumer.send(FETCH, &request).await);
            is_silent(consumer).await;
        }
        delete(&mut other, topic).await;
        for (consumer, id) in consumers.iter_mut().zip(ids) {
            // The clock stands still.
            let data = only(consumer.answer::<FetchRequest>(FETCH, id).await);
            assert_eq!((data.error_code, data.high_watermark), (3, -1), "{topic}");
        }
    }
}

#[tokio::test]
async fn a_fetch_that_gets_no_memory_is_answered_in_time_and_served_when_it_asks_again() {
    let bench = Bench::with(Wanted {
        log: LogSettings {
            tail_bytes: 0,
            ..LogSettings::default()
        },
        // One batch of the largest size is all there is.
        fetch_memory: 1 << 20,
        ..Wanted::default()
    })
    .await;
    let mut producer = bench.connect();
    create(&mut producer, "a", 1).await;
    for _ in 0..2 {
        append(&mut producer, "a", 0, &batch_of(400_000)).await;
    }
    let request = |offset, ms| waiting(fetching("a", vec![wanted(0, offset)]), 1, ms);
    // More than fits between the broker and the consumer.
    let mut slow = bench.connect();
    slow.send(FETCH, &request(0, 500)).await;
    assert!(slow.stream.read_u32().await.unwrap() > 400_000);
    let mut honest = bench.connect();
    for (ms, waited) in [(500, 500), (0, 100), (20, 100)] {
        let id = honest.send(FETCH, &request(1, ms)).await;
        is_silent(&mut honest).await;
        bench.clock.advance(Duration::from_millis(waited - 1));
        is_silent(&mut honest).await;
        bench.clock.advance(Duration::from_millis(1));
        let data = only(honest.answer::<FetchRequest>(FETCH, id).await);
        assert_eq!((data.error_code, bytes(&data)), (0, 0), "{ms}");
        assert_eq!(data.high_watermark, 2);
    }
    // Who does not read is in the way, and ends soon.
    let mut asked = 0;
    loop {
        asked += 1;
        assert!(asked < 10, "it never gets its batch");
        let id = honest.send(FETCH, &request(1, 500)).await;
        settle().await;
        bench.clock.advance(Duration::from_millis(500));
        let data = only(honest.answer::<FetchRequest>(FETCH, id).await);
        if bytes(&data) > 0 {
            assert_eq!(base_offsets(&data), [1]);
            break;
        }
    }
    assert_eq!(slow.closed().await, CloseReason::SlowReader);
}

#[tokio::test]
async fn small_batches_of_the_hot_tail_are_copied_within_the_memory_and_all_arrive() {
    let bench = Bench::with(Wanted {
        fetch_memory: 64 << 10,
        ..Wanted::default()
    })
    .await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let size = batch_of(600).len();
    for _ in 0..100 {
        for index in [0, 1] {
            append(&mut client, "a", index, &batch_of(600)).await;
        }
    }
    let mut next = [0, 0];
    let mut answers = 0;
    while next != [100, 100] {
        answers += 1;
        let parts = vec![wanted(0, next[0]), wanted(1, next[1])];
        let found = partitions(client.call(FETCH, &fetching("a", parts)).await);
        for (data, next) in found.iter().zip(&mut next) {
            let offsets = base_offsets(data);
            assert!(offsets.len() * size <= 16 << 10, "a quarter at most");
            for offset in offsets {
                assert_eq!(offset, *next);
                *next += 1;
            }
        }
    }
    assert!(answers < 10, "{answers}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_a_waiting_fetch_ends_as_unknown() {
    let bench = Bench::new().await;
    let (mut consumer, mut other) = (bench.connect(), bench.connect());
    create(&mut other, "a", 1).await;
    append(&mut other, "a", 0, &batch(&["x"])).await;
    let request = waiting(fetching("a", vec![wanted(0, 1)]), 1, 500);
    let id = consumer.send(FETCH, &request).await;
    is_silent(&mut consumer).await;
    delete(&mut other, "a").await;
    bench.clock.advance(Duration::from_millis(500));
    let data = only(consumer.answer::<FetchRequest>(FETCH, id).await);
    assert!(KNOWN_TO_CONSUMERS.contains(&data.error_code));
    assert_eq!(fetched(&mut consumer, "a", 0, 0).await.error_code, 3);
}

/// Five partitions with three batches of about 1000 bytes each.
async fn filled(bench: &Bench) -> (Client, usize) {
    let mut client = bench.connect();
    create(&mut client, "a", 5).await;
    let records = batch_of(1000);
    for index in 0..5 {
        for _ in 0..3 {
            append(&mut client, "a", index, &records).await;
        }
    }
    (client, records.len())
}

#[tokio::test]
async fn the_first_partition_with_records_gives_a_whole_batch_whatever_the_limits() {
    for is_cold in [false, true] {
        let bench = if is_cold {
            cold().await
        } else {
            Bench::new().await
        };
        let (mut client, size) = filled(&bench).await;
        if is_cold {
            bench.turning(bench.log.flush()).await.unwrap();
        }
        for limit in [-1, 0, 1, 500] {
            // The first partition has nothing, so it is the second that must give.
            let parts = [(3, 3), (1, 1), (2, 0)].into_iter();
            let parts =
                parts.map(|(index, offset)| wanted(index, offset).with_partition_max_bytes(limit));
            let request = fetching("a", parts.collect());
            let found = partitions(client.call(FETCH, &request).await);
            let found: Vec<_> = found.iter().map(base_offsets).collect();
            assert_eq!(found, [vec![], vec![1], vec![]], "partitions of {limit}");
            let parts = vec![wanted(0, 0), wanted(1, 0)];
            let request = fetching("a", parts).with_max_bytes(limit);
            let found = partitions(client.call(FETCH, &request).await);
            let found: Vec<_> = found.iter().map(bytes).collect();
            assert_eq!(found, [size, 0], "an answer of {limit}");
        }
    }
}

#[tokio::test]
async fn the_answer_is_bounded_across_partitions_and_rotation_reaches_them_all() {
    let bench = Bench::new().await;
    let (mut client, size) = filled(&bench).await;
    let limit = i32::try_from(size * 7).unwrap();
    let mut order: Vec<i32> = (0..5).collect();
    for _ in 0..5 {
        let parts = order.iter().map(|index| wanted(*index, 0)).collect();
        let request = fetching("a", parts).with_max_bytes(limit);
        let found = partitions(client.call(FETCH, &request).await);
        let indexes: Vec<_> = found.iter().map(|it| it.partition_index).collect();
        assert_eq!(indexes, order, "the order of the request");
        let batches: Vec<_> = found.iter().map(|it| base_offsets(it).len()).collect();
        assert_eq!(batches, [3, 3, 1, 0, 0]);
        order.rotate_left(1);
    }
}

#[tokio::test]
async fn a_fetch_of_many_partitions_takes_no_more_than_it_may() {
    let bench = cold().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1000).await;
    let records = batch_of(2000);
    for index in 0..1000 {
        append(&mut client, "a", index, &records).await;
    }
    bench.turning(bench.log.flush()).await.unwrap();
    let parts = (0..1000).map(|index| wanted(index, 0)).collect();
    let request = fetching("a", parts).with_max_bytes(i32::MAX);
    let found = partitions(client.call(FETCH, &request).await);
    assert_eq!(found.len(), 1000);
    let sum: usize = found.iter().map(bytes).sum();
    // The bench allows an answer 1 MiB.
    assert!(sum <= 1 << 20 && sum > 1 << 19, "{sum}");
}

#[tokio::test]
async fn offsets_epochs_and_names_that_are_none_get_codes_that_consumers_know() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for _ in 0..4 {
        append(&mut client, "a", 0, &batch(&["x"])).await;
    }
    client
        .call::<DeleteRecordsRequest>(2, &deleting("a", 0, 2))
        .await;
    let epoch = bench.leaders.current().values().next().unwrap().epoch.0;
    let asked = |offset, epoch| wanted(0, offset).with_current_leader_epoch(epoch);
    for (part, code) in [
        (asked(2, -1), 0),
        (asked(4, -1), 0),
        (asked(2, epoch), 0),
        (asked(1, -1), 1),
        (asked(-1, -1), 1),
        (asked(5, -1), 1),
        (asked(2, epoch - 1), 74),
        (asked(2, epoch + 1), 75),
    ] {
        let what = format!("{part:?}");
        let request = waiting(fetching("a", vec![part]), 1, 0);
        let data = only(client.call(FETCH, &request).await);
        assert_eq!(data.error_code, code, "{what}");
        let corners = (data.log_start_offset, data.high_watermark);
        let told = if code == 0 {
            ((2, 4), 4)
        } else {
            ((-1, -1), -1)
        };
        assert_eq!((corners, data.last_stable_offset), told, "{what}");
        assert!(data.records.is_some(), "{what}");
        let committed = request.with_isolation_level(1);
        let aborted = only(client.call(FETCH, &committed).await).aborted_transactions;
        assert_eq!(aborted, (code == 0).then(Vec::new), "{what}");
    }
    for (topic, index) in [("b", 0), ("a", 1), ("a", -1), ("no topic", 0)] {
        let request = fetching(topic, vec![wanted(index, 0)]);
        let data = only(client.call(FETCH, &request).await);
        assert_eq!(data.error_code, 3, "{topic}-{index}");
        assert_eq!((data.high_watermark, data.log_start_offset), (-1, -1));
        assert_eq!(data.aborted_transactions, Some(Vec::new()));
    }
}

#[tokio::test]
async fn a_client_that_read_another_history_is_told_at_once_where_it_diverged() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for _ in 0..4 {
        append(&mut client, "a", 0, &batch(&["x"])).await;
    }
    client
        .call::<DeleteRecordsRequest>(2, &deleting("a", 0, 2))
        .await;
    let epoch = bench.leaders.current().values().next().unwrap().epoch.0;
    let none = (-1, -1);
    for (offset, read_epoch, code, diverging) in [
        (3, epoch, 0, none),
        (4, -1, 0, none),
        (5, epoch, 0, (epoch, 4)),
        (1000, epoch, 0, (epoch, 4)),
        (1000, -1, 1, none),
        (3, epoch + 1, 1, none),
        // Below the log start nothing diverges, and before the first epoch nothing was.
        (1, epoch, 1, none),
        (3, epoch - 1, 0, (epoch - 1, 2)),
    ] {
        let part = wanted(0, offset).with_last_fetched_epoch(read_epoch);
        let is_at_end = diverging == none && offset == 4;
        let wait = if is_at_end { 0 } else { 30_000 };
        let request = waiting(fetching("a", vec![part]), 1, wait).with_isolation_level(1);
        let data = only(client.call(12, &request).await);
        let told = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
        let what = format!("{offset} after {read_epoch}");
        assert_eq!((data.error_code, told), (code, diverging), "{what}");
        if diverging != none {
            assert_eq!((data.high_watermark, bytes(&data)), (4, 0), "{what}");
            assert!(data.aborted_transactions.is_none(), "{what}");
        }
    }
}

#[tokio::test]
async fn both_isolations_read_the_same_where_there_are_no_transactions() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["x", "y"])).await;
    append(&mut client, "a", 0, &batch(&["z"])).await;
    for version in 4..=FETCH {
        let request = fetching("a", vec![wanted(0, 0)]);
        let data = only(client.call(version, &request).await);
        assert!(data.aborted_transactions.is_none(), "version {version}");
        let committed = only(client.call(version, &request.with_isolation_level(1)).await);
        assert!(
            committed
                .aborted_transactions
                .as_ref()
                .is_some_and(Vec::is_empty)
        );
        assert_eq!(
            (&committed.records, committed.last_stable_offset),
            (&data.records, 3)
        );
        assert_eq!(base_offsets(&data), [0, 2]);
        let log_start = if version >= 5 { 0 } else { -1 };
        assert_eq!(data.log_start_offset, log_start);
        assert_eq!(data.preferred_read_replica.0, -1);
    }
}

#[tokio::test]
async fn a_read_inside_a_batch_gives_the_whole_batch() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["0", "1", "2"])).await;
    append(&mut client, "a", 0, &batch(&["3", "4"])).await;
    for (offset, first) in [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3)] {
        let data = fetched(&mut client, "a", 0, offset).await;
        assert_eq!(base_offsets(&data)[0], first, "from {offset}");
    }
    assert_eq!(bytes(&fetched(&mut client, "a", 0, 5).await), 0);
}

#[tokio::test]
async fn no_session_is_made_and_one_that_is_continued_is_not_known() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["x"])).await;
    for version in 7..=FETCH {
        // A full fetch: it wants a session or none, and may name one that it gives up.
        for (id, epoch) in [(0, 0), (0, -1), (77, 0), (77, -1)] {
            let request = fetching("a", vec![wanted(0, 0)])
                .with_session_id(id)
                .with_session_epoch(epoch);
            let response = client.call(version, &request).await;
            assert_eq!((response.error_code, response.session_id), (0, 0));
            assert_eq!(base_offsets(&only(response)), [0], "({id}, {epoch})");
        }
        for (id, epoch) in [(77, 1), (0, 1), (0, i32::MAX), (77, -2)] {
            let request = waiting(fetching("a", vec![wanted(0, 0)]), 1, 30_000)
                .with_session_id(id)
                .with_session_epoch(epoch);
            let response = client.call(version, &request).await;
            assert_eq!((response.error_code, response.session_id), (70, 0));
            assert!(response.responses.is_empty(), "({id}, {epoch})");
        }
    }
}

#[tokio::test]
async fn topics_are_answered_in_the_order_of_the_request() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let names = ["c", "a", "b"];
    let mut topics = Vec::new();
    for topic in names {
        create(&mut client, topic, 2).await;
        append(&mut client, topic, 1, &batch(&["x"])).await;
        let parts = vec![wanted(1, 0), wanted(0, 0)];
        topics.push(
            FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(parts),
        );
    }
    let request = fetching("a", Vec::new()).with_topics(topics);
    let response = client.call(FETCH, &request).await;
    let found = response.responses.iter();
    let found: Vec<_> = found.map(|it| it.topic.0.to_string()).collect();
    assert_eq!(found, names);
    for topic in &response.responses {
        let found = topic.partitions.iter();
        let found: Vec<_> = found
            .map(|it| (it.partition_index, bytes(it) > 0))
            .collect();
        assert_eq!(found, [(1, true), (0, false)]);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_a_storage_error_and_never_a_skip() {
    let bench = cold().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    append(&mut client, "a", 0, &batch(&["x"])).await;
    bench.turning(bench.log.flush()).await.unwrap();
    bench.faults.set_down(true);
    for version in 4..=FETCH {
        let request = waiting(fetching("a", vec![wanted(0, 0), wanted(1, 0)]), 1, 30_000);
        let response = bench.turning(client.call(version, &request)).await;
        let found = partitions(response);
        // Before version 6 consumers do not know KAFKA_STORAGE_ERROR.
        let code = if version < 6 { 6 } else { 56 };
        assert_eq!((found[0].error_code, bytes(&found[0])), (code, 0));
        assert!(KNOWN_TO_CONSUMERS.contains(&code));
        assert_eq!(found[1].error_code, 0, "the other partition is well");
        assert_eq!(found[0].high_watermark, -1);
    }
    bench.faults.set_down(false);
    // A store that did not answer is left alone for half a minute at most.
    bench.clock.advance(std::time::Duration::from_secs(30));
    let data = bench.turning(fetched(&mut client, "a", 0, 0)).await;
    assert_eq!(base_offsets(&data), [0]);
}
