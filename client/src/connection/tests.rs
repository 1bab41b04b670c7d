//! One connection: order, bounds, versions, and what happens when it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ListGroupsRequest, ListGroupsResponse,
    MetadataRequest, RequestKind,
};
use streamhouse_runtime::{Ambient, ManualClock, Monotonic};
use tokio::io::AsyncWriteExt;

use super::{Connection, ConnectionOptions, Encoded};
use crate::error::{CallError, Outcome};
use crate::scripted::{Peer, eager, offer, with_clock};

const NEVER: Monotonic = Monotonic(Duration::from_secs(3600));

fn pair() -> (Box<dyn crate::connector::Stream>, Peer) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    (Box::new(ours), Peer { stream: theirs })
}

async fn opened(in_flight_max: usize, ambient: &Ambient) -> (Connection, Peer) {
    let (stream, mut peer) = pair();
    let options = ConnectionOptions {
        in_flight_max,
        ..ConnectionOptions::default()
    };
    let open = Connection::open(stream, "b:1", &options, ambient, NEVER);
    let (connection, ()) = tokio::join!(open, async { peer.greet(&BTreeMap::new()).await });
    (connection.unwrap(), peer)
}

fn list_groups() -> Encoded {
    Encoded::new("test", 0, &ListGroupsRequest::default()).unwrap()
}

/// An answer that can be told from others.
fn numbered(code: i16) -> ListGroupsResponse {
    ListGroupsResponse::default().with_error_code(code)
}

#[tokio::test]
async fn many_requests_are_on_the_way_and_each_gets_its_answer() {
    let (connection, mut peer) = opened(3, &eager()).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(connection.send(&list_groups()).await.unwrap());
    }
    let mut headers = Vec::new();
    for _ in 0..3 {
        headers.push(peer.next().await.unwrap().0);
    }
    assert!(headers.is_sorted_by_key(|header| header.correlation_id));
    assert_eq!(headers[0].client_id.as_str(), "test");
    for (code, header) in (1..).zip(&headers) {
        peer.answer::<ListGroupsRequest>(header, &numbered(code))
            .await;
    }
    for (code, answer) in (1..).zip(answers) {
        let response = connection
            .decode::<ListGroupsRequest>(0, answer.frame().await.unwrap())
            .unwrap();
        assert_eq!(response.error_code, code);
    }
}

