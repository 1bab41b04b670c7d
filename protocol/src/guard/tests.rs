//! Tests of the guard: what follows a shape passes and can be decoded, what does not is refused, whatever it is.

mod compose;
mod lengths;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self, ApiKey, RequestKind};

use self::compose::{Compose, Composed, Length, Nulls};
use super::shape::Shape;
use super::walk::{REQUEST_BYTES_PER_WIRE_BYTE, Rest, walk};
use super::{GuardError, Problem, check, shapes};
use crate::api_key;

/// How many random bodies each version of each API gets.
const BODIES: u64 = 12;

fn rounds() -> u64 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    BODIES * scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Every request that can be decoded: its API, version and shape.
fn decodable() -> impl Iterator<Item = (ApiKey, i16, &'static Shape)> {
    ApiKey::iter().flat_map(|key| {
        let shape = shapes::of(key as i16).expect("every API has a shape");
        api_key::versions(key).map(move |version| (key, version, shape))
    })
}

fn problem(api_key: ApiKey, version: i16, body: &[u8]) -> Problem {
    check(api_key as i16, version, body)
        .expect_err("the body is malformed")
        .problem
}

#[test]
fn shapes_cover_every_version_that_can_be_decoded() {
    for (key, version, shape) in decodable() {
        assert!(shape.versions.contains(version), "{key:?} v{version}");
        assert_eq!(shape.name, api_key::name(key));
        let is_flexible = key.request_header_version(version) == 2;
        assert_eq!(
            shape.is_flexible(version),
            is_flexible,
            "{key:?} v{version}"
        );
    }
}

#[test]
fn shapes_are_in_ascending_order() {
    assert!(
        shapes::SHAPES
            .windows(2)
            .all(|pair| pair[0].key < pair[1].key)
    );
}

#[test]
fn a_body_of_the_right_shape_passes_and_decodes_and_encodes_to_itself() {
    for (key, version, shape) in decodable() {
        for seed in 0..rounds() {
            let Composed { body, .. } = Compose::new(shape, version, Nulls::Legal, seed).finish();
            assert_eq!(
                check(shape.key, version, &body),
                Ok(()),
                "{key:?} v{version} {body:x?}"
            );
            let mut rest = Bytes::from(body.clone());
            let request = RequestKind::decode(key, &mut rest, version)
                .unwrap_or_else(|error| panic!("{key:?} v{version}: {error} in {body:x?}"));
            assert!(
                rest.is_empty(),
                "{key:?} v{version} leaves {} bytes",
                rest.len()
            );
            let mut encoded = BytesMut::new();
            request.encode(&mut encoded, version).unwrap();
            assert_eq!(encoded, body, "{key:?} v{version} {request:?}");
        }
    }
}

#[test]
fn a_length_that_lies_is_refused() {
    for (key, version, shape) in decodable() {
        for seed in 0..rounds() {
            let composed = Compose::new(shape, version, Nulls::Legal, seed).finish();
            for length in &composed.lengths {
                for body in bombs(&composed.body, length) {
                    let refused = check(shape.key, version, &body);
                    assert!(refused.is_err(), "{key:?} v{version} {length:?} {body:x?}");
                }
            }
        }
    }
}

/// The body with one of its lengths replaced by ones that nothing can honour.
fn bombs(body: &[u8], length: &Length) -> Vec<Vec<u8>> {
    let Length { at, bytes, .. } = *length;
    let remaining = body.len() - at - bytes;
    let replaced = |with: &[u8]| [&body[..at], with, &body[at + bytes..]].concat();
    let too_many = u32::try_from(remaining + 1).unwrap();
    match length.encoding {
        compose::Encoding::I16 => [i16::MAX, -2, i16::try_from(too_many).unwrap()]
            .map(|bomb| replaced(&bomb.to_be_bytes()))
            .to_vec(),
        compose::Encoding::I32 => [0x7fff_ffff, 0xffff_fffe, 0x8000_0000, too_many]
            .map(|bomb: u32| replaced(&bomb.to_be_bytes()))
            .to_vec(),
        compose::Encoding::Varint => [0x7fff_ffff, 0xffff_fffe, 0xffff_ffff, too_many + 1]
            .map(|bomb| replaced(&compose::varint(bomb)))
            .to_vec(),
    }
}

#[test]
fn a_body_cut_short_is_refused_at_every_byte() {
    for (key, version, shape) in decodable() {
        let Composed { body, .. } = Compose::new(shape, version, Nulls::Legal, 1).finish();
        for cut in 0..body.len() {
            assert!(
                check(shape.key, version, &body[..cut]).is_err(),
                "{key:?} v{version} at {cut}"
            );
        }
    }
}

