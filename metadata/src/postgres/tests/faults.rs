//! Writes whose way to the server fails: cut off before or after the server carried them out, answered to nobody, or
//! held back until somebody else leads the shard.

use std::time::Duration;

use super::{Scene, ambient, flush, lsns, manifest, settings};
use crate::postgres::proxy::{Mishap, Proxy, Write};
use crate::postgres::server::{self, Server};
use crate::postgres::{PostgresSettings, PostgresStore};
use crate::store::CommitOutcome::{Committed, Refused};
use crate::store::{
    BrokerRow, BrokerShelf, Class, ClusterShelf, Commit, Coordination, CoordinationWrite,
    GrantOutcome, GrantRequest, GroupShelf, HeartbeatError, Incarnation, ManifestShelf,
    MetadataStore, Outcome, ShardId, ShardRow, ShardShelf, StoreError,
};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::{Ambient, SystemClock};

/// A lease that does not end during a test.
const LEASE: Duration = Duration::from_secs(3600);

/// A scene whose store reaches the server through a proxy, while its other connection does not.
async fn behind(server: &Server, change: fn(&mut PostgresSettings)) -> (Proxy, Scene) {
    let proxy = Proxy::start(server.port()).unwrap();
    let mut settings = PostgresSettings {
        url: proxy.url(),
        ..settings(server)
    };
    change(&mut settings);
    let scene = Scene::with(settings).await;
    (proxy, scene)
}

fn short(settings: &mut PostgresSettings) {
    settings.statement_limit = Duration::from_millis(200);
    settings.request_limit = Duration::from_millis(400);
}

/// The same schema, over a connection that nothing happens to, with a clock that goes.
async fn beside(scene: &Scene, server: &Server) -> PostgresStore {
    let settings = PostgresSettings {
        url: server.url(),
        ..scene.settings.clone()
    };
    PostgresStore::open(settings, ambient()).await.unwrap()
}

/// What became of each manifest of a commit.
async fn happened(store: &PostgresStore, commit: &Commit) -> Vec<bool> {
    let names: Vec<_> = commit
        .manifests
        .iter()
        .map(|manifest| crate::store::CommitName {
            shard: manifest.shard,
            lsn: manifest.lsn,
            epoch: manifest.epoch,
            incarnation: manifest.incarnation,
        })
        .collect();
    let resolved = store.resolve(names.clone()).await.unwrap();
    names
        .iter()
        .zip(resolved)
        .map(|(name, each)| each.happened(name))
        .collect()
}

fn is_unknown(error: &StoreError) -> bool {
    (error.class(), error.outcome()) == (Class::Unavailable, Outcome::MayHaveHappened)
}

#[tokio::test]
async fn a_commit_of_many_shards_is_one_round_trip() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let rows = scene.lead(10).await;
    // Prepares the statement.
    scene.store.commit(flush(&rows, 0)).await.unwrap();
    for lsn in 1..4 {
        let before = proxy.round_trips();
        scene.store.commit(flush(&rows, lsn)).await.unwrap();
        assert_eq!(proxy.round_trips() - before, 1);
    }
    let written = lsns(&scene.store, 3).await;
    assert_eq!(written, [0, 1, 2, 3]);
}

#[tokio::test]
async fn groups_of_many_shards_and_a_heartbeat_are_one_round_trip_each() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let rows = scene.lead(10).await;
    let writes =
        |seq| -> Vec<CoordinationWrite> { rows.iter().map(|row| write(row, seq)).collect() };
    scene.store.write_groups(writes(0)).await.unwrap();
    let before = proxy.round_trips();
    scene.store.write_groups(writes(1)).await.unwrap();
    assert_eq!(proxy.round_trips() - before, 1);
    register(&scene.store, 0, 10).await;
    scene.store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    let before = proxy.round_trips();
    scene.store.heartbeat(Incarnation(10), LEASE).await.unwrap();
    assert_eq!(proxy.round_trips() - before, 1);
}

fn write(row: &ShardRow, seq: u64) -> CoordinationWrite {
    CoordinationWrite {
        shard: row.shard,
        epoch: row.epoch,
        incarnation: row.incarnation.unwrap(),
        seq,
        changes: Vec::new(),
    }
}

async fn register(store: &PostgresStore, broker: i32, life: u128) {
    let row = BrokerRow {
        broker: BrokerId(broker),
        incarnation: Incarnation(life),
        endpoints: Vec::new(),
        rack: None,
    };
    store.register_broker(row, LEASE).await.unwrap();
}

#[tokio::test]
pub(super) async fn a_commit_that_is_cut_off_is_unknown_and_resolving_tells_which() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let rows = scene.lead(10).await;
    for (lsn, mishap, expected) in [
        (0, Mishap::CutBefore, false),
        (0, Mishap::CutAfter, true),
        (1, Mishap::CutAfter, true),
    ] {
        proxy.plan(Write::Manifests, mishap);
        let commit = flush(&rows, lsn);
        let error = scene.store.commit(commit.clone()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
        assert_eq!(happened(&scene.store, &commit).await, [expected; 4]);
    }
    // What happened is not done twice.
    let outcomes = scene.store.commit(flush(&rows, 1)).await.unwrap();
    assert_eq!(outcomes, [Refused; 4]);
    assert_eq!(lsns(&scene.store, 0).await, [0, 1]);
    assert_eq!(proxy.met(), 3);
}

