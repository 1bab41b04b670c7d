//! A database whose answers to commits are lost, and one that is down.

use streamhouse_metadata::postgres::proxy::{Mishap, Write};

use crate::audit::close;
use crate::cluster::Cluster;
use crate::group::Groups;
use crate::load::Load;
use crate::wait::{lasts, now, since, until};
use crate::{outage, say, scaled};

const PARTITIONS: i32 = 6;

/// What happens to commits, in turn.
const MISHAPS: &[(Write, Mishap)] = &[
    (Write::Manifests, Mishap::Swallow),
    (Write::Groups, Mishap::CutAfter),
    (Write::Manifests, Mishap::CutAfter),
    (Write::Manifests, Mishap::CutBefore),
    (Write::Groups, Mishap::Swallow),
    (Write::Manifests, Mishap::CutAfter),
    (Write::Groups, Mishap::CutBefore),
    (Write::Manifests, Mishap::CutAfter),
];

#[test]
fn commits_whose_answer_is_lost_lose_and_double_nothing() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("commits", PARTITIONS);
    let load = Load::begin(&cluster.ports, "commits", PARTITIONS, 4);
    let groups = Groups::begin(&cluster.ports, "commits", 4);
    load.until_more(100);
    let planned = scaled(200);
    let began = now();
    for (write, mishap) in MISHAPS.iter().cycle().take(planned) {
        cluster.proxy.plan(*write, *mishap);
    }
    while cluster.proxy.met() < planned {
        load.until_more(1);
        groups.until_all_commit();
    }
    let took = since(began);
    groups.until_all_commit();
    groups.end();
    close(&mut cluster, load);
    say(&format!("{planned} commits without an answer in {took:?}"));
}

#[test]
fn an_outage_of_the_database_is_shown_loses_nothing_and_is_over_when_the_database_is_back() {
    let Some(mut cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("outage", PARTITIONS);
    let load = Load::begin(&cluster.ports, "outage", PARTITIONS, 3);
    let groups = Groups::begin(&cluster.ports, "outage", 2);
    load.until_more(100);
    groups.until_all_commit();
    cluster.proxy.set_out(true);
    let began = now();
    for broker in cluster.running() {
        broker.until_unready("database");
        assert!(broker.metric("streamhouse_membership_heartbeats_failed_total") > Some(0.0));
        until("the log tells of it", || {
            (broker.log_lines("database") > 0).then_some(())
        });
    }
    let shown = since(began);
    let length = outage();
    lasts(length.saturating_sub(since(began)));
    cluster.proxy.set_out(false);
    let took = load.until_all_write();
    groups.until_all_commit();
    say(&format!(
        "the database was down for {length:?}: shown everywhere after {shown:?}, all write {took:?} after its end"
    ));
    cluster.until_settled();
    groups.end();
    close(&mut cluster, load);
}
