//! The S3 server of the tests as a process of its own, for brokers in processes of their own and for measurements:
//! one bucket in memory, with a latency and a fault plan that its control port changes while it runs.
//!
//! Says on its first two lines where it listens: `s3 http://127.0.0.1:PORT` and `control http://127.0.0.1:PORT`. What it
//! holds is gone when it ends, which it does when its standard input closes or it is killed. Not for data of any worth.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use streamhouse_runtime::Ambient;
use streamhouse_storage::s3_server::S3Server;

const USAGE: &str = "usage: s3-server [--listen HOST:PORT] [--control HOST:PORT] [--bucket NAME] [--key-id ID] [--region NAME] [--latency-ms N] [--detached]

  --listen      where it speaks S3 (127.0.0.1:0: any free port)
  --control     where a test steers it: GET /totals /log /keys, POST /set?latency-ms=50&down=true&draw=30 and others
  --bucket      the bucket (events)
  --key-id      the access key id of its clients (key-id); any secret will do
  --region      the region that requests must be signed for (any)
  --latency-ms  how long every request takes (0)
  --detached    goes on when its standard input closes";

#[expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on its standard output"
)]
fn say(line: &str) {
    println!("{line}");
}

struct Wanted {
    listen: SocketAddr,
    control: SocketAddr,
    bucket: String,
    key_id: String,
    region: Option<String>,
    latency: Duration,
    is_detached: bool,
}

fn parse(arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut wanted = Wanted {
        listen: any,
        control: any,
        bucket: "events".to_owned(),
        key_id: "key-id".to_owned(),
        region: None,
        latency: Duration::ZERO,
        is_detached: false,
    };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        if name == "--detached" {
            wanted.is_detached = true;
            continue;
        }
        let value = arguments.next()?;
        match name.as_str() {
            "--listen" => wanted.listen = value.parse().ok()?,
            "--control" => wanted.control = value.parse().ok()?,
            "--bucket" => wanted.bucket = value,
            "--key-id" => wanted.key_id = value,
            "--region" => wanted.region = Some(value),
            "--latency-ms" => wanted.latency = Duration::from_millis(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(wanted)
}

async fn listen(wanted: &Wanted) -> io::Result<()> {
    let server = S3Server::new(&wanted.bucket, &wanted.key_id, Ambient::system());
    server.set_latency(wanted.latency);
    if let Some(region) = &wanted.region {
        server.set_region(region);
    }
    let s3 = server.listen(wanted.listen).await?;
    let control = server.listen_for_control(wanted.control).await?;
    say(&format!("s3 {}", s3.endpoint()));
    say(&format!("control {}", control.endpoint()));
    Ok(())
}

fn serve(wanted: &Wanted) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(listen(wanted))?;
    if wanted.is_detached {
        return runtime.block_on(std::future::pending());
    }
    // Whoever started it has gone when this ends.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn main() -> ExitCode {
    let Some(wanted) = parse(std::env::args().skip(1)) else {
        say(USAGE);
        return ExitCode::FAILURE;
    };
    match serve(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the S3 server cannot listen: {error}"));
            ExitCode::FAILURE
        }
    }
}