#[tokio::test]
async fn a_swallowed_answer_is_unknown_after_the_limit_and_the_connection_is_not_used_again() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, short).await;
    let rows = scene.lead(10).await;
    // The store of the scene has a clock that stands: this one waits for real.
    let store = waiting(&scene).await;
    for mishap in [Mishap::Swallow, Mishap::Hold] {
        let lsn = lsns(&store, 0).await.len() as u64;
        proxy.plan(Write::Manifests, mishap);
        let commit = flush(&rows, lsn);
        let error = store.commit(commit.clone()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
        assert!(error.to_string().contains("did not answer"), "{error}");
        let expected = mishap == Mishap::Swallow;
        assert_eq!(happened(&store, &commit).await, [expected; 4]);
    }
    proxy.release();
    store.close().await;
}

#[tokio::test]
async fn a_statement_that_the_server_stops_is_unknown() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::with(PostgresSettings {
        statement_limit: Duration::from_millis(100),
        lock_limit: Duration::from_secs(60),
        ..settings(server)
    })
    .await;
    let rows = scene.lead(10).await;
    scene
        .run("BEGIN; SELECT 1 FROM shards WHERE shard = 2 FOR UPDATE")
        .await;
    let error = scene.store.commit(flush(&rows, 0)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::MayHaveHappened, "{error}");
    assert!(
        error.to_string().contains("raise the statement limit"),
        "{error}"
    );
    scene.run("ROLLBACK").await;
    let happened = happened(&scene.store, &flush(&rows, 0)).await;
    assert_eq!(happened, [false; 4]);
    let outcomes = scene.store.commit(flush(&rows, 0)).await.unwrap();
    assert_eq!(outcomes, [Committed; 4]);
}

/// A store on the schema of a scene, by the same way, whose clock is the system's.
async fn waiting(scene: &Scene) -> PostgresStore {
    let ambient = Ambient {
        clock: std::sync::Arc::new(SystemClock::new()),
        ..ambient()
    };
    PostgresStore::open(scene.settings.clone(), ambient)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_commit_that_was_held_on_the_way_finds_the_shard_taken() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let rows = scene.lead(10).await;
    let other = beside(&scene, server).await;
    proxy.plan(Write::Manifests, Mishap::Hold);
    let committing = scene.store.commit(flush(&rows, 0));
    let taking = async {
        proxy.until_met(1).await;
        // Not found, and nobody may take that for an answer: the zombie's commit is still on its way.
        assert_eq!(happened(&other, &flush(&rows, 0)).await, [false; 4]);
        let taken = GrantRequest::own(Incarnation(11), None, [ShardId(1), ShardId(2)]);
        other.grant(taken).await.unwrap();
        proxy.release();
    };
    let (outcomes, ()) = tokio::join!(committing, taking);
    assert_eq!(outcomes.unwrap(), [Committed, Refused, Refused, Committed]);
    assert_eq!(lsns(&other, 1).await, [0_u64; 0]);
    let objects = crate::store::ObjectShelf::objects(&other, None, 9).await;
    let live = crate::store::ObjectState::Live {
        shards: vec![ShardId(0), ShardId(3)],
    };
    assert_eq!(objects.unwrap()[0].state, live, "exactly the winners");
}

#[tokio::test]
async fn of_two_who_commit_the_same_number_one_wins_each_time() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    let other = beside(&scene, server).await;
    // The same grant twice, as two processes that both believe to be its holder.
    let rows = scene.lead(10).await;
    for lsn in 0..30 {
        let without_object = |text: &'static str| Commit {
            object: None,
            manifests: rows
                .iter()
                .map(|row| crate::store::ManifestCommit {
                    body: bytes::Bytes::from_static(text.as_bytes()),
                    ..manifest(row, lsn)
                })
                .collect(),
        };
        let (a, b) = tokio::join!(
            scene.store.commit(without_object("a")),
            other.commit(without_object("b"))
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        for shard in 0..4 {
            let wins = [a[shard], b[shard]];
            let winners = wins.iter().filter(|each| **each == Committed).count();
            assert_eq!(winners, 1, "shard {shard}, manifest {lsn}: {wins:?}");
        }
    }
}

#[tokio::test]
async fn takers_who_race_for_a_shard_that_was_seen_under_one_grant_never_both_win() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    let other = beside(&scene, server).await;
    for _ in 0..20 {
        let seen = scene.store.read_shard(ShardId(0)).await.unwrap().unwrap();
        let take = |life| {
            let mut request = GrantRequest::own(Incarnation(life), None, [ShardId(0)]);
            request.shards[0].expecting = Some((seen.epoch, seen.incarnation));
            request
        };
        let (a, b) = tokio::join!(scene.store.grant(take(20)), other.grant(take(21)));
        let outcomes = [a.unwrap()[0], b.unwrap()[0]];
        let won = |each: &&GrantOutcome| matches!(each, GrantOutcome::Granted(_));
        assert_eq!(outcomes.iter().filter(won).count(), 1, "{outcomes:?}");
    }
    let grants = scene.store.grants(ShardId(0)).await.unwrap();
    assert_eq!(grants.len(), 20);
}

