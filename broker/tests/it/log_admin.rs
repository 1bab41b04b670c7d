//! What administrators ask of the log: deleting records, ends of leader epochs, sizes.

use streamhouse_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use streamhouse_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use streamhouse_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use streamhouse_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use streamhouse_protocol::messages::{
    DeleteRecordsRequest, DescribeLogDirsRequest, OffsetForLeaderEpochRequest,
};

use crate::bench::{Bench, Client, OBJECTS_DIR, WAL_DIR};
use crate::metadata::name;
use crate::records::{append, batch, fetched};
use crate::topics::{create, create_with};

/// Asks for the records of one partition below `offset` to go.
pub(crate) fn deleting(topic: &str, index: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(index)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000)
}

async fn deleted(client: &mut Client, topic: &str, index: i32, offset: i64) -> (i16, i64) {
    let response = client.call(2, &deleting(topic, index, offset)).await;
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.partition_index, index);
    (found.error_code, found.low_watermark)
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset_that_exists() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["0", "1", "2", "3", "4"])).await;
    for (offset, found) in [
        (2, (0, 2)),
        (1, (0, 2)),
        (0, (0, 2)),
        (6, (1, -1)),
        (-2, (1, -1)),
        (5, (0, 5)),
        (-1, (0, 5)),
    ] {
        assert_eq!(
            deleted(&mut client, "a", 0, offset).await,
            found,
            "{offset}"
        );
    }
    let data = fetched(&mut client, "a", 0, 5).await;
    assert_eq!((data.log_start_offset, data.high_watermark), (5, 5));
    for (topic, index) in [("b", 0), ("a", 1), ("a", -1)] {
        assert_eq!(deleted(&mut client, topic, index, 0).await, (3, -1));
    }
}

#[tokio::test]
async fn only_a_cleanup_policy_with_delete_lets_records_be_deleted() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for (policy, found) in [
        ("compact", (44, -1)),
        ("delete", (0, 1)),
        ("compact,delete", (0, 1)),
    ] {
        let topic = policy.replace(',', "-");
        create_with(&mut client, &topic, &[("cleanup.policy", policy)]).await;
        append(&mut client, &topic, 0, &batch(&["0", "1"])).await;
        assert_eq!(deleted(&mut client, &topic, 0, 1).await, found, "{policy}");
    }
}

fn epoch_of(topic: &str, index: i32, epoch: i32, believed: i32) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(index)
        .with_leader_epoch(epoch)
        .with_current_leader_epoch(believed);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![partition]);
    OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
}

#[tokio::test]
async fn the_current_epoch_ends_where_the_log_ends_and_a_later_one_nowhere() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &batch(&["0", "1"])).await;
    let now = bench.leaders.current().values().next().unwrap().epoch.0;
    for (index, epoch, believed, found) in [
        (0, now, -1, (0, now, 2)),
        (0, now, now, (0, now, 2)),
        (0, now + 1, -1, (0, -1, -1)),
        (0, -1, -1, (0, -1, -1)),
        (0, now, now - 1, (74, -1, -1)),
        (0, now, now + 1, (75, -1, -1)),
        (1, now, -1, (3, -1, -1)),
    ] {
        for version in 2..=4 {
            let request = epoch_of("a", index, epoch, believed);
            let response = client.call(version, &request).await;
            let answer = &response.topics[0].partitions[0];
            let shown = (answer.error_code, answer.leader_epoch, answer.end_offset);
            assert_eq!(shown, found, "epoch {epoch} for a client in {believed}");
        }
    }
    let response = client.call(4, &epoch_of("b", 0, now, -1)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 3);
}

#[tokio::test]
async fn an_epoch_in_which_nothing_was_written_does_not_reset_its_consumers() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    let now = bench.leaders.current().values().next().unwrap().epoch.0;
    append(&mut client, "a", 0, &batch(&["0", "1", "2"])).await;
    deleted(&mut client, "a", 0, 2).await;
    // A consumer that found an empty partition, before the broker was started again, goes on where it was.
    for (index, log_start) in [(0, 2), (1, 0)] {
        let response = client.call(4, &epoch_of("a", index, now - 1, now)).await;
        let answer = &response.topics[0].partitions[0];
        let shown = (answer.error_code, answer.leader_epoch, answer.end_offset);
        assert_eq!(shown, (0, now - 1, log_start));
    }
}

/// The folders with their partitions and sizes, by name.
fn folders(results: &[DescribeLogDirsResult]) -> Vec<(&str, Vec<(String, i64)>)> {
    let folders = results.iter().map(|folder| {
        assert_eq!((folder.error_code, folder.total_bytes), (0, -1));
        let partitions = folder.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|it| {
                assert!(it.offset_lag == 0 && !it.is_future_key);
                let name = format!("{}-{}", topic.name.as_str(), it.partition_index);
                (name, it.partition_size)
            })
        });
        (&*folder.log_dir, partitions.collect())
    });
    folders.collect()
}

#[tokio::test]
async fn sizes_are_told_by_the_place_where_the_bytes_lie() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    create(&mut client, "b", 1).await;
    let records = batch(&["0", "1"]);
    let bytes = i64::try_from(records.len()).unwrap();
    append(&mut client, "a", 1, &records).await;
    bench.turning(bench.log.flush()).await.unwrap();
    append(&mut client, "a", 1, &records).await;
    append(&mut client, "a", 1, &records).await;
    let all = DescribeLogDirsRequest::default().with_topics(None);
    let at = |name: &str, bytes| (name.to_owned(), bytes);
    for version in 1..=4 {
        let response = client.call(version, &all).await;
        assert_eq!(response.error_code, 0);
        let in_wal = vec![at("a-1", 2 * bytes)];
        let in_objects = vec![at("a-0", 0), at("a-1", bytes), at("b-0", 0)];
        let expected = [(WAL_DIR, in_wal), (OBJECTS_DIR, in_objects)];
        assert_eq!(folders(&response.results), expected);
    }
    bench.turning(bench.log.flush()).await.unwrap();
    let asked = |topic: &str, partitions: &[i32]| {
        DescribableLogDirTopic::default()
            .with_topic(name(topic))
            .with_partitions(partitions.to_vec())
    };
    let some = vec![asked("a", &[1, 7]), asked("none", &[0])];
    let request = DescribeLogDirsRequest::default().with_topics(Some(some));
    let response = client.call(4, &request).await;
    let expected = [(WAL_DIR, vec![]), (OBJECTS_DIR, vec![at("a-1", 3 * bytes)])];
    assert_eq!(folders(&response.results), expected);
}
