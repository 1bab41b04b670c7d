//! Every refusal is one clear sentence with the remedy, and a number that scripts can tell apart.

use crate::broker::{Dev, complained, run, said};

#[test]
fn a_taken_port_names_itself_and_the_flag() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Dev::start(data.path());
    let second = run(&[
        "dev",
        "--port",
        broker.port(),
        "--data",
        other.path().to_str().unwrap(),
    ]);
    let text = complained(&second, 69);
    assert!(
        text.contains(broker.port()) && text.contains("--port"),
        "{text}"
    );
}

#[test]
fn a_second_process_on_the_same_folder_is_refused_and_harms_nothing() {
    let data = tempfile::tempdir().unwrap();
    let broker = Dev::start(data.path());
    said(&broker.fed(&["produce", "t"], "a\n"));
    let folder = data.path().to_str().unwrap();
    let text = complained(&run(&["dev", "--port", "0", "--data", folder]), 75);
    assert!(text.contains(folder) && text.contains("--data"), "{text}");
    assert_eq!(
        said(&broker.tool(&["consume", "t", "--from-beginning", "--exit"])),
        "a\n"
    );
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let text = complained(
        &run(&["dev", "--port", "0", "--data", file.to_str().unwrap()]),
        73,
    );
    assert!(text.contains(file.to_str().unwrap()), "{text}");
}

#[test]
fn dev_without_a_home_asks_for_a_folder() {
    let text = complained(&run(&["dev", "--port", "0"]), 73);
    assert!(text.contains("--data"), "{text}");
}

#[test]
fn serve_refuses_a_plaintext_listener_that_others_can_reach() {
    let data = tempfile::tempdir().unwrap();
    let folder = format!("storage.data_dir={}", data.path().display());
    let listener = "listener.listeners=PLAINTEXT://0.0.0.0:0";
    let text = complained(&run(&["serve", "--set", &folder, "--set", listener]), 78);
    assert!(text.contains("allow_plaintext_beyond_loopback"), "{text}");
}

#[test]
fn dev_serves_this_machine_only() {
    let data = tempfile::tempdir().unwrap();
    let set = "listener.listeners=PLAINTEXT://0.0.0.0:0";
    let allow = "listener.allow_plaintext_beyond_loopback=true";
    let arguments = [
        "dev",
        "--data",
        data.path().to_str().unwrap(),
        "--set",
        set,
        "--set",
        allow,
    ];
    let text = complained(&run(&arguments), 2);
    assert!(text.contains("serve"), "{text}");
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let text = complained(
        &run(&[
            "config",
            "check",
            "--set",
            "broker.nod_id=1",
            "--set",
            "wal.bytes_max=x",
        ]),
        78,
    );
    assert!(
        text.contains("broker.nod_id") && text.contains("wal.bytes_max"),
        "{text}"
    );
    assert_eq!(said(&run(&["config", "check"])), "the settings are good\n");
}

#[test]
fn a_dump_of_settings_says_where_each_comes_from_and_can_be_loaded() {
    let dump = said(&run(&["config", "dump", "--set", "broker.node_id=7"]));
    let line = dump
        .lines()
        .find(|line| line.starts_with("node_id"))
        .unwrap();
    assert!(
        line.starts_with("node_id = 7") && line.contains("--set"),
        "{line}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("streamhouse.toml");
    std::fs::write(&file, &dump).unwrap();
    let again = said(&run(&[
        "config",
        "dump",
        "--config",
        file.to_str().unwrap(),
    ]));
    assert!(again.contains("node_id = 7"), "{again}");
}

#[test]
fn a_setting_is_explained_by_our_name_and_by_kafkas() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    std::fs::write(&file, "num.partitions=3\nssl.key.password=secret\n").unwrap();
    let file = file.to_str().unwrap();
    for name in ["broker.num_partitions", "num.partitions"] {
        let text = said(&run(&["config", "explain", name, "--config", file]));
        for part in [
            "broker.num_partitions\n",
            "1 to 10000",
            "Default    1\n",
            "3, from ",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let set = ["--config", file, "--set", "num.partitions=5"];
        let text = said(&run(&[&["config", "explain", name][..], &set].concat()));
        assert!(text.contains("5, from --set"), "{text}");
        assert!(text.contains("Overruled  3, from "), "{text}");
    }
    let unset = said(&run(&["config", "explain", "broker.rack"]));
    assert!(unset.contains("Value      unset, the default"), "{unset}");
    let idle = said(&run(&["config", "explain", "log.segment.delete.delay.ms"]));
    assert!(idle.starts_with("log.segment.delete.delay.ms\n"), "{idle}");
    let secret = said(&run(&[
        "config",
        "explain",
        "ssl.key.password",
        "--config",
        file,
    ]));
    assert!(
        !secret.contains("secret,") && secret.contains("(hidden)"),
        "{secret}"
    );
    let text = complained(&run(&["config", "explain", "broker.num_partition"]), 2);
    assert!(text.contains("broker.num_partitions"), "{text}");
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    complained(&run(&["tpoic", "list"]), 2);
    complained(&run(&["topic", "alter", "x"]), 2);
    complained(
        &run(&["consume", "x", "--offset", "1", "--from-beginning"]),
        2,
    );
    let text = complained(&run(&["consume", "x", "--format", "%q"]), 2);
    assert!(text.contains("%q is no token"), "{text}");
    complained(&run(&["topic", "list", "-b", "a b"]), 2);
}

#[test]
fn no_broker_is_told_with_the_address() {
    // Port 1 of this machine: nothing listens there, or nothing that speaks Kafka.
    let text = complained(
        &run(&["topic", "list", "-b", "127.0.0.1:1", "--timeout", "5"]),
        69,
    );
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn help_and_version_are_answers() {
    assert!(said(&run(&["--help"])).contains("Exit codes:"));
    assert!(said(&run(&["--version"])).starts_with("streamhouse "));
}
