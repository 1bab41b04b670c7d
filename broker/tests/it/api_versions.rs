//! What clients do first: ask which APIs there are.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use streamhouse_broker::handlers::APIS;
use streamhouse_broker::network::CloseReason;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use streamhouse_protocol::response::decode_response;
use tokio::io::AsyncWriteExt;

use crate::bench::{Bench, Client};

fn request(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_string(name.to_owned()))
        .with_client_software_version(StrBytes::from_string(version.to_owned()))
}

fn ranges(response: &ApiVersionsResponse) -> BTreeMap<i16, (i16, i16)> {
    let keys = response.api_keys.iter();
    keys.map(|api| (api.api_key, (api.min_version, api.max_version)))
        .collect()
}

/// Sends an ApiVersions request of any version with any body.
async fn send_raw(client: &mut Client, version: i16, body: &[u8]) {
    send_raw_of(client, ApiKey::ApiVersions, version, body).await;
}

/// Sends a request of any version with any body.
async fn send_raw_of(client: &mut Client, key: ApiKey, version: i16, body: &[u8]) {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(10 + body.len()).unwrap());
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(77);
    frame.put_i16(-1);
    frame.put_slice(body);
    client.stream.write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn the_list_is_the_table_in_every_version() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for version in 0..=4 {
        let response = client
            .call(version, &request("apache-kafka-java", "4.3.1"))
            .await;
        assert_eq!(response.error_code, 0);
        let ranges = ranges(&response);
        assert_eq!(ranges.len(), APIS.len());
        for api in APIS {
            let (min, max) = ranges[&(api.key as i16)];
            assert_eq!(max, *api.versions.end(), "{}", api.name);
            let shown_min = if api.key == ApiKey::Produce {
                0
            } else {
                *api.versions.start()
            };
            assert_eq!(min, shown_min, "{}", api.name);
        }
        // A feature is finalised with its APIs; the lowest level 0 is one that clients know since version 4.
        let finalised = response.finalized_features.iter();
        let finalised: Vec<_> = finalised
            .map(|one| (&*one.name, one.max_version_level))
            .collect();
        let expected: &[_] = if version >= 3 {
            &[("group.version", 1)]
        } else {
            &[]
        };
        assert_eq!(finalised, expected);
        assert_eq!(response.supported_features.len(), usize::from(version >= 4));
    }
}

#[tokio::test]
async fn an_unknown_version_is_answered_in_version_0_and_the_connection_goes_on() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    let bodies: [&[u8]; 3] = [b"\0", b"", b"\xff\xff\xff\xff\xff garbage \x80\x80"];
    for version in [5, 6, 99, i16::MAX, -1] {
        for body in bodies {
            send_raw(&mut client, version, body).await;
            let frame = client
                .frame()
                .await
                .expect("ApiVersions never closes the connection");
            let (id, response) = decode_response::<ApiVersionsRequest>(0, frame).unwrap();
            assert_eq!(id, 77);
            assert_eq!(response.error_code, 35);
            let shown: Vec<_> = ranges(&response).into_iter().collect();
            assert_eq!(shown, [(18, (0, 4))]);
        }
    }
    let response = client.call(3, &request("franz-go", "1.22.0")).await;
    assert_eq!(response.error_code, 0);
}

#[tokio::test]
async fn software_that_does_not_name_itself_well_is_refused_and_may_go_on() {
    let bench = Bench::new().await;
    let mut client = bench.connect();
    for (name, version) in [
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a", "1 0"),
        ("a\n", "1"),
    ] {
        assert_eq!(client.call(3, &request(name, version)).await.error_code, 42);
        assert_eq!(client.call(4, &request(name, version)).await.error_code, 42);
    }
    // Older versions have no names.
    assert_eq!(
        client
            .call(2, &ApiVersionsRequest::default())
            .await
            .error_code,
        0
    );
}

#[tokio::test]
async fn versions_and_apis_that_are_not_served_close_the_connection() {
    let bench = Bench::new().await;
    for (key, version) in [
        (3_i16, 14_i16),
        (3, 99),
        (3, -1),
        (17, 0),
        (36, 0),
        (4, 0),
        (12345, 0),
    ] {
        let mut client = bench.connect();
        let mut frame = BytesMut::new();
        frame.put_u32(11);
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_u8(0);
        client.stream.write_all(&frame).await.unwrap();
        assert_eq!(client.frame().await, None, "{key} v{version}");
        let reason = client.closed().await;
        assert!(
            matches!(
                reason,
                CloseReason::Unsupported { .. } | CloseReason::Header(_)
            ),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_refused_version_takes_no_other_connection_with_it() {
    let bench = Bench::new().await;
    let (mut bad, mut good) = (bench.connect(), bench.connect());
    bad.send(0, &MetadataRequest::default()).await;
    // Version 2 is advertised and, as in Kafka, not served.
    send_raw_of(&mut bad, ApiKey::Produce, 2, b"\0\0").await;
    assert!(bad.frame().await.is_some(), "what came before is answered");
    assert_eq!(bad.frame().await, None);
    assert_eq!(good.call(3, &request("kcat", "1.7.1")).await.error_code, 0);
}

#[test]
fn the_table_names_each_api_once_and_only_versions_that_can_be_coded() {
    let mut seen = BTreeMap::new();
    for api in APIS {
        assert_eq!(seen.insert(api.key as i16, api.name), None, "{}", api.name);
        let coded = api_key::versions(api.key);
        assert!(coded.contains(api.versions.start()), "{}", api.name);
        assert!(coded.contains(api.versions.end()), "{}", api.name);
        assert_eq!(api.name, api_key::name(api.key));
    }
}
