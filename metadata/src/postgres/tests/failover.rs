//! A standby takes over that lacks the last commits: every broker must be able to tell, and the server that it replaced
//! must not be believed any more.

use std::time::Duration;

use super::{Scene, flush, lsns, name, settings};
use crate::postgres::PostgresSettings;
use crate::postgres::proxy::{Mishap, Proxy, Write};
use crate::postgres::server::{self, Server};
use crate::store::CommitOutcome::Committed;
use crate::store::{
    BrokerRow, BrokerShelf, ClusterShelf, Incarnation, Lsn, ManifestShelf, MetadataStore, Outcome,
    RevisionCheck, ShardId, ShardShelf,
};
use streamhouse_protocol::ids::BrokerId;

const LEASE: Duration = Duration::from_secs(3600);

/// How often a test looks for something that must come, before it says that it does not.
const LOOKS_MAX: usize = 2_000;

/// Looks until the standby has all that the primary has.
fn until_alike(primary: &Server, standby: &Server) {
    let end = primary.run("SELECT pg_current_wal_lsn()").unwrap();
    let has = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
    for _ in 0..LOOKS_MAX {
        if standby.run(&has).unwrap() == "t" {
            return;
        }
    }
    panic!("the standby never followed");
}

#[tokio::test]
async fn a_standby_that_lacks_the_last_commits_is_another_history() {
    if server::shared().is_none() {
        return;
    }
    let primary = Server::start("").unwrap();
    let proxy = Proxy::start(primary.port()).unwrap();
    let scene = Scene::with(PostgresSettings {
        url: proxy.url(),
        ..settings(&primary)
    })
    .await;
    let store = &scene.store;
    let row = BrokerRow {
        broker: BrokerId(0),
        incarnation: Incarnation(10),
        endpoints: Vec::new(),
        rack: None,
    };
    store.register_broker(row, LEASE).await.unwrap();
    let rows = scene.lead(10).await;
    store.commit(flush(&rows, 0)).await.unwrap();
    store.allocate_producer_ids(1).await.unwrap();
    let kept = store.revision().await.unwrap();
    let standby = primary.standby().unwrap();
    until_alike(&primary, &standby);
    // From here on it follows no more.
    standby
        .run("ALTER SYSTEM SET primary_conninfo = ''")
        .unwrap();
    standby.run("SELECT pg_reload_conf()").unwrap();
    for _ in 0..LOOKS_MAX {
        let follows = "SELECT count(*) FROM pg_stat_wal_receiver";
        if standby.run(follows).unwrap() == "0" {
            break;
        }
    }
    let acknowledged = store.commit(flush(&rows, 1)).await.unwrap();
    assert_eq!(acknowledged, [Committed; 4]);
    store.allocate_producer_ids(1).await.unwrap();
    let lost = store.revision().await.unwrap();
    assert_eq!((store.timeline(), rows[0].timeline), (1, 1));

    standby.run("SELECT pg_promote()").unwrap();
    proxy.lead_to(standby.port());
    // A connection that was cut may be found out by a request.
    let beat = match store.heartbeat(Incarnation(10), LEASE).await {
        Ok(beat) => beat,
        Err(_) => store.heartbeat(Incarnation(10), LEASE).await.unwrap(),
    };
    assert_eq!((beat.timeline, store.timeline()), (2, 2));
    assert_eq!(beat.revision, kept);
    let checked = store.check_revision(kept).await.unwrap();
    assert_eq!(checked, RevisionCheck::Kept);
    let checked = store.check_revision(lost).await.unwrap();
    assert_eq!(checked, RevisionCheck::Missing);
    let resolved = store.resolve(vec![name(&rows[0], 1)]).await.unwrap();
    let row = resolved[0].row.unwrap();
    assert_eq!((resolved[0].committed_by, row.next_lsn), (None, Lsn(1)));
    assert_eq!(row.timeline, 1, "the last grant was on the timeline before");

    // The server that was replaced still takes writes, and is not believed.
    proxy.lead_to(primary.port());
    let mut told = String::new();
    for _ in 0..2 {
        let read = store.read_shard(ShardId(0)).await;
        told = read.unwrap_err().to_string();
    }
    assert!(told.contains("replaced by another primary"), "{told}");
    proxy.lead_to(standby.port());
    assert_eq!(lsns(store, 0).await, [0]);
    let again = scene.lead(10).await;
    assert_eq!(again[0].timeline, 2);
}

#[tokio::test]
async fn what_a_server_answers_that_was_replaced_meanwhile_is_unknown() {
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port()).unwrap();
    let scene = Scene::with(PostgresSettings {
        url: proxy.url(),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    proxy.plan(Write::Manifests, Mishap::Hold);
    let committing = scene.store.commit(flush(&rows, 0));
    let replacing = async {
        proxy.until_met(1).await;
        // As another connection does that finds the next primary.
        scene.store.pool.saw(9);
        proxy.release();
    };
    let (committed, ()) = tokio::join!(committing, replacing);
    let error = committed.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
    let read = scene.store.read_shard(ShardId(0)).await.unwrap_err();
    assert!(read.to_string().contains("replaced"), "{read}");
}
