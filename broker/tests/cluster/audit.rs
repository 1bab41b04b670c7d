//! What the database and the bucket say of each other, when everything has come to rest.
//!
//! Never is there a row without its bytes. Bytes without a row are there for a while only: an upload whose commit did not
//! happen is given up by the life that made it, as soon as the database answers; of a life that died in between, by whoever
//! leads its shards, some ten seconds after the takeover. What is given up has a row that says so, and its bytes stay for
//! the grace.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::group::Groups;
use crate::load::Load;
use crate::wait::{PATIENCE, now, pause, since};

/// Questions about what must never be, each with an answer of nothing.
const NEVER: &[(&str, &str)] = &[
    (
        "a manifest of an epoch that was over",
        "SELECT m.shard, m.lsn, m.epoch, g.epoch FROM S.manifests m JOIN S.grants g ON g.shard = m.shard AND g.epoch > m.epoch
         WHERE m.lsn >= g.at_lsn",
    ),
    (
        "a manifest of a broker that was not granted its epoch",
        "SELECT m.shard, m.lsn FROM S.manifests m JOIN S.grants g ON g.shard = m.shard AND g.epoch = m.epoch
         WHERE g.incarnation <> m.incarnation",
    ),
    (
        "a gap in the manifests of a shard",
        "SELECT s.shard, s.first_lsn, s.next_lsn, count(m.lsn) FROM S.shards s LEFT JOIN S.manifests m USING (shard)
         GROUP BY s.shard, s.first_lsn, s.next_lsn HAVING count(m.lsn) <> s.next_lsn - s.first_lsn",
    ),
    (
        "a shard whose groups are fenced otherwise than its log",
        "SELECT shard FROM S.shards s JOIN S.shard_coordination c USING (shard)
         WHERE (s.epoch, s.incarnation) IS DISTINCT FROM (c.epoch, c.incarnation)",
    ),
    (
        "a shard that a dead life holds while others live",
        "SELECT s.shard FROM S.shards s JOIN S.brokers b USING (incarnation) WHERE b.died_ms IS NOT NULL",
    ),
    (
        "a committed offset that nobody commits",
        "SELECT shard, partition, committed_offset FROM S.group_offsets WHERE committed_offset < 1",
    ),
];

/// Ends a test. Everything that was acknowledged is read, from brokers that wrote it and from brokers that have just started
/// and must read it from the bucket; and database and bucket agree.
pub(crate) fn close(cluster: &mut Cluster, load: Load) {
    let acknowledged = load.end();
    acknowledged.check(&cluster.ports);
    audit(cluster);
    cluster.restart();
    acknowledged.check(&cluster.ports);
}

/// Asks the database of a cluster for what must never be, and holds its objects against those of the bucket.
fn audit(cluster: &Cluster) {
    assert_eq!(broken_laws(cluster), [""; 0]);
    let began = now();
    loop {
        let unnamed = unnamed(cluster);
        if unnamed.is_empty() {
            return;
        }
        assert!(
            since(began) < PATIENCE,
            "objects that no row names, {PATIENCE:?} after the end: {unnamed:?}; lives that are over: {}",
            cluster.ask(&format!(
                "SELECT encode(incarnation, 'hex') FROM {}.brokers WHERE died_ms IS NOT NULL",
                cluster.schema
            ))
        );
        pause();
    }
}

/// What must never be and is.
fn broken_laws(cluster: &Cluster) -> Vec<String> {
    let mut broken = Vec::new();
    for (what, sql) in NEVER {
        let found = cluster.ask(&cluster.of_schema(sql));
        if !found.is_empty() {
            broken.push(format!("{what}: {found}"));
        }
    }
    // Before the keys: an object is stored before it is named. A tombstone may be of an upload that never happened.
    let rows = rows(cluster, "state = 0");
    let keys = keys(cluster);
    let missing: Vec<_> = rows.difference(&keys).collect();
    if !missing.is_empty() {
        broken.push(format!(
            "a row of an object that the bucket lacks: {missing:?}"
        ));
    }
    broken
}