/// Found by a real client that could not list topics: the guard refused what Apache Kafka does not read.
#[test]
fn bytes_behind_the_last_field_of_a_request_are_not_looked_at() {
    for (key, version, shape) in decodable() {
        let Composed { mut body, .. } = Compose::new(shape, version, Nulls::Legal, 2).finish();
        body.extend([0, 0xff, 0]);
        let checked = check(shape.key, version, &body);
        assert_eq!(checked, Ok(()), "{key:?} v{version}");
    }
}

#[test]
fn what_the_guard_lets_pass_can_be_decoded_however_the_bytes_were_bent() {
    let mut passed = 0u32;
    for (key, version, shape) in decodable() {
        for seed in 0..rounds() {
            let mut compose = Compose::new(shape, version, Nulls::Legal, seed);
            compose.bend();
            let mut body = Bytes::from(compose.finish().body);
            if check(shape.key, version, &body).is_ok() {
                passed += 1;
                // Both end at the same byte, wherever that is.
                let whole = walk(
                    shape,
                    version,
                    &body,
                    REQUEST_BYTES_PER_WIRE_BYTE,
                    Rest::Refused,
                );
                let rest = match whole.map_err(|stop| stop.problem) {
                    Err(Problem::Trailing { length }) => length,
                    other => {
                        assert_eq!(other, Ok(()), "{key:?} v{version}");
                        0
                    }
                };
                let decoded = RequestKind::decode(key, &mut body, version);
                assert!(decoded.is_ok(), "{key:?} v{version}: {:?}", decoded.err());
                assert_eq!(body.len(), rest, "{key:?} v{version}");
            }
        }
    }
    assert!(
        passed > 100,
        "only {passed} bent bodies passed: the test shows nothing"
    );
}

#[test]
fn null_passes_exactly_where_the_decoder_takes_it() {
    let (mut passed, mut refused) = (0u32, 0u32);
    for (key, version, shape) in decodable() {
        for seed in 0..rounds() {
            let Composed { body, .. } =
                Compose::new(shape, version, Nulls::Anywhere, seed).finish();
            let checked = check(shape.key, version, &body);
            // All else in the body is sound, so that decoding what the guard refuses is safe.
            let decoded = RequestKind::decode(key, &mut Bytes::from(body), version);
            assert_eq!(
                checked.is_ok(),
                decoded.is_ok(),
                "{key:?} v{version}: {checked:?}"
            );
            *if checked.is_ok() {
                &mut passed
            } else {
                &mut refused
            } += 1;
        }
    }
    assert!(
        passed > 100 && refused > 100,
        "{passed} passed, {refused} refused: all alike"
    );
}

#[test]
fn an_error_names_the_field_with_its_place() {
    // Produce v3: no transactional id, acks, timeout, one topic "t", partitions 0 (empty records) and 1 (cut off).
    let mut body = vec![
        0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2,
    ];
    body.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([0, 0, 0, 1, 0, 0, 0, 5, 1, 2]);
    assert_eq!(
        check(0, 3, &body),
        Err(GuardError {
            api: "Produce",
            version: 3,
            path: "topic_data[0].partition_data[1].records".to_owned(),
            problem: Problem::Truncated {
                length: 5,
                remaining: 2
            },
        })
    );
    assert_eq!(
        check(0, 3, &body).unwrap_err().to_string(),
        "Produce v3 request is malformed at topic_data[0].partition_data[1].records: 5 bytes are needed and 2 remain"
    );
}

