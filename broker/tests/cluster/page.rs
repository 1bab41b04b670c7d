//! The commands for several brokers that the page for operators names, as it names them; only what stands for a database, a
//! bucket and a file is filled in, and ports are free ones.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::broker::streamhouse;
use crate::cluster::{BROKERS, Cluster, create};
use crate::load::Load;
use crate::wait::until;

/// Processes that a command started. They end with the value.
struct Running {
    child: Child,
    ports: Vec<u16>,
    /// What writes into a pipe that nobody holds ends.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts a command, and waits until so many brokers have said where they are.
    fn start(mut command: Command, brokers: usize) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = Vec::new();
        while ports.len() < brokers {
            let line = output.next().expect("the brokers run").unwrap();
            let address = line.trim().strip_prefix("Kafka");
            let port = address.and_then(|it| it.split_once("127.0.0.1:"));
            ports.extend(port.map(|(_, port)| port.trim().parse::<u16>().unwrap()));
        }
        Self {
            child,
            ports,
            _output: output,
        }
    }

    /// Stops it as Ctrl-C does.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let (status, _) = until("the end of what was asked to stop", || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The brokers below it end with it only if it may tell them. It has ended already, or it ends now.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The command of the page that begins so, as arguments of the binary, with `values` in place of what stands for them.
fn of_page(begins: &str, values: &[(&str, &str)]) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/start.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut lines = page.lines();
    let line = lines.find_map(|line| {
        let line = line.strip_prefix("streamhouse ")?;
        line.starts_with(begins).then_some(line)
    });
    let line = line.unwrap_or_else(|| panic!("the page has no streamhouse {begins}"));
    let words = line.split(' ').map(|word| {
        let value = values.iter().find(|(placeholder, _)| *placeholder == word);
        value.map_or(word, |(_, value)| value).to_owned()
    });
    words.collect()
}

fn command(words: &[String], settings: &[String]) -> Command {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    streamhouse(&words, settings)
}

#[test]
fn the_commands_for_several_brokers_do_what_the_page_says() {
    let Some(cluster) = Cluster::unstarted() else {
        return;
    };
    let values = [
        (
            "postgres://streamhouse@localhost/streamhouse",
            cluster.setting("metadata.url"),
        ),
        ("s3://events/kafka", cluster.setting("storage.url")),
    ];
    let dev = of_page("dev --brokers", &values);
    let is_filled_in = values
        .iter()
        .all(|(_, value)| dev.iter().any(|it| it == value));
    assert!(is_filled_in, "{dev:?}");
    let mut more: Vec<String> = ["metadata.schema", "s3.endpoint"]
        .iter()
        .map(|name| format!("{name}={}", cluster.setting(name)))
        .collect();
    more.push("metadata.shards=6".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let mut dev = command(&dev, &more);
    dev.args(["--port", "0"]).env("HOME", folder.path());
    let brokers = Running::start(dev, usize::try_from(BROKERS).unwrap());
    create(&brokers.ports, "page", 6);
    let load = Load::begin(&brokers.ports, "page", 6, 2);
    load.until_all_write();
    let acknowledged = load.end();
    acknowledged.check(&brokers.ports);
    brokers.stop();

    let file = settings_file(&cluster);
    std::fs::write(folder.path().join("broker-1.toml"), file).unwrap();
    let repair = of_page("repair metadata", &[]);
    let mut repair = command(&repair, &[]);
    let repaired = repair.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(
        repaired.status.success() && said.contains("nothing is missing"),
        "{said}{}",
        String::from_utf8_lossy(&repaired.stderr)
    );
    let mut serve = command(&of_page("serve --config broker-1.toml", &[]), &[]);
    serve.current_dir(folder.path());
    let broker = Running::start(serve, 1);
    acknowledged.check(&broker.ports);
    broker.stop();
}

/// The settings of one broker of the cluster as a file.
fn settings_file(cluster: &Cluster) -> String {
    format!(
        "version = 1
[broker]
node_id = 1
[metadata]
url = \"{}\"
schema = \"{}\"
shards = 6
[storage]
url = \"{}\"
[s3]
endpoint = \"{}\"
[listener]
listeners = \"PLAINTEXT://127.0.0.1:0\"
[telemetry]
metrics_address = \"127.0.0.1:0\"
",
        cluster.setting("metadata.url"),
        cluster.setting("metadata.schema"),
        cluster.setting("storage.url"),
        cluster.setting("s3.endpoint"),
    )
}