#[tokio::test]
pub(super) async fn a_takeover_and_a_heartbeat_never_both_succeed() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    let other = beside(&scene, server).await;
    for round in 0..20_u128 {
        let (holder, taker) = (Incarnation(100 + round), Incarnation(101 + round));
        let number = i32::try_from(round).unwrap();
        register(&scene.store, number, holder.0).await;
        let held = GrantRequest::own(holder, None, [ShardId(0)]);
        if round == 0 {
            other.grant(held).await.unwrap();
        }
        scene.store.heartbeat(holder, Duration::ZERO).await.unwrap();
        register(&other, number + 1, taker.0).await;
        let taken = GrantRequest::own(taker, None, [ShardId(0)]);
        let (beat, taken) = tokio::join!(scene.store.heartbeat(holder, LEASE), other.grant(taken));
        let was_taken = match taken.unwrap()[0] {
            GrantOutcome::Granted(_) => true,
            GrantOutcome::Held { by, .. } if by == holder => false,
            outcome @ (GrantOutcome::WalElsewhere { .. }
            | GrantOutcome::Held { .. }
            | GrantOutcome::Changed { .. }
            | GrantOutcome::Dead { .. }
            | GrantOutcome::UnknownShard) => panic!("{outcome:?}"),
        };
        match beat {
            Ok(_) => assert!(!was_taken, "renewed and taken"),
            Err(HeartbeatError::Dead { .. }) => assert!(was_taken, "dead and not taken"),
            Err(error) => panic!("{error}"),
        }
        if !was_taken {
            scene.store.leave(holder).await.unwrap();
            other
                .grant(GrantRequest::own(taker, None, [ShardId(0)]))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_write_of_groups_whose_answer_is_lost_is_found_in_the_coordination_row() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let row = scene.lead(10).await[0];
    for (mishap, seq) in [(Mishap::CutBefore, 0), (Mishap::CutAfter, 1)] {
        proxy.plan(Write::Groups, mishap);
        let error = scene.store.write_groups(vec![write(&row, 0)]).await;
        assert!(is_unknown(&error.unwrap_err()));
        let expected = Coordination {
            epoch: row.epoch,
            incarnation: row.incarnation,
            seq,
        };
        let found = scene.store.coordination(&[row.shard]).await.unwrap();
        assert_eq!(found, [Some(expected)]);
    }
}

#[tokio::test]
async fn a_transaction_whose_commit_is_cut_off_is_unknown_and_one_that_broke_before_is_not() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    for (mishap, grants) in [(Mishap::CutBefore, 0), (Mishap::CutAfter, 1)] {
        proxy.plan(Write::Transaction, mishap);
        let request = GrantRequest::own(Incarnation(10), None, [ShardId(0)]);
        let error = scene.store.grant(request).await.unwrap_err();
        assert!(is_unknown(&error), "{error}");
        let found = scene.store.grants(ShardId(0)).await.unwrap();
        assert_eq!(found.len(), grants);
    }
    proxy.set_out(true);
    let request = GrantRequest::own(Incarnation(10), None, [ShardId(0)]);
    let error = scene.store.grant(request.clone()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::DidNotHappen, "{error}");
    let error = scene.store.resolve(Vec::new()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::DidNotHappen, "{error}");
    proxy.set_out(false);
    scene.store.grant(request).await.unwrap();
}

#[tokio::test]
async fn heartbeats_do_not_wait_behind_commits() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |settings| settings.connections = 1).await;
    let rows = scene.lead(10).await;
    register(&scene.store, 0, 10).await;
    proxy.plan(Write::Manifests, Mishap::Hold);
    let committing = scene.store.commit(flush(&rows, 0));
    let beating = async {
        proxy.until_met(1).await;
        scene.store.heartbeat(Incarnation(10), LEASE).await.unwrap();
        proxy.release();
    };
    let (outcomes, ()) = tokio::join!(committing, beating);
    assert_eq!(outcomes.unwrap(), [Committed; 4]);
}

#[tokio::test]
async fn another_broker_hears_of_changes_and_again_after_its_connection_broke() {
    let Some(server) = server::shared() else {
        return;
    };
    let (proxy, scene) = behind(server, |_| {}).await;
    let hearing = waiting(&scene).await;
    let other = beside(&scene, server).await;
    let mut changes = hearing.watch_changes();
    // It woke when it began to listen.
    changes.changed().await.unwrap();
    other.allocate_producer_ids(1).await.unwrap();
    changes.changed().await.unwrap();
    proxy.cut();
    // It wakes when it listens again, since nobody knows what it missed.
    changes.changed().await.unwrap();
    other.leave(Incarnation(1)).await.unwrap();
    changes.changed().await.unwrap();
    hearing.close().await;
}
