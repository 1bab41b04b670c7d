//! ListOffsets: corners, times, isolation, errors.

use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use streamhouse_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use streamhouse_protocol::messages::{BrokerId, DeleteRecordsRequest, ListOffsetsRequest};
use streamhouse_runtime::{Chance, SeededChance};

use crate::bench::{Bench, Client};
use crate::log_admin::deleting;
use crate::metadata::name;
use crate::records::{NOW_MS, append, batch, timed_batch};
use crate::topics::create;

/// The newest version that is served.
const LIST_OFFSETS: i16 = 10;

/// Asks for times of partitions of one topic.
pub(crate) fn asking(topic: &str, times: &[(i32, i64)]) -> ListOffsetsRequest {
    let partitions = times.iter().map(|(index, time)| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_timestamp(*time)
            .with_current_leader_epoch(-1)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}

async fn ask(
    client: &mut Client,
    version: i16,
    request: &ListOffsetsRequest,
) -> ListOffsetsPartitionResponse {
    let response = client.call(version, request).await;
    response.topics[0].partitions[0].clone()
}

#[tokio::test]
async fn corners_are_answered_in_the_versions_that_know_them() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let times = [
        (NOW_MS, "0"),
        (NOW_MS + 5, "1"),
        (NOW_MS + 5, "2"),
        (NOW_MS + 1, "3"),
    ];
    append(&mut client, "a", 0, &timed_batch(&times, Compression::Gzip)).await;
    client
        .call::<DeleteRecordsRequest>(2, &deleting("a", 0, 1))
        .await;
    let epoch = bench.leaders.current().values().next().unwrap().epoch.0;
    for version in 1..=LIST_OFFSETS {
        let max = if version >= 7 {
            (0, 1, NOW_MS + 5)
        } else {
            (35, -1, -1)
        };
        let local = if version >= 8 {
            (0, 1, -1)
        } else {
            (35, -1, -1)
        };
        // Nothing is tiered.
        let tiered = if version >= 9 {
            (0, -1, -1)
        } else {
            (35, -1, -1)
        };
        for (time, found) in [
            (-1, (0, 4, -1)),
            (-2, (0, 1, -1)),
            (-3, max),
            (-4, local),
            (-5, tiered),
            (-6, (35, -1, -1)),
            (i64::MIN, (35, -1, -1)),
        ] {
            for isolation in if version >= 2 { 0..=1 } else { 0..=0 } {
                let request = asking("a", &[(0, time)]).with_isolation_level(isolation);
                let answer = ask(&mut client, version, &request).await;
                let shown = (answer.error_code, answer.offset, answer.timestamp);
                assert_eq!(shown, found, "time {time} in version {version}");
                let shows_epoch = version >= 4 && found.0 == 0 && found.1 >= 0;
                assert_eq!(answer.leader_epoch, if shows_epoch { epoch } else { -1 });
            }
        }
    }
    // A partition without records has a start and an end, and no time.
    for (time, offset) in [(-1, 0), (-2, 0), (-3, -1), (0, -1), (NOW_MS, -1)] {
        let answer = ask(&mut client, 8, &asking("a", &[(1, time)])).await;
        let shown = (answer.error_code, answer.offset, answer.timestamp);
        assert_eq!(shown, (0, offset, -1), "time {time}");
    }
}

#[tokio::test]
async fn partitions_that_are_asked_for_twice_or_do_not_exist_are_refused() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let response = client
        .call(
            8,
            &asking("a", &[(0, -1), (1, -1), (0, -2), (2, -1), (-1, -1)]),
        )
        .await;
    let found = response.topics[0].partitions.iter();
    let found: Vec<_> = found.map(|it| (it.error_code, it.offset)).collect();
    assert_eq!(found, [(42, -1), (0, 0), (3, -1), (3, -1)]);
    let answer = ask(&mut client, 8, &asking("b", &[(0, -1)])).await;
    assert_eq!((answer.error_code, answer.offset), (3, -1));
    let epoch = bench.leaders.current().values().next().unwrap().epoch.0;
    for (believed, code) in [(epoch, 0), (epoch - 1, 74), (epoch + 1, 75)] {
        let mut request = asking("a", &[(0, -1)]);
        request.topics[0].partitions[0].current_leader_epoch = believed;
        assert_eq!(ask(&mut client, 8, &request).await.error_code, code);
    }
}

/// The first record at or behind `time`, found one by one.
fn by_hand(records: &[i64], start: usize, time: i64) -> (i64, i64) {
    let records = records.iter().enumerate().skip(start);
    let mut found = records.filter(|(_, at)| **at >= time && **at >= 0);
    found.next().map_or((-1, -1), |(offset, at)| {
        (i64::try_from(offset).unwrap(), *at)
    })
}

#[tokio::test]
async fn times_are_found_record_by_record_as_by_hand() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let chance = SeededChance::new(3);
    let mut records: Vec<i64> = Vec::new();
    for round in 0..40_usize {
        let count = 1 + chance.below(4);
        // Out of order, several alike, and some without a time.
        let times: Vec<i64> = (0..count)
            .map(|_| match chance.below(8) {
                0 => -1,
                draw => NOW_MS + i64::try_from(draw * 10 + chance.below(100)).unwrap(),
            })
            .collect();
        let compressions = [Compression::None, Compression::Snappy, Compression::Zstd];
        let values: Vec<_> = times.iter().map(|time| (*time, "x")).collect();
        let batch = timed_batch(&values, compressions[round % 3]);
        append(&mut client, "a", 0, &batch).await;
        records.extend(times);
        if round == 20 {
            bench.turning(bench.log.flush()).await.unwrap();
            let request = deleting("a", 0, 7);
            client.call::<DeleteRecordsRequest>(2, &request).await;
        }
    }
    for time in (NOW_MS - 1)..(NOW_MS + 181) {
        let answer = bench
            .turning(ask(&mut client, 8, &asking("a", &[(0, time)])))
            .await;
        let found = (answer.offset, answer.timestamp);
        assert_eq!(found, by_hand(&records, 7, time), "time {time}");
    }
    let answer = bench
        .turning(ask(&mut client, 8, &asking("a", &[(0, -3)])))
        .await;
    let max = *records[7..].iter().max().unwrap();
    assert_eq!((answer.offset, answer.timestamp), by_hand(&records, 7, max));
}

#[tokio::test]
async fn the_end_is_the_high_watermark_that_a_produce_answer_promised() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    for end in 1..50 {
        append(&mut client, "a", 0, &batch(&["x"])).await;
        let answer = ask(&mut client, 8, &asking("a", &[(0, -1)])).await;
        assert_eq!(answer.offset, end);
    }
}
