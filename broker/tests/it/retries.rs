//! Idempotent producers on the wire: what is sent again is not appended again.

use streamhouse_protocol::messages::ProduceRequest;

use crate::bench::Bench;
use crate::records::{
    PRODUCE, append, base_offsets, batch, fetched, produced, producing, sequenced,
};
use crate::topics::{create, delete};

#[tokio::test]
async fn five_requests_whose_answers_were_lost_are_sent_again_and_appended_once() {
    let bench = Bench::new().await;
    let mut lost = bench.connect();
    create(&mut lost, "a", 1).await;
    append(&mut lost, "a", 0, &batch(&["before"])).await;
    let requests: Vec<ProduceRequest> = (0..5)
        .map(|request| {
            let records = sequenced(7, 0, request * 2, &["x", "y"]);
            producing("a", -1, &[(0, records)])
        })
        .collect();
    for request in &requests {
        lost.send(PRODUCE, request).await;
    }
    // All are appended, and nobody reads the answers.
    while fetched(&mut bench.connect(), "a", 0, 0)
        .await
        .high_watermark
        < 11
    {
        tokio::task::yield_now().await;
    }
    drop(lost);
    let mut client = bench.connect();
    let mut sent = Vec::new();
    for request in &requests {
        sent.push(client.send(PRODUCE, request).await);
    }
    for (id, offset) in sent.into_iter().zip([1, 3, 5, 7, 9]) {
        let response = client.answer::<ProduceRequest>(PRODUCE, id).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let data = fetched(&mut client, "a", 0, 0).await;
    assert_eq!(base_offsets(&data), [0, 1, 3, 5, 7, 9]);
    assert_eq!(
        append(&mut client, "a", 0, &sequenced(7, 0, 10, &["z"])).await,
        11
    );
}

#[tokio::test]
async fn a_retry_behind_its_original_on_the_same_connection_gets_the_same_offset() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    let request = producing("a", -1, &[(0, sequenced(7, 0, 0, &["x"]))]);
    let sent = [
        client.send(PRODUCE, &request).await,
        client.send(PRODUCE, &request).await,
    ];
    for id in sent {
        let response = client.answer::<ProduceRequest>(PRODUCE, id).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    }
    assert_eq!(fetched(&mut client, "a", 0, 0).await.high_watermark, 1);
}

#[tokio::test]
async fn gaps_and_old_epochs_are_refused_with_kafkas_codes() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 2).await;
    // Whatever number a producer begins with that nobody knows, it is taken.
    append(&mut client, "a", 0, &sequenced(7, 3, 10, &["x", "y"])).await;
    for (what, records, code) in [
        ("a gap", sequenced(7, 3, 13, &["z"]), 45),
        ("an overlap", sequenced(7, 3, 11, &["z"]), 45),
        ("an older epoch", sequenced(7, 2, 12, &["z"]), 47),
        ("a new epoch not at 0", sequenced(7, 4, 12, &["z"]), 45),
        ("what follows", sequenced(7, 3, 12, &["z"]), 0),
        ("a new epoch", sequenced(7, 4, 0, &["z"]), 0),
        ("another producer", sequenced(8, 0, 0, &["z"]), 0),
    ] {
        let answer = produced(&mut client, "a", 0, &records).await;
        assert_eq!(
            answer.error_code, code,
            "{what}: {:?}",
            answer.error_message
        );
    }
    let elsewhere = produced(&mut client, "a", 1, &sequenced(7, 3, 99, &["x"])).await;
    assert_eq!(elsewhere.error_code, 0, "each partition counts for itself");
}

#[tokio::test]
async fn sequence_numbers_go_on_at_zero_behind_the_largest() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &sequenced(7, 0, i32::MAX - 2, &["x"])).await;
    let across = sequenced(7, 0, i32::MAX - 1, &["x", "y", "z"]);
    assert_eq!(append(&mut client, "a", 0, &across).await, 1);
    assert_eq!(
        append(&mut client, "a", 0, &sequenced(7, 0, 1, &["x"])).await,
        4
    );
    assert_eq!(append(&mut client, "a", 0, &across).await, 1, "a retry");
    let answer = produced(&mut client, "a", 0, &sequenced(7, 0, 0, &["x"])).await;
    assert_eq!(answer.error_code, 45);
}

#[tokio::test]
async fn a_topic_that_was_made_again_knows_nothing_of_the_one_before() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    create(&mut client, "a", 1).await;
    append(&mut client, "a", 0, &sequenced(7, 0, 0, &["x", "y"])).await;
    delete(&mut client, "a").await;
    let gone = produced(&mut client, "a", 0, &sequenced(7, 0, 2, &["z"])).await;
    assert_eq!((gone.error_code, gone.base_offset), (3, -1));
    create(&mut client, "a", 1).await;
    assert_eq!(
        append(&mut client, "a", 0, &sequenced(7, 0, 2, &["z"])).await,
        0
    );
    let data = fetched(&mut client, "a", 0, 0).await;
    assert_eq!((base_offsets(&data), data.high_watermark), (vec![0], 1));
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_producers_write_answers_each_of_them() {
    let bench = Bench::new().await;
    let (mut producer, mut other) = (bench.connect(), bench.connect());
    create(&mut other, "a", 3).await;
    let mut sent = Vec::new();
    for round in 0..60 {
        if round == 30 {
            delete(&mut other, "a").await;
        }
        let request = producing("a", -1, &[(round % 3, batch(&["x"]))]);
        sent.push(producer.send(PRODUCE, &request).await);
    }
    let mut codes = Vec::new();
    for id in sent {
        let response = producer.answer::<ProduceRequest>(PRODUCE, id).await;
        codes.push(response.responses[0].partition_responses[0].error_code);
    }
    // Appended, or lost with its topic before it was durable (6), or too late (3).
    assert!(
        codes.iter().all(|code| [0, 3, 6].contains(code)),
        "{codes:?}"
    );
    assert_eq!(codes.last(), Some(&3));
}
