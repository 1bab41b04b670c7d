//! A crowd that comes at once, and stays without a word.

use std::net::{Ipv4Addr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use streamhouse_protocol::messages::ApiVersionsRequest;

use super::honest::Honest;
use super::wire::Connection;
use super::{Bothered, say};

/// Connections that stay open.
const IDLE: usize = 10_000;

/// Connections that come and go at once.
const STORM: usize = 4_000;

/// How many come at the same time.
const ABREAST: usize = 16;

/// Open files of the test and of the broker that are no such connections.
const OTHER_FILES: u64 = 1_000;

#[test]
fn ten_thousand_idle_connections_cost_little_memory_and_stop_nobody() {
    let idle = affordable(IDLE);
    let data = tempfile::tempdir().unwrap();
    let mut broker = Bothered::start(data.path());
    let port = broker.port();
    let mut honest = Honest::start(port);
    honest.goes_on(20);
    broker.watch();
    // They come as a storm, each asks what the broker can do, and stays.
    let crowd = meanwhile(&mut honest, || greeted(port, idle));
    assert_eq!(crowd.len(), idle);
    honest.goes_on(100);
    meanwhile(&mut honest, || come_and_go(port, STORM));
    honest.goes_on(100);
    broker.expect_little_growth(&format!("{idle} idle connections"));
    // They were not forgotten either.
    let mut last = crowd.into_iter().next_back().unwrap();
    greet(&mut last);
    drop(last);
    honest.goes_on(10);
}

/// As many as this process may have open files for; the broker inherits its limit.
fn affordable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What cannot be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current;
    let room = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES));
    let affordable = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
    if affordable < wanted {
        say(&format!(
            "{affordable} connections instead of {wanted}, for want of open files (ulimit -n)"
        ));
    }
    affordable
}

/// Does `work` beside somebody who goes on.
fn meanwhile<T: Send>(honest: &mut Honest, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            honest.goes_on(1);
        }
        working.join().unwrap()
    })
}

/// So many connections, each of which had an answer.
fn greeted(port: u16, connections: usize) -> Vec<Connection> {
    let each = connections.div_ceil(ABREAST);
    let shares = (0..connections)
        .step_by(each)
        .map(|from| each.min(connections - from));
    std::thread::scope(|scope| {
        let comers: Vec<_> = shares
            .map(|share| {
                scope.spawn(move || {
                    let mut open: Vec<_> = (0..share)
                        .map(|_| Connection::open(port).unwrap())
                        .collect();
                    open.iter_mut().for_each(greet);
                    open
                })
            })
            .collect();
        comers
            .into_iter()
            .flat_map(|comer| comer.join().unwrap())
            .collect()
    })
}

fn greet(connection: &mut Connection) {
    let answer = connection.ask(0, &ApiVersionsRequest::default()).unwrap();
    assert_eq!(answer.error_code, 0);
}

/// So many connections that are gone before they were heard.
fn come_and_go(port: u16, connections: usize) {
    for _ in 0..connections {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
    }
}