#[test]
fn a_count_is_bounded_by_what_its_elements_take_at_least() {
    // Metadata v1: a topic takes at least the two bytes of its length.
    assert_eq!(check(3, 1, &[0, 0, 0, 2, 0, 0, 0, 0]), Ok(()));
    let count = problem(ApiKey::Metadata, 1, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(
        count,
        Problem::CountTooLarge {
            count: 3,
            remaining: 4
        }
    );
}

#[test]
fn null_is_refused_where_the_schema_has_none() {
    // Metadata v0 has no null list of topics, v1 has.
    assert_eq!(problem(ApiKey::Metadata, 0, &[0xff; 4]), Problem::Null);
    assert_eq!(check(3, 1, &[0xff; 4]), Ok(()));
    assert_eq!(
        problem(ApiKey::Metadata, 1, &[0, 0, 0, 1, 0xff, 0xff]),
        Problem::Null
    );
}

#[test]
fn text_that_is_not_utf8_is_an_error_of_its_own() {
    assert_eq!(
        problem(ApiKey::Metadata, 1, &[0, 0, 0, 1, 0, 1, 0xff]),
        Problem::NotUtf8
    );
}

#[test]
fn compact_text_is_no_longer_than_classic_text_can_be() {
    let mut body = compose::varint(0x8000 + 1);
    body.extend(vec![b'a'; 0x8000]);
    body.extend([2, b'1', 0]);
    assert_eq!(
        problem(ApiKey::ApiVersions, 3, &body),
        Problem::TextTooLong { length: 0x8000 }
    );
}

#[test]
fn a_varint_of_more_than_32_bits_is_refused() {
    for body in [
        [0xff, 0xff, 0xff, 0xff, 0x1f, 0],
        [0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    ] {
        assert_eq!(
            problem(ApiKey::ApiVersions, 3, &body),
            Problem::VarintTooLong
        );
    }
}

#[test]
fn a_tagged_field_is_as_long_as_it_says() {
    // Fetch v12 without topics; tag 0 is the cluster id.
    let with_tag = |tag: &[u8]| {
        let mut body = vec![0; 25];
        body.extend([1, 1, 1, 1]);
        body.extend(tag);
        body
    };
    assert_eq!(check(1, 12, &with_tag(&[0, 2, 2, b'x'])), Ok(()));
    let longer = problem(ApiKey::Fetch, 12, &with_tag(&[0, 3, 2, b'x', 0]));
    assert_eq!(longer, Problem::Trailing { length: 1 });
    let refused = check(1, 12, &with_tag(&[0, 3, 2, b'x', 0])).unwrap_err();
    assert_eq!(refused.path, "cluster_id");
    let shorter = problem(ApiKey::Fetch, 12, &with_tag(&[0, 1, 2, b'x']));
    assert_eq!(
        shorter,
        Problem::Truncated {
            length: 1,
            remaining: 0
        }
    );
    let later = problem(ApiKey::Fetch, 12, &with_tag(&[1, 0]));
    assert_eq!(later, Problem::TagOfAnotherVersion);
    assert_eq!(
        check(1, 12, &with_tag(&[9, 2, 2, b'x'])),
        Ok(()),
        "unknown tags are skipped"
    );
}

#[test]
fn an_array_of_nothing_may_not_fill_the_memory() {
    // A million empty strings would be 32 MiB in memory; DescribeGroups v5 sends them in one byte each.
    let strings = 1 << 20;
    let mut body = compose::varint(strings + 1);
    body.extend(vec![1; strings as usize]);
    body.extend([0, 0]);
    let found = problem(ApiKey::DescribeGroups, 5, &body);
    assert!(matches!(found, Problem::DecodedTooLarge { .. }), "{found}");
}

#[test]
fn a_crowd_of_unknown_tagged_fields_may_not_fill_the_memory() {
    let count = 200_000;
    let mut body = vec![1, 0];
    body.extend(compose::varint(count));
    body.extend([7, 0].repeat(count as usize));
    let found = problem(ApiKey::DescribeGroups, 5, &body);
    assert!(matches!(found, Problem::DecodedTooLarge { .. }), "{found}");
}

#[test]
fn the_memory_of_a_struct_is_not_underestimated() {
    fn memory_of_elements(api_key: ApiKey, field: &str) -> usize {
        let shape = shapes::of(api_key as i16).unwrap();
        let field = shape.fields.iter().find(|f| f.name == field).unwrap();
        let super::shape::Kind::List(element) = &field.kind else {
            panic!("not an array")
        };
        element.decoded_bytes()
    }
    let check =
        |api_key, field, actual| assert!(memory_of_elements(api_key, field) >= actual, "{field}");
    check(
        ApiKey::Produce,
        "topic_data",
        size_of::<messages::produce_request::TopicProduceData>(),
    );
    check(
        ApiKey::Fetch,
        "topics",
        size_of::<messages::fetch_request::FetchTopic>(),
    );
    check(
        ApiKey::Metadata,
        "topics",
        size_of::<messages::metadata_request::MetadataRequestTopic>(),
    );
    check(
        ApiKey::JoinGroup,
        "protocols",
        size_of::<messages::join_group_request::JoinGroupRequestProtocol>(),
    );
    check(
        ApiKey::CreateTopics,
        "topics",
        size_of::<messages::create_topics_request::CreatableTopic>(),
    );
    check(
        ApiKey::AlterConfigs,
        "resources",
        size_of::<messages::alter_configs_request::AlterConfigsResource>(),
    );
}

#[test]
fn an_unknown_version_or_api_is_refused() {
    assert_eq!(problem(ApiKey::Metadata, 99, &[]), Problem::UnknownShape);
    assert_eq!(check(7, 0, &[]).unwrap_err().problem, Problem::UnknownShape);
    assert_eq!(
        check(-1, 0, &[]).unwrap_err().problem,
        Problem::UnknownShape
    );
}

#[test]
fn shapes_of_apis_that_are_not_decoded_can_be_walked_too() {
    for shape in &shapes::SHAPES {
        for version in shape.versions.first..=shape.versions.last {
            let Composed { body, .. } = Compose::new(shape, version, Nulls::Legal, 3).finish();
            assert!(
                walk(
                    shape,
                    version,
                    &body,
                    REQUEST_BYTES_PER_WIRE_BYTE,
                    Rest::Refused
                )
                .is_ok(),
                "{} v{version}",
                shape.name
            );
        }
    }
}
