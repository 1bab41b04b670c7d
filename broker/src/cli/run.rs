//! `streamhouse dev` and `streamhouse serve`: run a broker in this process.
//!
//! `dev` needs nothing: loopback only, port 9092, data in a folder of the user that is kept between runs. `serve` takes
//! its settings from files. Both read `KAFKA_*` and `STREAMHOUSE_*` variables and `--set`, as
//! `docs/reference/config.md` says.

mod banner;
mod brokers;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use streamhouse_config::{Loaded, Loader, NoteLevel, Profile};

use super::failure::Failure;
use super::output::Output;
use super::{SetArgs, logs};
use crate::assembly::{self, Mode, Ready};

/// The folder of `dev` below the user's data.
const DEV_FOLDER: &str = "streamhouse";

/// Run a broker on this machine, with nothing to configure
///
/// Clients of this machine reach it at localhost:9092; other machines do not. Topics are created
/// when they are used. Data is kept in $XDG_DATA_HOME/streamhouse, or ~/.local/share/streamhouse,
/// until you delete that folder. Ctrl-C stops the broker; nothing that was acknowledged is lost,
/// however it stops.
///
/// With --metadata and --storage it keeps nothing on this machine, and --brokers starts several such
/// processes: each broker takes its part, and the others take over from one that dies.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Dev {
    /// The port for Kafka clients; 0 takes a free one. Metrics then take a free port, too
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The folder in which data is kept [default: $XDG_DATA_HOME/streamhouse or ~/.local/share/streamhouse]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many brokers, at ports that follow each other; more than one needs --metadata and --storage
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    brokers: u16,
    /// The PostgreSQL database, as postgres://user:password@host/database [default: a file in the data folder]
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "data",
        requires = "storage"
    )]
    metadata: Option<String>,
    /// The bucket for objects, as s3://bucket/prefix [default: a folder in the data folder]
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    #[command(flatten)]
    set: SetArgs,
}

/// Run a broker as its settings say
///
/// Settings come, from weak to strong, from defaults, files in their order, KAFKA_* variables,
/// STREAMHOUSE_* variables (STREAMHOUSE_SECTION__FIELD) and --set. An unchanged server.properties
/// works; keys without effect are told. A plaintext listener that other machines can reach is
/// refused unless listener.allow_plaintext_beyond_loopback is true.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Serve {
    /// A settings file: *.toml or *.properties. May be given several times; later files win
    #[arg(
        long,
        value_name = "FILE",
        env = "STREAMHOUSE_CONFIG",
        hide_env_values = true
    )]
    config: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
}

/// Runs `streamhouse dev`.
pub(super) fn dev(dev: &Dev, output: &mut Output) -> Result<(), Failure> {
    if dev.brokers > 1 {
        return match (&dev.metadata, &dev.storage) {
            (Some(metadata), Some(storage)) => brokers::run(dev, metadata, storage),
            (None, _) | (_, None) => Err(Failure::Usage(
                "several brokers share a database and a bucket; name them with --metadata and --storage"
                    .to_owned(),
            )),
        };
    }
    let mut loader = Loader::new(Profile::Dev);
    if let Some(metadata) = &dev.metadata {
        loader = loader.flag("metadata.url", metadata, "--metadata");
    }
    if let Some(storage) = &dev.storage {
        loader = loader.flag("storage.url", storage, "--storage");
    }
    match &dev.data {
        Some(folder) => {
            loader = loader.flag("storage.data_dir", &folder.to_string_lossy(), "--data")
        }
        None => {
            loader = loader.default_value("storage.data_dir", &default_folder()?, "streamhouse dev")
        }
    }
    if let Some(port) = dev.port {
        loader = loader
            .default_value("telemetry.metrics_address", "127.0.0.1:0", "--port")
            .flag(
                "listener.listeners",
                &format!("PLAINTEXT://localhost:{port}"),
                "--port",
            );
    }
    let loaded = with_rest(loader, &dev.set).load()?;
    if let Some(listener) = loaded
        .settings
        .listener
        .listeners
        .iter()
        .find(|listener| !listener.address.is_loopback())
    {
        return Err(Failure::Usage(format!(
            "dev serves this machine only, and listener {listener} reaches further; use `streamhouse serve` for that"
        )));
    }
    run(loaded, Mode::Dev, output)
}

/// Runs `streamhouse serve`.
pub(super) fn serve(serve: &Serve, output: &mut Output) -> Result<(), Failure> {
    let loader = serve
        .config
        .iter()
        .fold(Loader::new(Profile::Serve), |loader, file| {
            loader.file(file)
        });
    run(with_rest(loader, &serve.set).load()?, Mode::Serve, output)
}

/// Adds the environment of this process and `--set`.
pub(super) fn with_rest(loader: Loader, set: &SetArgs) -> Loader {
    // A variable that is not text cannot be one of ours; it is left out rather than ending the process.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let loader = loader.environment(variables);
    set.set
        .iter()
        .fold(loader, |loader, assignment| loader.set(assignment))
}

/// Where `dev` keeps data: a folder that the XDG rules give to programs of the user.
fn default_folder() -> Result<String, Failure> {
    folder_of(
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from),
        std::env::var_os("HOME").map(PathBuf::from),
    )
    .map(|folder| folder.to_string_lossy().into_owned())
    .ok_or_else(|| {
        Failure::NoFolder(
            "there is no $XDG_DATA_HOME and no $HOME to keep data in; name a folder with --data"
                .to_owned(),
        )
    })
}

/// Relative paths in these variables are to be ignored, says the XDG specification.
fn folder_of(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let is_usable = |folder: &PathBuf| folder.is_absolute();
    let xdg = xdg.filter(is_usable);
    let base = xdg.or_else(|| Some(home.filter(is_usable)?.join(".local").join("share")))?;
    Some(base.join(DEV_FOLDER))
}

fn run(loaded: Loaded, mode: Mode, output: &mut Output) -> Result<(), Failure> {
    let loggers = logs::begin(&loaded.settings.telemetry)?;
    for note in &loaded.notes {
        match note.level {
            NoteLevel::Note => tracing::info!("{}", note.text),
            NoteLevel::Warning => tracing::warn!("{}", note.text),
        }
    }
    let mut printed = Ok(());
    let mut announce = |ready: &Ready| {
        let shown = output.bytes(banner::text(ready, mode).as_bytes());
        printed = shown.and_then(|()| output.flush());
    };
    let ended = tokio_runtime()?.block_on(assembly::serve(loaded, mode, loggers, &mut announce));
    ended?;
    match printed {
        // Whoever started us closed our output after reading what it needed: the broker served all the same.
        Ok(()) | Err(Failure::OutputClosed) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// The runtime of this process.
pub(super) fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            what: "threads cannot be started",
            source,
        })
}
