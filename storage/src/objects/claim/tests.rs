//! One cluster per folder or prefix.

use futures::future::join_all;
use streamhouse_runtime::Ambient;

use super::{FIRST_LINE, ID_CHARS_MAX};
use crate::objects::rig::{Rig, S3Rig, listed};
use crate::objects::{ClaimError, Fault, Objects};
use crate::s3_server::{S3Fault, S3Operation};

const OURS: &str = "MkU3OEVBNTcwNTJENDM2Qk";
const THEIRS: &str = "AAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn the_first_cluster_keeps_a_prefix_and_another_is_refused_with_the_remedy() {
    let rig = S3Rig::new(1);
    rig.world.run(rig.objects.claim(OURS)).expect("free");
    rig.world.run(rig.objects.claim(OURS)).expect("its own");
    let refused = rig.world.run(rig.objects.claim(THEIRS));
    let told = refused.expect_err("taken").to_string();
    for part in [OURS, THEIRS, "s3://events/streamhouse/test", "storage.url"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(rig.server.keys(), ["streamhouse/test/cluster"]);
    assert_eq!(rig.world.run(listed(&rig.objects)), []);
}

#[tokio::test]
async fn a_folder_is_kept_by_its_cluster_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Objects::open_folder(folder.path(), Ambient::system()).expect("opened");
    open().claim(OURS).await.expect("free");
    open().claim(OURS).await.expect("its own");
    let refused = open().claim(THEIRS).await;
    assert!(
        matches!(&refused, Err(ClaimError::Taken { theirs, .. }) if theirs == OURS),
        "{refused:?}"
    );
    let text = std::fs::read_to_string(folder.path().join("cluster")).expect("it is there");
    assert_eq!(text, format!("{FIRST_LINE}\n{OURS}\n"));
}

#[test]
fn of_clusters_that_come_at_once_one_gets_the_prefix() {
    for seed in 0..20 {
        let rig = S3Rig::new(seed);
        rig.server.draw(200);
        let ids: Vec<String> = (0..8).map(|id| format!("cluster-{id}")).collect();
        let claims = rig
            .world
            .run(join_all(ids.iter().map(|id| rig.objects.claim(id))));
        let won = claims.iter().filter(|claim| claim.is_ok()).count();
        assert!(won <= 1, "{claims:?}");
        rig.server.draw(0);
        rig.world.pass(std::time::Duration::from_secs(300));
        // Whoever was told to start again and was first, is first.
        let again = rig
            .world
            .run(join_all(ids.iter().map(|id| rig.objects.claim(id))));
        let kept = |claims: &[Result<(), ClaimError>]| {
            let kept = claims.iter().position(Result::is_ok);
            kept.expect("one has it")
        };
        assert_eq!(again.iter().filter(|claim| claim.is_ok()).count(), 1);
        if won == 1 {
            assert_eq!(kept(&claims), kept(&again));
        }
    }
}

#[test]
fn an_answer_that_was_lost_is_looked_up() {
    let rig = S3Rig::new(3);
    rig.server
        .script(S3Operation::Put, [Some(S3Fault::SilenceAfter)]);
    rig.world.run(rig.objects.claim(OURS)).expect("ours");
}

#[test]
fn what_names_no_cluster_is_refused() {
    for body in ["", "streamhouse-cluster 2\nx\n", "streamhouse-cluster 1\n"] {
        let rig = Rig::new(4);
        let path = super::path();
        let put = object_store::ObjectStoreExt::put(&*rig.truth.inner.store, &path, body.into());
        rig.run(put).expect("stored");
        let refused = rig.run(rig.objects.claim(OURS));
        assert!(
            matches!(refused, Err(ClaimError::NotOurs { .. })),
            "{refused:?}"
        );
    }
    let rig = Rig::new(5);
    for id in ["", "two words", &"x".repeat(ID_CHARS_MAX + 1)] {
        let refused = rig.run(rig.objects.claim(id));
        assert!(
            matches!(refused, Err(ClaimError::NoId { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_store_that_is_down_leaves_it_open() {
    let rig = Rig::new(6);
    rig.faults.script((0..40).map(|_| Some(Fault::Refuse)));
    let refused = rig.run(rig.objects.claim(OURS));
    assert!(
        matches!(refused, Err(ClaimError::Unavailable { .. })),
        "{refused:?}"
    );
}
