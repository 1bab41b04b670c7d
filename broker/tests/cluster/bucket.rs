//! A bucket that says "perhaps", and one that is down.

use streamhouse_storage::s3_server::{S3Fault, S3Operation};

use crate::audit::close;
use crate::cluster::Cluster;
use crate::group::Groups;
use crate::load::Load;
use crate::wait::{lasts, now, since, until};
use crate::{outage, say, scaled};

const PARTITIONS: i32 = 6;

/// What one put in ten meets, in turn.
const AMBIGUOUS: &[S3Fault] = &[
    S3Fault::ErrorAfter,
    S3Fault::SlowDownAfter,
    S3Fault::SilenceAfter,
    S3Fault::Twice,
    S3Fault::SlowDownBefore,
    S3Fault::ErrorBefore,
    S3Fault::SilenceBefore,
    S3Fault::Refuse,
];

#[test]
fn uploads_that_happened_although_an_error_was_told_lose_and_double_nothing() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    let puts = u64::try_from(scaled(2_000)).unwrap();
    let faults = AMBIGUOUS.iter().cycle().flat_map(|fault| {
        let rest = std::iter::repeat_n(None, 9);
        std::iter::once(Some(*fault)).chain(rest)
    });
    cluster.create("puts", PARTITIONS);
    cluster
        .s3
        .script(S3Operation::Put, faults.take(scaled(2_000)));
    let before = cluster.s3.count(S3Operation::Put);
    let load = Load::begin(&cluster.ports, "puts", PARTITIONS, 6);
    let began = now();
    while cluster.s3.count(S3Operation::Put) < before + puts {
        load.until_more(1);
    }
    let took = since(began);
    close(&mut cluster, load);
    say(&format!(
        "{puts} uploads in {took:?}, one in ten with an outcome that was told wrongly or not at all"
    ));
}

#[test]
fn an_outage_of_the_bucket_is_shown_loses_nothing_and_is_over_when_the_bucket_is_back() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("outage", PARTITIONS);
    let load = Load::begin(&cluster.ports, "outage", PARTITIONS, 3);
    let groups = Groups::begin(&cluster.ports, "outage", 2);
    load.until_more(100);
    cluster.s3.set_down(true);
    let began = now();
    for broker in cluster.running() {
        broker.until_unready("object store");
        assert!(broker.metric("streamhouse_storage_object_requests_failed_total") > Some(0.0));
        until("the log tells of it", || {
            (broker.log_lines("object store") > 0).then_some(())
        });
    }
    let shown = since(began);
    // Offsets and membership need no bucket.
    groups.until_all_commit();
    let length = outage();
    lasts(length.saturating_sub(since(began)));
    cluster.s3.set_down(false);
    let took = load.until_all_write();
    say(&format!(
        "the bucket was down for {length:?}: shown everywhere after {shown:?}, all write {took:?} after its end"
    ));
    for broker in cluster.running() {
        broker.until_ready();
    }
    groups.end();
    close(&mut cluster, load);
}
