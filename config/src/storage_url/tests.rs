//! Which texts name a place for objects, and that nothing secret fits in.

use super::{StorageUrl, StoreEndpoint};
use crate::value::Value;

#[test]
fn a_place_is_read_as_it_is_written() {
    let s3 = |bucket: &str, prefix: &str| StorageUrl::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    };
    for (text, place) in [
        ("", StorageUrl::DataDir),
        ("/var/objects", StorageUrl::Folder("/var/objects".into())),
        ("s3://events", s3("events", "")),
        ("s3://events/kafka/prod", s3("events", "kafka/prod")),
    ] {
        assert_eq!(StorageUrl::read(text), Ok(place.clone()), "{text}");
        assert_eq!(place.write(), text);
    }
    assert_eq!(
        StorageUrl::read("s3://events/a/"),
        Ok(s3("events", "a")),
        "a slash at the end"
    );
    assert_eq!(
        StorageUrl::read("file:///data"),
        Ok(StorageUrl::Folder("/data".into()))
    );
}

#[test]
fn what_is_no_place_is_refused() {
    for text in [
        "s3://",
        "s3://ab",
        "s3://Events",
        "s3://events//a",
        "s3://events/../a",
        "s3://events/a b",
        "s3://key:secret@events",
        "https://events.s3.amazonaws.com",
        "gs://events",
        "objects",
        "file://objects",
    ] {
        assert!(StorageUrl::read(text).is_err(), "{text}");
    }
}

#[test]
fn an_endpoint_is_a_scheme_and_a_host_and_nothing_secret() {
    for text in ["https://minio.internal:9000", "http://[::1]:9000"] {
        let endpoint = Option::<StoreEndpoint>::read(text).expect("an endpoint");
        assert_eq!(endpoint.write(), text);
    }
    assert_eq!(Option::<StoreEndpoint>::read(""), Ok(None));
    for text in [
        "minio:9000",
        "https://",
        "https://key:secret@host",
        "https://host/bucket",
        "https://host?x=1",
        "ftp://host",
    ] {
        let told = Option::<StoreEndpoint>::read(text).expect_err(text);
        assert!(!told.contains("secret"), "{told}");
    }
}
