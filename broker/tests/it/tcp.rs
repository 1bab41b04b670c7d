//! Real sockets: the listener.

use std::net::SocketAddr;
use std::sync::Arc;

use streamhouse_broker::network::{ConnectionQuota, Connections, Limits, ListenError, Listener};
use streamhouse_protocol::messages::ApiVersionsRequest;
use streamhouse_protocol::request::encode_request;
use streamhouse_protocol::response::decode_response;
use streamhouse_runtime::Ambient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::Bench;

const LOOPBACK: &str = "127.0.0.1:0";

async fn listen(limits: Limits) -> (SocketAddr, Ambient, ConnectionQuota) {
    let bench = Bench::new().await;
    let ambient = Ambient::system();
    let connections = Connections {
        ambient: ambient.clone(),
        limits,
        ..bench.connections
    };
    let listener = Listener::bind("PLAINTEXT", LOOPBACK.parse().unwrap()).unwrap();
    let address = listener.address();
    let quota = ConnectionQuota::new(Arc::clone(&ambient.clock), limits);
    ambient
        .tasks
        .spawn("listener", listener.run(connections, quota.clone()));
    (address, ambient, quota)
}

async fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    let frame = encode_request(1, "it", 0, &ApiVersionsRequest::default()).unwrap();
    stream.write_all(&frame).await?;
    let size = stream.read_u32().await?;
    let mut frame = vec![0; usize::try_from(size).unwrap()];
    stream.read_exact(&mut frame).await?;
    let (_, response) = decode_response::<ApiVersionsRequest>(0, frame.into()).unwrap();
    assert_eq!(response.error_code, 0);
    Ok(())
}

#[tokio::test]
async fn clients_are_answered_until_shutdown() {
    let (address, ambient, _) = listen(Limits::default()).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await.unwrap();
        streams.push(stream);
    }
    ambient.tasks.shut_down();
    ambient.tasks.finished().await;
    assert!(!ambient.tasks.has_failed());
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn an_address_has_a_bound_of_connections_and_gets_its_places_back() {
    let limits = Limits {
        connections_per_ip_max: 2,
        ..Limits::default()
    };
    let (address, ambient, quota) = listen(limits).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    ask(&mut first).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    ask(&mut second).await.unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut third).await.is_err());
    drop(first);
    while quota.total() > 1 {
        tokio::task::yield_now().await;
    }
    let mut fourth = TcpStream::connect(address).await.unwrap();
    ask(&mut fourth).await.unwrap();
    ambient.tasks.shut_down();
    ambient.tasks.finished().await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_remedy() {
    let first = Listener::bind("PLAINTEXT", LOOPBACK.parse().unwrap()).unwrap();
    let error = Listener::bind("PLAINTEXT", first.address()).unwrap_err();
    assert!(matches!(error, ListenError::Taken { .. }));
    let text = error.to_string();
    assert!(text.contains(&first.address().port().to_string()), "{text}");
    assert!(text.contains("--port"), "{text}");
}
