//! Another database server takes over without the last commits: every broker notices, nothing is acknowledged on top, and
//! one command brings every acknowledged record back to its offset.

use std::time::Duration;

use crate::audit::close;
use crate::cluster::{BROKERS, Cluster};
use crate::load::Load;
use crate::wait::{lasts, now, since, until};
use crate::{say, scaled};

const PARTITIONS: i32 = 6;

/// After so long every broker that has started has swept what dead brokers left behind.
const SWEPT: Duration = Duration::from_secs(15);

#[test]
fn a_failover_that_lost_commits_is_detected_and_repaired() {
    for _ in 0..scaled(1) {
        let Some(cluster) = Cluster::start_alone(&[]) else {
            return;
        };
        lose_and_repair(cluster);
    }
}

fn lose_and_repair(mut cluster: Cluster) {
    cluster.create("failover", PARTITIONS);
    let load = Load::begin(&cluster.ports, "failover", PARTITIONS, 3);
    load.until_more(100);
    let standby = cluster.server().standby().unwrap();
    let caught_up = "SELECT pg_last_wal_receive_lsn() IS NOT NULL";
    until("the standby follows", || {
        (standby.run(caught_up).ok()? == "t").then_some(())
    });
    standby
        .run("ALTER SYSTEM SET primary_conninfo = ''")
        .unwrap();
    standby.run("SELECT pg_reload_conf()").unwrap();
    until("the standby follows no more", || {
        let receivers = standby
            .run("SELECT count(*) FROM pg_stat_wal_receiver")
            .ok()?;
        (receivers == "0").then_some(())
    });
    load.until_all_write();
    load.until_more(100);
    standby.run("SELECT pg_promote()").unwrap();
    let _old = cluster.fail_over(standby);
    let began = now();
    for broker in cluster.running() {
        broker.until_unready("metadata_regression");
    }
    let detected = since(began);
    let acknowledged = load.ledger.records();
    stop_all(&mut cluster);
    // Somebody starts the brokers before anything is repaired: they find the loss, and keep what is to be repaired.
    start_all(&mut cluster);
    until("a broker that has just started tells of the loss", || {
        let mut told = cluster.running().filter_map(|it| it.get("/readyz"));
        told.any(|(status, why)| status == 503 && why.contains("metadata_regression"))
            .then_some(())
    });
    lasts(SWEPT);
    stop_all(&mut cluster);
    let on_top = load.ledger.records() - acknowledged;
    assert_eq!(on_top, 0, "records were acknowledged on top of the loss");
    let began = now();
    let said = cluster.run(&["repair", "metadata"]);
    let repaired = since(began);
    assert!(said.contains("committed again"), "{said}");
    start_all(&mut cluster);
    let back = load.until_all_write();
    close(&mut cluster, load);
    say(&format!(
        "a failover that lost commits: shown everywhere after {detected:?}, repaired in {repaired:?} ({}), all write {back:?} after the start",
        said.lines().next().unwrap_or_default()
    ));
}

fn stop_all(cluster: &mut Cluster) {
    for node in 1..=BROKERS {
        cluster.take(node).stop();
    }
}

fn start_all(cluster: &mut Cluster) {
    for node in 1..=BROKERS {
        cluster.start_broker(node);
    }
}
