//! The bucket and the database are down for a while.

use crate::audit::close;
use crate::cluster::Cluster;
use crate::group::Groups;
use crate::load::Load;
use crate::wait::{lasts, now, since, until};
use crate::{outage, say};

const PARTITIONS: i32 = 6;

/// What is down, and how it shows.
struct Outage {
    /// What `/readyz` and the log call it.
    of: &'static str,
    /// What counts the failures.
    metric: &'static str,
    set: fn(&Cluster, bool),
    /// Whether groups commit meanwhile.
    lets_commit: bool,
}

/// Under load, every broker shows the outage, nothing is lost, and all go on when it is over.
fn lived_through(outage_of: &Outage) {
    let Outage { of, metric, .. } = outage_of;
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("outage", PARTITIONS);
    let load = Load::begin(&cluster.ports, "outage", PARTITIONS, 3);
    let groups = Groups::begin(&cluster.ports, "outage", 2);
    load.until_more(100);
    groups.until_all_commit();
    (outage_of.set)(&cluster, true);
    let began = now();
    for broker in cluster.running() {
        broker.until_unready(of);
        assert!(broker.metric(metric) > Some(0.0));
        until("the log tells of it", || {
            (broker.log_lines(of) > 0).then_some(())
        });
    }
    let shown = since(began);
    if outage_of.lets_commit {
        groups.until_all_commit();
    }
    let length = outage();
    lasts(length.saturating_sub(since(began)));
    (outage_of.set)(&cluster, false);
    let took = load.until_all_write();
    groups.until_all_commit();
    say(&format!(
        "the {of} was down for {length:?}: shown everywhere after {shown:?}, all write {took:?} after its end"
    ));
    cluster.until_settled();
    groups.end();
    close(&mut cluster, load);
}

#[test]
fn an_outage_of_the_bucket_is_shown_loses_nothing_and_is_over_when_the_bucket_is_back() {
    lived_through(&Outage {
        of: "object store",
        metric: "streamhouse_storage_object_requests_failed_total",
        set: |cluster, is_down| cluster.s3.set_down(is_down),
        // Offsets and membership need no bucket.
        lets_commit: true,
    });
}

#[test]
fn an_outage_of_the_database_is_shown_loses_nothing_and_is_over_when_the_database_is_back() {
    lived_through(&Outage {
        of: "database",
        metric: "streamhouse_membership_heartbeats_failed_total",
        set: |cluster, is_out| cluster.proxy.set_out(is_out),
        lets_commit: false,
    });
}
