//! The server as brokers in other processes meet it: over TCP, and steered over its second port.

use std::net::SocketAddr;
use std::time::Duration;

use streamhouse_runtime::Ambient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{books, put, work};
use crate::objects::rig::{key, over_tcp};
use crate::objects::{Objects, ProbeError, PutError};
use crate::s3_server::{Creates, Listening, S3Operation, S3Server};

const HERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

struct Tcp {
    objects: Objects,
    server: S3Server,
    control: Listening,
}

async fn tcp() -> Tcp {
    let ambient = Ambient::system();
    let server = S3Server::new("events", "key-id", ambient.clone());
    let s3 = server.listen(SocketAddr::from(HERE)).await.expect("a port");
    let control = server.listen_for_control(SocketAddr::from(HERE)).await;
    Tcp {
        objects: over_tcp(s3.endpoint(), ambient),
        server,
        control: control.expect("a port"),
    }
}

/// The status line's number and the body of an answer of the control port.
async fn ask(control: &Listening, method: &str, path: &str) -> (u16, String) {
    let endpoint = control.endpoint();
    let address = endpoint.strip_prefix("http://").expect("plain");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_sixteen_writers_wins_each_of_forty_keys() {
    let tcp = tcp().await;
    tcp.objects.probe().await.expect("right");
    tcp.objects.race_for_keys(16, 40).await.expect("passed");
    tcp.server.set_creates(Creates::CheckedBefore);
    tcp.objects
        .race_for_keys(16, 40)
        .await
        .expect_err("several win");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_and_the_access_log_agree_within_one_in_a_hundred() {
    let tcp = tcp().await;
    let path = "/script?operation=get&faults=truncate,none,slow:1,error-after,twice";
    assert_eq!(ask(&tcp.control, "POST", path).await.0, 200);
    let path = "/script?operation=put&faults=error-before,error-after,refuse,slow-down-after";
    assert_eq!(ask(&tcp.control, "POST", path).await.0, 200);
    work(&tcp.objects, 100).await;
    for (what, wire, log) in books(&tcp.objects, &tcp.server) {
        assert!(wire.abs_diff(log) * 100 <= log, "{what}: {wire}, {log}");
    }
    let (_, totals) = ask(&tcp.control, "GET", "/totals").await;
    let puts = tcp.server.totals(S3Operation::Put);
    let line = format!(
        "put {} {} {}\n",
        puts.requests, puts.bytes_in, puts.bytes_out
    );
    assert!(totals.starts_with(&line), "{totals}");
    let (_, log) = ask(&tcp.control, "GET", "/log").await;
    let end = format!(" error-before cluster/{}", key(0));
    let first = log.lines().next().unwrap_or_default();
    assert!(first.starts_with("put 500 1000 "), "{log}");
    assert!(first.ends_with(&end), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_begins_and_ends_from_outside() {
    let tcp = tcp().await;
    put(&tcp.objects, 1).await.expect("stored");
    let (_, keys) = ask(&tcp.control, "GET", "/keys").await;
    assert_eq!(keys, format!("1000 cluster/{}\n", key(1)));
    assert_eq!(ask(&tcp.control, "POST", "/set?down=true").await.0, 200);
    let stored = put(&tcp.objects, 2).await;
    assert!(
        matches!(
            stored,
            Err(PutError::MayHaveHappened { .. } | PutError::DidNotHappen { .. })
        ),
        "{stored:?}"
    );
    let probed = tcp.objects.probe().await;
    assert!(
        matches!(probed, Err(ProbeError::Unreachable { .. })),
        "{probed:?}"
    );
    let up = "/set?down=false&latency-ms=30&creates=right&draw=0&page-keys=10";
    assert_eq!(ask(&tcp.control, "POST", up).await.0, 200);
    let clock = Ambient::system().clock;
    let before = clock.monotonic();
    put(&tcp.objects, 3).await.expect("stored");
    assert!(clock.monotonic() - before >= Duration::from_millis(30));
}

#[tokio::test]
async fn what_is_not_understood_is_said() {
    let tcp = tcp().await;
    for (method, path) in [
        ("GET", "/nothing"),
        ("POST", "/set?down=perhaps"),
        ("POST", "/set?unknown=1"),
        ("POST", "/set?down"),
        ("POST", "/script?operation=put&faults=none,unheard-of"),
        ("POST", "/script?faults=none"),
    ] {
        let (status, told) = ask(&tcp.control, method, path).await;
        assert_eq!(status, 400, "{path}");
        assert!(told.starts_with("not understood: "), "{told}");
    }
}
