//! Which stores pass the race.

use std::sync::Arc;

use crate::objects::rig::{S3Rig, World};
use crate::objects::{Objects, RaceError, S3Limits, S3Place};
use crate::s3_server::{Creates, S3Operation, S3Server};

#[test]
fn a_store_that_lets_one_win_passes_and_is_left_empty() {
    let rig = S3Rig::new(1);
    rig.world
        .run(rig.objects.race_for_keys(16, 40))
        .expect("passed");
    assert_eq!(rig.server.keys(), Vec::<String>::new());
    assert_eq!(rig.server.count(S3Operation::Put), 16 * 40);
}

#[test]
fn a_store_that_lets_several_win_is_found_out() {
    for creates in [Creates::Ignored, Creates::CheckedBefore] {
        let rig = S3Rig::new(2);
        rig.server.set_creates(creates);
        let raced = rig.world.run(rig.objects.race_for_keys(16, 40));
        assert!(
            matches!(raced, Err(RaceError::Several { winners, writers: 16 }) if winners > 1),
            "{creates:?}: {raced:?}"
        );
        assert_eq!(rig.server.keys(), Vec::<String>::new());
    }
}

/// What a client with this bucket and key id is told.
fn told(server: &S3Server, world: &World, bucket: &str, key_id: &str) -> String {
    let mut place = S3Place::parse(&format!("s3://{bucket}")).expect("a bucket");
    place.endpoint = Some("http://s3.test".to_owned());
    let environment = [
        ("AWS_ACCESS_KEY_ID".to_owned(), key_id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
    ];
    let connector = Arc::new(server.clone());
    let ambient = world.ambient.clone();
    let objects = Objects::open_s3_over(
        &place,
        S3Limits::default(),
        &environment.into(),
        connector,
        ambient,
    );
    let raced = world.run(objects.expect("opened").race_for_keys(2, 1));
    raced.expect_err("refused").to_string()
}

#[test]
fn wrong_bucket_wrong_credentials_and_no_server_are_told_with_the_remedy() {
    let rig = S3Rig::new(3);
    for (bucket, key_id, why) in [
        ("events", "another-key", "InvalidAccessKeyId"),
        ("another-bucket", "key-id", "NoSuchBucket"),
    ] {
        let told = told(&rig.server, &rig.world, bucket, key_id);
        assert!(
            told.contains("check endpoint, bucket, credentials"),
            "{told}"
        );
        assert!(told.contains(why), "{told}");
    }
    rig.server.set_down(true);
    let told = told(&rig.server, &rig.world, "events", "key-id");
    assert!(told.contains("refused"), "{told}");
}
