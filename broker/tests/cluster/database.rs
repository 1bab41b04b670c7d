//! A database whose answers to commits are lost.

use streamhouse_metadata::postgres::proxy::{Mishap, Write};

use crate::audit::close;
use crate::cluster::Cluster;
use crate::group::Groups;
use crate::load::Load;
use crate::wait::{now, since};
use crate::{say, scaled};

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