#[tokio::test]
async fn what_is_on_the_way_is_bounded() {
    let (connection, mut peer) = opened(2, &eager()).await;
    let first = connection.send(&list_groups()).await.unwrap();
    let second = connection.send(&list_groups()).await.unwrap();
    let request = list_groups();
    let mut third = Box::pin(connection.send(&request));
    assert!(
        futures::poll!(&mut third).is_pending(),
        "two are on the way"
    );
    let (header, _) = peer.next().await.unwrap();
    peer.answer::<ListGroupsRequest>(&header, &numbered(1))
        .await;
    first.frame().await.unwrap();
    third.await.unwrap();
    drop(second);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_thrown_away() {
    let (connection, mut peer) = opened(5, &eager()).await;
    drop(connection.send(&list_groups()).await.unwrap());
    let kept = connection.send(&list_groups()).await.unwrap();
    for code in 1..=2 {
        let (header, _) = peer.next().await.unwrap();
        peer.answer::<ListGroupsRequest>(&header, &numbered(code))
            .await;
    }
    let response = connection
        .decode::<ListGroupsRequest>(0, kept.frame().await.unwrap())
        .unwrap();
    assert_eq!(response.error_code, 2);
}

#[tokio::test]
async fn a_request_that_was_written_may_have_happened_when_the_broker_closes() {
    let (connection, mut peer) = opened(5, &eager()).await;
    let answer = connection.send(&list_groups()).await.unwrap();
    peer.next().await.unwrap();
    drop(peer);
    let error = answer.frame().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
    assert_eq!(
        error.to_string(),
        "the connection to broker b:1 ended before ListGroups was answered: the broker closed it"
    );
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_request_on_a_closed_connection_did_not_happen() {
    let (connection, mut peer) = opened(5, &eager()).await;
    let answer = connection.send(&list_groups()).await.unwrap();
    peer.next().await.unwrap();
    drop(peer);
    answer.frame().await.unwrap_err();
    let error = connection
        .exchange(&list_groups(), NEVER)
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::DidNotHappen, "{error}");
}

#[tokio::test]
async fn an_answer_out_of_order_ends_the_connection() {
    let (connection, mut peer) = opened(5, &eager()).await;
    let answer = connection.send(&list_groups()).await.unwrap();
    let (header, _) = peer.next().await.unwrap();
    peer.answer_as::<ListGroupsRequest>(header.correlation_id + 1, 0, &numbered(0))
        .await;
    let error = answer.frame().await.unwrap_err();
    assert!(error.to_string().contains("instead of"), "{error}");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_size_that_is_not_kafkas_ends_the_connection_before_memory_is_taken() {
    for size in [-1, 0, 3, i32::MAX] {
        let (connection, mut peer) = opened(5, &eager()).await;
        let answer = connection.send(&list_groups()).await.unwrap();
        peer.next().await.unwrap();
        peer.stream.write_i32(size).await.unwrap();
        let error = answer.frame().await.unwrap_err();
        assert!(
            error.to_string().contains("kafka protocol"),
            "{size}: {error}"
        );
    }
}

#[tokio::test]
async fn an_answer_may_arrive_byte_by_byte() {
    let (connection, mut peer) = opened(5, &eager()).await;
    let answer = connection.send(&list_groups()).await.unwrap();
    let (header, _) = peer.next().await.unwrap();
    let rope = streamhouse_protocol::response::encode_response::<ListGroupsRequest>(
        header.correlation_id,
        0,
        &numbered(9),
    );
    for byte in rope.unwrap().into_bytes() {
        peer.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let response = connection
        .decode::<ListGroupsRequest>(0, answer.frame().await.unwrap())
        .unwrap();
    assert_eq!(response.error_code, 9);
}

#[tokio::test]
async fn no_answer_in_time_may_have_happened_and_leaves_the_connection_open() {
    let clock = ManualClock::new(0);
    let (connection, mut peer) = opened(5, &with_clock(Arc::new(clock.clone()))).await;
    let limit = Monotonic(Duration::from_secs(3));
    let request = list_groups();
    let mut waiting = Box::pin(connection.exchange(&request, limit));
    assert!(futures::poll!(&mut waiting).is_pending());
    peer.next().await.unwrap();
    clock.advance(Duration::from_secs(3));
    let error = waiting.await.unwrap_err();
    assert!(
        matches!(error, CallError::TimedOut { after, .. } if after == Duration::from_secs(3)),
        "{error}"
    );
    assert_eq!(error.outcome(), Outcome::MayHaveHappened);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_request_without_answer_disturbs_nobody() {
    let (connection, mut peer) = opened(1, &eager()).await;
    connection.send_only(&list_groups()).await.unwrap();
    let answer = connection.send(&list_groups()).await.unwrap();
    let (first, _) = peer.next().await.unwrap();
    let (second, _) = peer.next().await.unwrap();
    assert!(second.correlation_id > first.correlation_id);
    peer.answer::<ListGroupsRequest>(&second, &numbered(4))
        .await;
    answer.frame().await.unwrap();
}

#[tokio::test]
async fn the_highest_common_version_is_used() {
    let (stream, mut peer) = pair();
    let options = ConnectionOptions::default();
    let ambient = eager();
    let open = Connection::open(stream, "b:1", &options, &ambient, NEVER);
    let max = BTreeMap::from([(ApiKey::Metadata as i16, 9)]);
    let (connection, ()) = tokio::join!(open, async { peer.greet(&max).await });
    let connection = connection.unwrap();
    assert_eq!(
        connection.version::<MetadataRequest>(13).unwrap(),
        9,
        "the broker's highest"
    );
    assert_eq!(connection.version::<MetadataRequest>(4).unwrap(), 4, "ours");
}

#[tokio::test]
async fn an_api_without_common_version_is_refused_with_both_ranges() {
    let (stream, mut peer) = pair();
    let options = ConnectionOptions::default();
    let ambient = eager();
    let open = Connection::open(stream, "b:1", &options, &ambient, NEVER);
    let greet = async {
        let (header, _) = peer.next().await.unwrap();
        let mut offered = offer(&BTreeMap::new());
        offered
            .api_keys
            .retain(|api| api.api_key != ApiKey::ListGroups as i16);
        for api in &mut offered.api_keys {
            if api.api_key == ApiKey::Metadata as i16 {
                (api.min_version, api.max_version) = (12, 13);
            }
        }
        peer.answer::<ApiVersionsRequest>(&header, &offered).await;
    };
    let (connection, ()) = tokio::join!(open, greet);
    let connection = connection.unwrap();
    let absent = connection
        .version::<ListGroupsRequest>(5)
        .unwrap_err()
        .to_string();
    assert!(
        absent.starts_with("broker b:1 does not offer ListGroups, this client speaks v0 to v5"),
        "{absent}"
    );
    let above = connection
        .version::<MetadataRequest>(11)
        .unwrap_err()
        .to_string();
    assert!(
        above.starts_with("broker b:1 offers Metadata v12 to v13, this client speaks v0 to v11"),
        "{above}"
    );
}

#[tokio::test]
async fn a_broker_that_does_not_know_our_api_versions_is_asked_in_its_own() {
    let (stream, mut peer) = pair();
    let options = ConnectionOptions::default();
    let ambient = eager();
    let open = Connection::open(stream, "b:1", &options, &ambient, NEVER);
    let answers = async {
        let (first, _) = peer.next().await.unwrap();
        assert!(first.api_version > 2);
        let max = BTreeMap::from([(ApiKey::ApiVersions as i16, 2)]);
        let mut unsupported: ApiVersionsResponse = offer(&max).with_error_code(35);
        unsupported
            .api_keys
            .retain(|api| api.api_key == ApiKey::ApiVersions as i16);
        peer.answer_as::<ApiVersionsRequest>(first.correlation_id, 0, &unsupported)
            .await;
        let (second, body) = peer.next().await.unwrap();
        assert_eq!(second.api_version, 2);
        assert!(matches!(body, RequestKind::ApiVersions(_)));
        peer.answer::<ApiVersionsRequest>(&second, &offer(&max))
            .await;
    };
    let (connection, ()) = tokio::join!(open, answers);
    assert!(
        connection
            .unwrap()
            .versions()
            .of(ApiKey::Metadata)
            .is_some()
    );
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_told() {
    let (stream, mut peer) = pair();
    let options = ConnectionOptions::default();
    let ambient = eager();
    let open = Connection::open(stream, "b:1", &options, &ambient, NEVER);
    let answer = async {
        peer.next().await.unwrap();
        peer.stream
            .write_all(&Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
            .await
            .unwrap();
    };
    let (connection, ()) = tokio::join!(open, answer);
    let error = connection.unwrap_err().to_string();
    assert!(error.contains("none of the kafka protocol's"), "{error}");
}

#[tokio::test]
async fn a_request_without_answer_that_could_not_be_written_is_told() {
    let (connection, peer) = opened(1, &eager()).await;
    drop(peer);
    // Either task may see the end first: while writing nobody knows what arrived, afterwards nothing is sent.
    let first = connection.send_only(&list_groups()).await.unwrap_err();
    assert!(
        matches!(first, CallError::Lost { .. } | CallError::NotSent { .. }),
        "{first}"
    );
    let second = connection.send_only(&list_groups()).await.unwrap_err();
    assert_eq!(second.outcome(), Outcome::DidNotHappen, "{second}");
}
