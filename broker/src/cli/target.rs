//! Which cluster the tools speak to.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use streamhouse_client::address::parse_bootstrap;
use streamhouse_client::{Client, ClientError, Options};
use streamhouse_runtime::Ambient;

use super::failure::Failure;
use super::run;

/// Which cluster to speak to.
#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// Brokers to begin with, as host:port; several are separated by commas
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "localhost:9092"
    )]
    bootstrap: String,
    /// Seconds after which an operation is given up, with all its retries
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl Target {
    /// Runs `work` with a client of the cluster.
    pub(super) fn run<T>(
        &self,
        work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        run::tokio_runtime()?.block_on(async { work(self.client(Options::default()).await?).await })
    }

    /// A client of the cluster; must be called inside a runtime.
    pub(super) async fn client(&self, mut options: Options) -> Result<Client, Failure> {
        let bootstrap = parse_bootstrap(&self.bootstrap).map_err(ClientError::from)?;
        options.connection.client_id = Arc::from("streamhouse-cli");
        options.patience = Duration::from_secs(self.timeout);
        options.request_timeout = options.request_timeout.min(options.patience);
        options.connect_timeout = options.connect_timeout.min(options.patience);
        Ok(Client::open(bootstrap, options, Ambient::system()).await?)
    }
}

/// Reads `key=value`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write it as key=value".to_owned()),
    }
}