/// Objects of the bucket that no row names.
fn unnamed(cluster: &Cluster) -> Vec<String> {
    // Before the rows: what is stored meanwhile is not named yet.
    let keys = keys(cluster);
    let rows = rows(cluster, "true");
    keys.difference(&rows).cloned().collect()
}

fn keys(cluster: &Cluster) -> BTreeSet<String> {
    cluster.s3.keys().iter().filter_map(|key| id(key)).collect()
}

/// The objects that rows name.
fn rows(cluster: &Cluster, which: &str) -> BTreeSet<String> {
    let sql = format!(
        "SELECT encode(object_id, 'hex') FROM {0}.objects WHERE {which}
         UNION SELECT encode(checkpoint_object, 'hex') FROM {0}.shards WHERE checkpoint_object IS NOT NULL",
        cluster.schema
    );
    cluster.ask(&sql).lines().map(str::to_owned).collect()
}

/// The id in a key, `prefix/hh/incarnation/seq-attempt.kind`, as rows spell it; none for what is no object of the log.
fn id(key: &str) -> Option<String> {
    let mut parts = key.rsplit('/');
    let (name, incarnation) = (parts.next()?, parts.next()?);
    let (number, _) = name.split_once('.')?;
    let (seq, attempt) = number.split_once('-')?;
    let id = format!("{incarnation}{seq}{attempt}");
    (id.len() == 56).then_some(id)
}

/// Harm to a database, and what must be said of it.
const HARMS: &[(&str, &str)] = &[
    (
        "INSERT INTO S.grants SELECT shard, epoch + 1, incarnation, 0, at_seq, timeline FROM S.grants
         WHERE shard = (SELECT min(shard) FROM S.manifests) ORDER BY epoch DESC LIMIT 1",
        "a manifest of an epoch that was over",
    ),
    (
        "UPDATE S.manifests SET incarnation = decode(repeat('00', 16), 'hex')",
        "a manifest of a broker that was not granted its epoch",
    ),
    (
        "DELETE FROM S.manifests WHERE (shard, lsn) IN (SELECT shard, max(lsn) FROM S.manifests GROUP BY shard LIMIT 1)",
        "a gap in the manifests of a shard",
    ),
    (
        "UPDATE S.shard_coordination SET epoch = epoch + 1",
        "a shard whose groups are fenced otherwise than its log",
    ),
    (
        "UPDATE S.brokers SET died_ms = 1",
        "a shard that a dead life holds while others live",
    ),
    (
        "UPDATE S.group_offsets SET committed_offset = 0",
        "a committed offset that nobody commits",
    ),
    (
        "UPDATE S.objects SET object_id = decode(repeat('ab', 28), 'hex')
         WHERE object_id = (SELECT object_id FROM S.objects WHERE state = 0 ORDER BY object_id LIMIT 1)",
        "a row of an object that the bucket lacks",
    ),
];

#[test]
fn an_audit_finds_what_it_looks_for() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    cluster.create("harmed", 6);
    let load = Load::begin(&cluster.ports, "harmed", 6, 1);
    let groups = Groups::begin(&cluster.ports, "harmed", 1);
    load.until_all_write();
    groups.until_all_commit();
    groups.end();
    load.end().check(&cluster.ports);
    audit(&cluster);
    // Nobody mends anything meanwhile.
    for broker in cluster.running() {
        broker.pause();
    }
    for (harm, told) in HARMS {
        cluster.ask(&cluster.of_schema(harm));
        let broken = broken_laws(&cluster);
        assert!(
            broken.iter().any(|it| it.starts_with(told)),
            "{told}: {broken:?}"
        );
    }
    assert_eq!(unnamed(&cluster).len(), 1, "the object that lost its row");
}
