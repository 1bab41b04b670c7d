//! What is a bucket, and which endpoint wins.

use super::S3Place;
use crate::objects::s3::Environment;

#[test]
fn a_bucket_with_and_without_a_prefix_is_understood() {
    for (text, bucket, prefix) in [
        ("s3://events", "events", ""),
        ("s3://events/", "events", ""),
        ("s3://my.events-1/cluster-a", "my.events-1", "cluster-a"),
        ("s3://events/kafka/cluster=a/", "events", "kafka/cluster=a"),
    ] {
        let place = S3Place::parse(text).expect(text);
        assert_eq!((&*place.bucket, &*place.prefix), (bucket, prefix));
    }
}

#[test]
fn what_is_no_bucket_is_refused_with_the_spelling() {
    for text in [
        "",
        "events",
        "s3:/events",
        "s3://",
        "s3://ab",
        "s3://Events",
        "s3://events//a",
        "s3://events/../b",
        "s3://events/a b",
        "gs://events",
    ] {
        let refused = S3Place::parse(text).expect_err(text).to_string();
        assert!(refused.contains("s3://bucket/prefix"), "{refused}");
    }
}

#[test]
fn the_settings_endpoint_comes_before_the_environment_and_that_before_amazon() {
    let mut place = S3Place::parse("s3://events").expect("a bucket");
    let mut environment = Environment::new();
    assert_eq!(
        place.endpoint(&environment, "eu-west-1"),
        "https://s3.eu-west-1.amazonaws.com"
    );
    environment.insert("AWS_ENDPOINT_URL".into(), "http://any:1/".into());
    assert_eq!(place.endpoint(&environment, "x"), "http://any:1");
    environment.insert("AWS_ENDPOINT_URL_S3".into(), "http://s3:2".into());
    assert_eq!(place.endpoint(&environment, "x"), "http://s3:2");
    place.endpoint = Some("https://mine:3/".into());
    assert_eq!(place.endpoint(&environment, "x"), "https://mine:3");
}
