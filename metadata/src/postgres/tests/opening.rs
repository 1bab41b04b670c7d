//! Which servers and schemas are refused when the store is opened, each with its remedy.

use super::{Scene, ambient, connect, settings};
use crate::postgres::server::{self, Server};
use crate::postgres::{OpenError, PostgresSettings, PostgresStore, session};
use crate::store::ClusterShelf;

#[tokio::test]
async fn brokers_that_start_together_make_one_schema() {
    let Some(server) = server::shared() else {
        return;
    };
    let settings = settings(server);
    let open = || PostgresStore::open(settings.clone(), ambient());
    let (a, b, c) = tokio::join!(open(), open(), open());
    for store in [a, b, c] {
        assert_eq!(store.unwrap().cluster().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_newer_schema_and_one_of_somebody_else_are_refused() {
    let Some(server) = server::shared() else {
        return;
    };
    let scene = Scene::new(server).await;
    scene
        .run("INSERT INTO refinery_schema_history SELECT 9, name, applied_on, checksum FROM refinery_schema_history")
        .await;
    let error = PostgresStore::open(scene.settings.clone(), ambient())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 9,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    let theirs = settings(server);
    scene
        .run(&format!(
            "CREATE SCHEMA {0}; CREATE TABLE {0}.theirs (x int)",
            theirs.schema
        ))
        .await;
    let error = PostgresStore::open(theirs, ambient()).await.unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_the_remedy() {
    let Some(server) = server::shared() else {
        return;
    };
    let check = async |url: String, words: &str| {
        let error = PostgresStore::open(PostgresSettings::new(url), ambient())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains("secret"), "{text}");
    };
    let at = |host: &str| format!("postgres://streamhouse:secret@{host}");
    check(at("127.0.0.1:1/postgres"), "check that it runs").await;
    check(
        at(&format!("127.0.0.1:{}/nothing", server.port())),
        "check user, password",
    )
    .await;
    // A server without TLS is no server that can show whose it is.
    check(
        at(&format!(
            "127.0.0.1:{}/postgres?sslmode=verify-full",
            server.port()
        )),
        "TLS",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused() {
    if server::shared().is_none() {
        return;
    }
    let server = Server::start("-c fsync=off").unwrap();
    let error = PostgresStore::open(PostgresSettings::new(server.url()), ambient())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NotDurable {
                setting: "fsync",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn only_a_server_whose_certificate_names_it_is_believed() {
    if server::shared().is_none() {
        return;
    }
    let server = Server::start_with_tls().unwrap();
    let (port, authority) = (server.port(), server.authority());
    let url = |host: &str, more: &str| {
        format!("postgres://streamhouse@{host}:{port}/postgres?sslmode=verify-full{more}")
    };
    let open = async |url: String| PostgresStore::open(PostgresSettings::new(url), ambient()).await;
    let vouched = format!("&sslrootcert={authority}");
    let store = open(url("localhost", &vouched)).await.unwrap();
    // Leaves an idle connection, which the server can be asked about.
    assert_eq!(store.cluster().await.unwrap(), None);
    let protected = connect(&settings(&server)).await;
    let protected = protected
        .query_one(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'streamhouse'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(protected.get::<_, Option<bool>>(0), Some(true));
    // Another name for the same server, and an authority that does not vouch for it.
    for wrong in [url("127.0.0.1", &vouched), url("localhost", "")] {
        let error = open(wrong).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_shown() {
    if server::shared().is_none() {
        return;
    }
    let server = Server::start("").unwrap();
    let other = connect(&settings(&server)).await;
    other
        .batch_execute("ALTER ROLE streamhouse PASSWORD 'right'")
        .await
        .unwrap();
    let rules = format!("{}/data/pg_hba.conf", server.folder());
    std::fs::write(rules, "host all all all scram-sha-256\n").unwrap();
    other
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let with = |password: &str| {
        let port = server.port();
        PostgresSettings::new(format!(
            "postgres://streamhouse:{password}@127.0.0.1:{port}/postgres"
        ))
    };
    let error = PostgresStore::open(with("wr0ng"), ambient())
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("check user, password") && !text.contains("wr0ng"),
        "{text}"
    );
    PostgresStore::open(with("right"), ambient()).await.unwrap();
}

/// Whatever the server's own settings are, those of a session are ours.
#[tokio::test]
async fn sessions_do_not_depend_on_the_settings_of_the_server() {
    if server::shared().is_none() {
        return;
    }
    let server = Server::start(
        "-c synchronous_commit=off -c default_transaction_isolation=serializable -c lock_timeout=1",
    )
    .unwrap();
    let scene = Scene::new(&server).await;
    assert_eq!(scene.store.cluster().await.unwrap().unwrap().cluster_id, 1);
}

/// As behind a pooler that does not keep what a session sets.
#[tokio::test]
async fn a_session_that_does_not_keep_what_it_is_told_is_refused() {
    let Some(server) = server::shared() else {
        return;
    };
    let settings = settings(server);
    let target = crate::postgres::settings::target(&settings).unwrap();
    let client = connect(&settings).await;
    for (sql, named) in [
        ("SET synchronous_commit = off", "synchronous_commit"),
        (
            "SET synchronous_commit = on; SET default_transaction_isolation = 'repeatable read'",
            "default_transaction_isolation",
        ),
        (
            "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = on",
            "default_transaction_read_only",
        ),
    ] {
        client.batch_execute(sql).await.unwrap();
        let error = session::verify(&client, &target).await.unwrap_err();
        assert!(
            matches!(error, OpenError::NotDurable { setting, .. } if setting == named),
            "{error}"
        );
        assert!(
            error.to_string().contains("correct its configuration"),
            "{error}"
        );
    }
}
