//! The server's second port, on which a test steers it from another process: it is open while the first one is down.
//!
//! - `GET /totals`: a line per operation: its word, requests, bytes in, bytes out.
//! - `GET /log`: a line per request: operation, status (0: none), bytes in, bytes out, fault, key.
//! - `GET /keys`: a line per object: its size and its key.
//! - `POST /set?latency-ms=50&draw=30&down=true&creates=ignored&region=eu-west-1&page-keys=3`: any of these. `draw` is
//!   how many requests of a thousand meet a fault.
//! - `POST /script?operation=put&faults=silence-after,none,slow:500`: what the next puts meet, one each.
//!
//! Every other request, and every value that is not understood, is answered with 400 and the reason.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use tokio::net::TcpListener;

use super::request::decoded;
use super::{Listening, S3Server, words};

impl S3Server {
    /// Listens on `address` (port 0: any free one) for those who steer it.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn listen_for_control(&self, address: SocketAddr) -> io::Result<Listening> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let router = Router::new().fallback(handle).with_state(self.clone());
        let tasks = self.inner.ambient.tasks.clone();
        let until = tasks.clone();
        let serve = async move {
            // Either ends it; nothing that is dropped with it matters.
            tokio::select! {
                biased;
                () = until.shutdown_requested() => {}
                served = axum::serve(socket, router).into_future() => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the control of the S3 server for tests has stopped");
                    }
                }
            }
        };
        drop(tasks.spawn("s3-server-control", serve));
        Ok(Listening { address })
    }

    fn apply(&self, name: &str, value: &str) -> Option<()> {
        match name {
            "latency-ms" => self.set_latency(Duration::from_millis(value.parse().ok()?)),
            "draw" => self.draw(value.parse().ok()?),
            "down" => self.set_down(value.parse().ok()?),
            "creates" => self.set_creates(words::creates(value)?),
            "region" => self.set_region(value),
            "page-keys" => self.set_page_keys(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }

    fn apply_script(&self, settings: &[(String, String)]) -> Option<()> {
        let value = |wanted: &str| {
            let mut settings = settings.iter();
            settings
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let operation = words::operation(value("operation")?)?;
        let faults = value("faults")?.split(',').map(words::fault);
        let faults = faults.collect::<Option<Vec<_>>>()?;
        self.script(operation, faults);
        Some(())
    }

    fn totals_text(&self) -> String {
        let mut text = String::new();
        for (operation, word) in words::OPERATIONS {
            let totals = self.totals(operation);
            let line = format_args!(
                "{word} {} {} {}",
                totals.requests, totals.bytes_in, totals.bytes_out
            );
            push(&mut text, line);
        }
        text
    }

    fn log_text(&self) -> String {
        let mut text = String::new();
        for access in self.log() {
            let operation = words::name(access.operation);
            let fault = words::fault_name(access.fault);
            let line = format_args!(
                "{operation} {} {} {} {fault} {}",
                access.status, access.bytes_in, access.bytes_out, access.key
            );
            push(&mut text, line);
        }
        text
    }

    fn keys_text(&self) -> String {
        let mut text = String::new();
        for key in self.keys() {
            let bytes = self.bytes(&key).map_or(0, |bytes| bytes.len());
            push(&mut text, format_args!("{bytes} {key}"));
        }
        text
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes every text");
}

async fn handle(State(server): State<S3Server>, method: Method, uri: Uri) -> (StatusCode, String) {
    let settings = settings(uri.query().unwrap_or_default());
    match (method.as_str(), uri.path(), settings) {
        ("GET", "/totals", _) => (StatusCode::OK, server.totals_text()),
        ("GET", "/log", _) => (StatusCode::OK, server.log_text()),
        ("GET", "/keys", _) => (StatusCode::OK, server.keys_text()),
        ("POST", "/set", Some(settings)) => {
            for (name, value) in settings {
                if server.apply(&name, &value).is_none() {
                    return wrong(&format!("{name}={value}"));
                }
            }
            (StatusCode::OK, String::new())
        }
        ("POST", "/script", Some(settings)) => match server.apply_script(&settings) {
            Some(()) => (StatusCode::OK, String::new()),
            None => wrong(uri.query().unwrap_or_default()),
        },
        (_, path, _) => wrong(path),
    }
}

fn wrong(what: &str) -> (StatusCode, String) {
    let what: String = what.chars().take(200).collect();
    (StatusCode::BAD_REQUEST, format!("not understood: {what}\n"))
}

/// `name=value&name=value`, as it is meant.
fn settings(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}
