//! A real store that speaks S3, on demand: `STREAMHOUSE_TEST_S3=s3://bucket/prefix` names it, and the variables of
//! Amazon's tools say how it is reached (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...). Without it nothing is asked.
//!
//! What is written lies under a prefix of its own for each run, and is deleted.

use futures::TryStreamExt;
use streamhouse_runtime::Ambient;

use super::rig::{key, pattern};
use super::{CreateError, GetError, ObjectClass, Objects, S3Limits, S3Place};

const CLASS: ObjectClass = ObjectClass::Flush;

fn real() -> Option<Objects> {
    let place = std::env::var("STREAMHOUSE_TEST_S3").ok()?;
    let mut place = S3Place::parse(&place).expect("s3://bucket/prefix");
    let ambient = Ambient::system();
    let run = format!("run-{:016x}", ambient.chance.next_u128());
    place.prefix = [place.prefix.as_str(), &run].join("/");
    let prefix = place.prefix.trim_start_matches('/').to_owned();
    place.prefix = prefix;
    Some(Objects::open_s3(&place, S3Limits::default(), ambient).expect("opened"))
}

async fn keep_the_laws(objects: &Objects) {
    let (small, large) = (pattern(1_000, 1), pattern(17 * 1024 * 1024, 2));
    let put = objects.put(&key(1), CLASS, vec![small.clone()]).await;
    put.expect("stored");
    let mut writer = objects.writer(&key(2), CLASS);
    writer.write(large.clone()).await.expect("three parts");
    assert_eq!(writer.finish().await.expect("whole"), large.len() as u64);
    for (number, body) in [(1, &small), (2, &large)] {
        let key = key(number);
        let size = objects.size(&key, CLASS).await.expect("it is there");
        assert_eq!(size, body.len() as u64);
        let range = size / 3..size;
        let read = objects.get_range(&key, range, CLASS).await;
        assert_eq!(read.expect("read"), body.slice(body.len() / 3..));
        let behind = objects.get_range(&key, size..size + 1, CLASS).await;
        assert!(matches!(behind, Err(GetError::Short { .. })), "{behind:?}");
    }
    let again = objects.create(&key(1), CLASS, vec![large]).await;
    assert!(
        matches!(again, Err(CreateError::Exists { .. })),
        "{again:?}"
    );
    let listed: Vec<_> = objects
        .list(None, CLASS)
        .try_collect()
        .await
        .expect("listed");
    assert_eq!(listed.len(), 2);
    for number in [1, 2, 3] {
        objects.delete(&key(number)).await.expect("deleted");
    }
    let gone = objects.size(&key(1), CLASS).await;
    assert!(matches!(gone, Err(GetError::NotFound { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_store_keeps_the_laws_and_lets_one_of_sixteen_writers_win() {
    let Some(objects) = real() else {
        return;
    };
    objects.probe().await.expect("it can be used");
    objects.claim("ours").await.expect("free");
    objects.claim("theirs").await.expect_err("taken");
    keep_the_laws(&objects).await;
    let raced = objects.race_for_keys(16, 40).await;
    let path = object_store::path::Path::from("cluster");
    objects.delete_at(&path, CLASS).await.expect("left clean");
    raced.expect("one of sixteen wins each of forty keys");
}
