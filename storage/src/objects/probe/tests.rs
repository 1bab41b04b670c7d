//! What is wrong with a store is told with its remedy.

use std::sync::Arc;
use std::time::Duration;

use crate::objects::rig::S3Rig;
use crate::objects::{Objects, ProbeError, S3Limits, S3Place};
use crate::s3_server::{Creates, Denial, S3Fault, S3Operation};

/// What a client of this bucket, region and key id finds.
fn probe(rig: &S3Rig, bucket: &str, region: Option<&str>, key_id: Option<&str>) -> ProbeError {
    let mut place = S3Place::parse(&format!("s3://{bucket}/prefix")).expect("a bucket");
    place.endpoint = Some("http://s3.test".to_owned());
    place.region = region.map(str::to_owned);
    let environment = key_id.map(|key_id| {
        [
            ("AWS_ACCESS_KEY_ID".to_owned(), key_id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
        ]
    });
    let environment = environment.into_iter().flatten().collect();
    let connector = Arc::new(rig.server.clone());
    let (limits, ambient) = (S3Limits::default(), rig.world.ambient.clone());
    let objects = Objects::open_s3_over(&place, limits, &environment, connector, ambient);
    let probed = rig.world.run(objects.expect("opened").probe());
    probed.expect_err("something is wrong")
}

#[test]
fn a_store_that_is_right_passes_and_is_left_empty() {
    let rig = S3Rig::new(1);
    rig.world.run(rig.objects.probe()).expect("right");
    assert_eq!(rig.server.keys(), Vec::<String>::new());
    assert_eq!(rig.server.count(S3Operation::Put), 2);
}

#[test]
fn a_store_with_lost_answers_passes() {
    let rig = S3Rig::new(2);
    let faults = [
        S3Fault::SilenceAfter,
        S3Fault::ErrorBefore,
        S3Fault::SlowDownAfter,
    ];
    rig.server.script(S3Operation::Put, faults.map(Some));
    rig.server
        .script(S3Operation::Delete, [Some(S3Fault::ErrorAfter)]);
    rig.world.run(rig.objects.probe()).expect("right");
    assert_eq!(rig.server.keys(), Vec::<String>::new());
}

#[test]
fn wrong_settings_are_told_from_each_other() {
    let rig = S3Rig::new(3);
    rig.server.set_region("eu-west-1");
    let region = Some("eu-west-1");
    let error = probe(&rig, "another-bucket", region, Some("key-id"));
    assert!(matches!(error, ProbeError::NoBucket { .. }), "{error}");
    let error = probe(&rig, "events", None, Some("key-id"));
    assert!(matches!(error, ProbeError::WrongRegion { .. }), "{error}");
    let error = probe(&rig, "events", region, Some("another-key"));
    assert!(
        matches!(error, ProbeError::WrongCredentials { .. }),
        "{error}"
    );
    rig.server.set_down(true);
    let error = probe(&rig, "events", region, Some("key-id"));
    assert!(
        matches!(&error, ProbeError::Unreachable { endpoint, .. } if endpoint == "http://s3.test"),
        "{error}"
    );
    // The instance, which is asked for credentials then, is not there, either.
    let error = probe(&rig, "events", region, None);
    assert!(
        matches!(&error, ProbeError::NoCredentials { from, .. } if from == "169.254.169.254"),
        "{error}"
    );
}

#[test]
fn what_the_store_refuses_is_told_with_the_remedy() {
    use S3Operation::{Delete, Get, Put};
    for (operation, denial, remedy) in [
        (Put, Denial::AccessDenied, "does not allow to create"),
        (Get, Denial::AccessDenied, "does not allow to read"),
        (Delete, Denial::AccessDenied, "does not allow to delete"),
        (Put, Denial::BadSignature, "check access key"),
        (Put, Denial::ExpiredToken, "session token"),
        (Put, Denial::ClockSkew, "NTP"),
        (Put, Denial::WrongRegion, "s3.region"),
        (Delete, Denial::NoBucket, "create it"),
    ] {
        let rig = S3Rig::new(4);
        let denials = (0..9).map(|_| Some(S3Fault::Deny(denial)));
        rig.server.script(operation, denials);
        let refused = rig.world.run(rig.objects.probe());
        let told = refused.expect_err("refused").to_string();
        assert!(told.contains(remedy), "{operation:?} {denial:?}: {told}");
    }
}

#[test]
fn a_bucket_that_is_gone_does_not_mean_that_its_objects_are() {
    use crate::objects::rig::{key, pattern};
    use crate::objects::{GetError, ObjectClass};
    let rig = S3Rig::new(5);
    let body = vec![pattern(100, 1)];
    let key = key(1);
    let put = rig.objects.put(&key, ObjectClass::Flush, body);
    rig.world.run(put).expect("stored");
    let gone = Some(S3Fault::Deny(Denial::NoBucket));
    rig.server.script(S3Operation::Get, [gone; 4]);
    let read = rig.objects.get_range(&key, 0..100, ObjectClass::TailRead);
    let read = rig.world.run(read);
    assert!(
        matches!(read, Err(GetError::Unavailable { .. })),
        "{read:?}"
    );
}

#[test]
fn a_body_that_came_too_slowly_is_sent_again() {
    let rig = S3Rig::new(6);
    let slow = Some(S3Fault::Deny(Denial::BodyTooSlow));
    rig.server.script(S3Operation::Get, [slow]);
    rig.server.script(S3Operation::Put, [slow]);
    rig.world.run(rig.objects.probe()).expect("right");
}

#[test]
fn a_store_that_ignores_if_none_match_is_refused() {
    let rig = S3Rig::new(7);
    rig.server.set_creates(Creates::Ignored);
    let refused = rig.world.run(rig.objects.probe());
    assert!(
        matches!(refused, Err(ProbeError::NotExclusive)),
        "{refused:?}"
    );
    assert_eq!(rig.server.keys(), Vec::<String>::new());
}

#[test]
fn a_store_that_does_not_answer_is_given_up_in_time() {
    let rig = S3Rig::new(8);
    rig.server.set_latency(Duration::from_secs(3_600));
    let before = rig.world.ambient.clock.monotonic();
    let refused = rig.world.run(rig.objects.probe());
    assert!(
        matches!(refused, Err(ProbeError::Unreachable { .. })),
        "{refused:?}"
    );
    let took = rig.world.ambient.clock.monotonic() - before;
    assert!(took < Duration::from_secs(120), "{took:?}");
}
