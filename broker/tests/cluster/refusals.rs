//! A broker that was told a wrong database or bucket does not start, and says what to do.

use streamhouse_storage::s3_server::{Denial, S3Fault, S3Operation};

use crate::broker::streamhouse;
use crate::cluster::{Cluster, bucket};
use crate::wait::{now, since};

/// `EX_UNAVAILABLE`, `EX_CONFIG`, `EX_DATAERR`.
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;
const DATA: i32 = 65;

/// The settings of a fourth broker, changed by `more`.
fn fourth(cluster: &Cluster, more: &[&str]) -> Vec<String> {
    let mut settings = cluster.start_of(4).all();
    settings.extend(more.iter().map(|&setting| setting.to_owned()));
    settings
}

/// Starts a fourth broker, which must end with `code` and say each of `words`.
fn refused(cluster: &Cluster, more: &[&str], code: i32, words: &[&str]) {
    let began = now();
    let output = streamhouse(&["serve"], &fourth(cluster, more))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{more:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{more:?}: {word} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "a password is shown: {text}");
    assert!(
        since(began) < crate::wait::PATIENCE,
        "it took {:?}",
        since(began)
    );
}

#[test]
fn a_wrong_database_is_refused_with_a_remedy() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let port = cluster.server().port();
    let nobody = "metadata.url=postgres://streamhouse:hunter2@127.0.0.1:1/postgres?sslmode=disable";
    refused(
        &cluster,
        &[nobody],
        UNAVAILABLE,
        &["127.0.0.1:1", "check that it runs"],
    );
    let wrong = format!(
        "metadata.url=postgres://stranger:hunter2@127.0.0.1:{port}/postgres?sslmode=disable"
    );
    refused(
        &cluster,
        &[&wrong],
        CONFIG,
        &["refuses the connection", "check user, password"],
    );
    let shards = ["metadata.shards=7"];
    refused(
        &cluster,
        &shards,
        CONFIG,
        &["metadata.shards is 7", "set it to 6"],
    );
    let folder = ["storage.url=/tmp/objects"];
    refused(
        &cluster,
        &folder,
        CONFIG,
        &["storage.url", "s3://bucket/prefix"],
    );
    let newer = "UPDATE S.refinery_schema_history SET version = 99 WHERE version = (SELECT max(version) FROM S.refinery_schema_history)";
    cluster.ask(&newer.replace("S.", &format!("{}.", cluster.schema)));
    refused(
        &cluster,
        &[],
        DATA,
        &["has version 99", "start the version that wrote it"],
    );
}

#[test]
fn a_wrong_bucket_is_refused_with_a_remedy() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let nowhere = ["storage.url=s3://nowhere/here"];
    refused(
        &cluster,
        &nowhere,
        CONFIG,
        &["no bucket \"nowhere\"", "create it"],
    );
    let endpoint = ["s3.endpoint=http://127.0.0.1:1"];
    refused(
        &cluster,
        &endpoint,
        UNAVAILABLE,
        &["does not answer at http://127.0.0.1:1", "s3.endpoint"],
    );
    let schema = format!("metadata.schema={}_other", cluster.schema);
    refused(
        &cluster,
        &[&schema],
        CONFIG,
        &["belong to cluster", "storage.url"],
    );
    for (denial, words) in [
        (Denial::BadSignature, ["credentials", "check access key"]),
        (Denial::AccessDenied, ["does not allow", "s3:PutObject"]),
        (Denial::ClockSkew, ["clock of this machine", "NTP"]),
    ] {
        let (other, endpoint) = bucket();
        for operation in [S3Operation::Get, S3Operation::Put, S3Operation::List] {
            let denied = std::iter::repeat_n(Some(S3Fault::Deny(denial)), 40);
            other.script(operation, denied);
        }
        let endpoint = format!("s3.endpoint={endpoint}");
        refused(&cluster, &[&endpoint], CONFIG, &words);
    }
}
