//! Sources, precedence, Kafka's files and what is said about mistakes.

use std::time::Duration;

use super::source::{NoteLevel, Problems};
use super::*;
use crate::endpoint::Listener;
use crate::kafka::keys::keys_of_setting;
use crate::kafka::{Role, Unit, broker_keys};
use crate::size::ByteSize;
use crate::topic::{TopicConfigs, TopicOverrides};

fn toml(text: &str) -> Loader {
    Loader::new(Profile::Serve).text("streamhouse.toml", Syntax::Toml, text)
}

fn properties(text: &str) -> Loader {
    Loader::new(Profile::Serve).text("server.properties", Syntax::Properties, text)
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn topics(settings: &Settings) -> TopicConfigs {
    TopicConfigs::resolve(&TopicOverrides::new(), &settings.topic_defaults)
}

fn problems(loader: Loader) -> Vec<String> {
    let Problems(problems) = loader.load().unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

/// A file as Kafka ships it for one process that is broker and controller.
const KAFKA_DEFAULT: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\\
    SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn an_empty_file_gives_the_defaults() {
    for loaded in [
        toml("").load(),
        properties("").load(),
        Loader::new(Profile::Serve).load(),
    ] {
        let loaded = loaded.unwrap();
        assert_eq!(loaded.settings, Settings::default());
        assert!(loaded.notes.is_empty());
    }
}

#[test]
fn the_dev_profile_does_not_wait_for_group_members_unless_told() {
    let delay = |loader: Loader| {
        loader
            .load()
            .unwrap()
            .settings
            .coordinator
            .group_initial_rebalance_delay
    };
    assert_eq!(delay(Loader::new(Profile::Serve)), Duration::from_secs(3));
    assert_eq!(delay(Loader::new(Profile::Dev)), Duration::ZERO);
    let told = Loader::new(Profile::Dev).set("group.initial.rebalance.delay.ms=7");
    assert_eq!(delay(told), Duration::from_millis(7));
}

#[test]
fn stronger_sources_win_whatever_the_order_of_calls() {
    let sources: [fn(Loader) -> Loader; 5] = [
        |l| l.text("a.toml", Syntax::Toml, "[broker]\nnum_partitions = 2"),
        |l| l.text("b.properties", Syntax::Properties, "num.partitions=3"),
        |l| l.environment(env(&[("KAFKA_NUM_PARTITIONS", "4")])),
        |l| l.environment(env(&[("STREAMHOUSE_BROKER__NUM_PARTITIONS", "5")])),
        |l| l.set("num.partitions=6"),
    ];
    for count in 1..=sources.len() {
        let forwards = sources[..count]
            .iter()
            .fold(Loader::new(Profile::Serve), |l, add| add(l));
        let loaded = forwards.load().unwrap();
        assert_eq!(
            usize::try_from(loaded.settings.broker.num_partitions).unwrap(),
            count + 1
        );
        assert_eq!(
            loaded.provenance.given("broker.num_partitions").len(),
            count
        );
    }
    let backwards = Loader::new(Profile::Serve)
        .set("broker.num_partitions=6")
        .environment(env(&[("STREAMHOUSE_BROKER__NUM_PARTITIONS", "5")]))
        .text("a.toml", Syntax::Toml, "[broker]\nnum_partitions = 2");
    assert_eq!(backwards.load().unwrap().settings.broker.num_partitions, 6);
}

#[test]
fn a_later_file_wins() {
    let loader = toml("[broker]\nrack = 'a'").text("b.toml", Syntax::Toml, "[broker]\nrack = 'b'");
    assert_eq!(
        loader.load().unwrap().settings.broker.rack.as_deref(),
        Some("b")
    );
}

#[test]
fn the_finest_unit_of_retention_wins_wherever_it_was_set() {
    let loader = properties("log.retention.ms=1000\nlog.retention.hours=5")
        .environment(env(&[("KAFKA_LOG_RETENTION_MINUTES", "7")]));
    let settings = loader.load().unwrap().settings;
    assert_eq!(topics(&settings).retention, Some(Duration::from_secs(1)));
    let settings = properties("log.retention.minutes=7\nlog.retention.hours=5")
        .load()
        .unwrap()
        .settings;
    assert_eq!(topics(&settings).retention, Some(Duration::from_secs(420)));
    let settings = properties("log.retention.hours=-1")
        .load()
        .unwrap()
        .settings;
    assert_eq!(topics(&settings).retention, None);
}

#[test]
fn node_id_goes_before_broker_id() {
    let id = |text: &str| properties(text).load().unwrap().settings.broker.node_id;
    assert_eq!(id("broker.id=4"), 4);
    assert_eq!(id("broker.id=4\nnode.id=5"), 5);
    assert_eq!(id("broker.id=-1"), 1);
}

#[test]
fn the_default_file_of_kafka_loads_with_notes_only() {
    let loader = properties(KAFKA_DEFAULT).set("listener.allow_plaintext_beyond_loopback=true");
    let loaded = loader.load().unwrap();
    assert!(!loaded.notes.is_empty());
    for note in &loaded.notes {
        assert_eq!(note.level, NoteLevel::Note, "{}", note.text);
    }
    let listeners = &loaded.settings.listener.listeners;
    assert_eq!(*listeners, [Listener::plaintext("", 9092)]);
    assert_eq!(
        loaded.settings.listener.advertised,
        [Listener::plaintext("localhost", 9092)]
    );
    let told = |key: &str| {
        loaded
            .notes
            .iter()
            .filter(|note| note.text.starts_with(key))
            .count()
    };
    for key in [
        "log.dirs",
        "num.io.threads",
        "process.roles",
        "log.segment.bytes",
    ] {
        assert_eq!(told(&format!("{key} (from server.properties:")), 1, "{key}");
    }
}

#[test]
fn the_default_file_of_kafka_opens_no_port_to_strangers_unasked() {
    let found = problems(properties(KAFKA_DEFAULT));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("listener.allow_plaintext_beyond_loopback"),
        "{found:?}"
    );
}

#[test]
fn memory_that_nobody_set_follows_the_limit_it_serves() {
    let loader = properties("socket.request.max.bytes=104857600\nmessage.max.bytes=50000000");
    let loaded = loader.load().unwrap();
    let listener = &loaded.settings.listener;
    assert_eq!(listener.large_request_memory, ByteSize::mib(100));
    assert_eq!(listener.fetch_memory, ByteSize::new(50_000_000));
    assert_eq!(loaded.notes.len(), 2);
    let expect = "listener.large_request_memory is raised to 100MiB, so that \
                  socket.request.max.bytes fits; set it to bound memory";
    assert_eq!(loaded.notes[0].text, expect);
}

#[test]
fn every_key_that_sets_a_setting_arrives_there() {
    for key in broker_keys() {
        let Role::Setting { path, unit } = key.role else {
            continue;
        };
        let value = match (unit, key.name) {
            (_, "listeners") => "PLAINTEXT://localhost:1234",
            (_, "advertised.listeners") => "PLAINTEXT://elsewhere:1234",
            (_, "listener.security.protocol.map") => "PLAINTEXT:PLAINTEXT",
            (_, "broker.rack") => "r",
            (_, "auto.create.topics.enable" | "delete.topic.enable") => "false",
            (_, "group.consumer.assignors") => "range",
            (_, "group.consumer.migration.policy") => "upgrade",
            (_, "group.consumer.session.timeout.ms") => "50000",
            (_, "group.consumer.min.session.timeout.ms") => "44000",
            (_, "group.consumer.max.session.timeout.ms") => "61000",
            (_, "group.consumer.min.heartbeat.interval.ms") => "4000",
            (_, "group.consumer.regex.refresh.interval.ms") => "17000",
            (Unit::Same, _) => "17",
            // At most half the lease.
            (_, "broker.heartbeat.interval.ms") => "1700",
            (Unit::Bytes, _) => "1050000",
            (Unit::Millis, _) => "7000",
            (Unit::Minutes, _) => "9",
        };
        let value = if key.name == "socket.request.max.bytes" {
            "2000000"
        } else {
            value
        };
        let value = if key.name == "offset.metadata.max.bytes" {
            "9"
        } else {
            value
        };
        let loaded = properties(&format!("{}={value}", key.name)).load().unwrap();
        let now = loaded.settings.get(path).unwrap();
        assert_ne!(Settings::default().get(path).unwrap(), now, "{}", key.name);
        assert_eq!(unit.write(&now), value, "{}", key.name);
    }
}

#[test]
fn every_default_of_a_topic_config_arrives_there() {
    for key in broker_keys() {
        let Role::TopicDefault { topic_key, .. } = key.role else {
            continue;
        };
        let default = key.default.clone().unwrap_or_else(|| "60000".to_owned());
        let loaded = properties(&format!("{}={default}", key.name))
            .load()
            .unwrap();
        assert_eq!(
            loaded.settings.topic_defaults.get(key.name),
            Some(default.as_str())
        );
        assert!(crate::topic::topic_key(topic_key).is_some(), "{topic_key}");
    }
}

#[test]
fn defaults_of_topic_configs_are_checked_like_topic_configs() {
    let found = problems(properties(
        "log.cleanup.policy=remove\nlog.retention.ms=0\nlog.roll.hours=0",
    ));
    assert_eq!(found.len(), 3, "{found:?}");
    let expect = "log.cleanup.policy: \"remove\" (from server.properties:1) is not allowed: Invalid value remove for \
                  configuration log.cleanup.policy: String must be one of: compact, delete";
    assert_eq!(found[0], expect);
    assert!(
        found[1].contains("unlimited (-1) or at least 1"),
        "{found:?}"
    );
    assert!(
        found[2].contains("log.roll.hours: Value must be at least 1"),
        "{found:?}"
    );
}

#[test]
fn unknown_keys_of_properties_files_and_variables_warn() {
    let loader = properties("num.partition=3\nconfluent.metrics.enable=true")
        .environment(env(&[("KAFKA_FOO_BAR", "1")]));
    let loaded = loader.load().unwrap();
    let texts: Vec<_> = loaded.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(
        loaded
            .notes
            .iter()
            .all(|note| note.level == NoteLevel::Warning)
    );
    assert_eq!(loaded.notes.len(), 3, "{texts:?}");
    let hint = "num.partition (from server.properties:1) is not known and is ignored; did you mean \"num.partitions\"?";
    assert!(texts.contains(&hint), "{texts:?}");
}

#[test]
fn unknown_names_elsewhere_are_refused_with_a_suggestion() {
    let file = "[broker]\nnum_partition = 1\n[brokr]\n[kafka]\n\"log.retention.sm\" = 1\nlog.retention.ms = 5\n";
    let loader = toml(file)
        .set("log.flush_byte=1MiB")
        .set("nonsense")
        .environment(env(&[("STREAMHOUSE_WAL__MAX_BYTE", "1")]));
    let found = problems(loader).join("\n");
    for expect in [
        "broker.num_partition: there is no setting of this name; did you mean \"broker.num_partitions\"? (in \
         streamhouse.toml:2)",
        "brokr: there is no section of this name; did you mean [broker]? (in streamhouse.toml:3)",
        "log.retention.sm: Kafka has no broker key of this name; did you mean \"log.retention.ms\"? (in \
         streamhouse.toml:5)",
        "log: write Kafka keys in quotes, as in \"log.retention.ms\" = 1000 (in streamhouse.toml:6)",
        "log.flush_byte: there is no setting and no Kafka broker key of this name (from --set); did you mean \
         \"log.flush_bytes\"?",
        "--set nonsense: it has no equals sign; write --set key=value",
        "STREAMHOUSE_WAL__MAX_BYTE: there is no setting \"wal.max_byte\"; did you mean \"wal.max_bytes\"?",
    ] {
        assert!(found.contains(expect), "{expect}\nnot in\n{found}");
    }
}

#[test]
fn all_problems_are_told_at_once_with_key_value_origin_and_bound() {
    let file = "[broker]\nnode_id = -1\nnum_partitions = 0\n[log]\nflush_interval = 5\n[wal]\nfile_bytes = '1GB'\n";
    let found = problems(toml(file).set("broker.delete_topic_enable=maybe"));
    assert_eq!(
        found,
        [
            "broker.node_id: \"-1\" (from streamhouse.toml:2) is not allowed: the smallest allowed is 0",
            "broker.delete_topic_enable: \"maybe\" (from --set) is not allowed: use true or false",
            "broker.num_partitions: \"0\" (from streamhouse.toml:3) is not allowed: the smallest allowed is 1",
            "wal.file_bytes: \"1GB\" (from streamhouse.toml:7) is not allowed: use a size such as 64MiB (KiB, MiB, \
             GiB, TiB) or a number of bytes (4MiB to 1GiB)",
            "log.flush_interval: \"5\" (from streamhouse.toml:5) is not allowed: use a duration such as 250ms, 5s, \
             10m, 24h or 7d (at least 10ms)",
        ]
    );
}

#[test]
fn toml_values_of_every_kind_are_taken() {
    let file = "version = 1\n[listener]\nlisteners = ['A://localhost:1', 'B://[::1]:0x2']\nprotocols = []\n";
    let found = problems(toml(file));
    assert!(
        found.iter().any(|problem| problem.contains("needs a port")),
        "{found:?}"
    );
    let file = "[listener]\nlisteners = ['A://localhost:1', 'B://[::1]:2']\nprotocols = 'a:plaintext,B:PLAINTEXT'\n\
                max_connections = 1_000\nrequest_arrival_rate_min = 4096\n[wal]\npool_files = 8\n";
    let settings = toml(file).load().unwrap().settings;
    assert_eq!(settings.listener.listeners.len(), 2);
    assert_eq!(settings.listener.max_connections, 1000);
    assert_eq!(settings.listener.request_arrival_rate_min, ByteSize::kib(4));
    assert_eq!(settings.wal.pool_files, 8);
}

#[test]
fn a_broken_file_is_one_problem_that_names_the_line() {
    let found = problems(toml("[broker]\nnode_id = = 3\n"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("streamhouse.toml:2: it is not TOML"),
        "{found:?}"
    );
    assert_eq!(problems(toml("version = 2")).len(), 1);
    assert_eq!(problems(toml("[broker]\nrack = { a = 1 }")).len(), 1);
}

#[test]
fn one_source_may_not_set_the_same_twice_in_two_words() {
    let found = problems(toml(
        "[broker]\nnum_partitions = 2\n[kafka]\n'num.partitions' = 3\n",
    ));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("it is also set as num.partitions (from streamhouse.toml:4)"),
        "{found:?}"
    );
}

#[test]
fn keys_that_promise_protection_or_plugins_are_refused_and_name_the_remedy() {
    for (line, expect) in [
        (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "access control",
        ),
        ("zookeeper.connect=localhost:2181", "MirrorMaker 2"),
        ("process.roles=controller", "start brokers only"),
        (
            "create.topic.policy.class.name=com.example.Policy",
            "does not load Java classes",
        ),
        ("listeners=SSL://localhost:9093", "PLAINTEXT only"),
        ("listeners=INTERNAL://localhost:9093", "INTERNAL:PLAINTEXT"),
    ] {
        let found = problems(properties(line));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expect), "{found:?}");
    }
    assert!(
        properties("authorizer.class.name=\nprocess.roles=broker")
            .load()
            .is_ok()
    );
}

#[test]
fn a_dump_gives_the_same_settings_when_it_is_loaded() {
    let loaded = properties(
        "log.retention.hours=3\nnum.io.threads=2\nssl.key.password=secret\nbroker.rack=a\"b",
    )
    .environment(env(&[("KAFKA_NUM_PARTITIONS", "4")]))
    .set("wal.max_bytes=3GiB")
    .load()
    .unwrap();
    let dump = loaded.dump_toml();
    assert!(
        dump.contains("num_partitions = 4 # from environment variable KAFKA_NUM_PARTITIONS"),
        "{dump}"
    );
    assert!(!dump.contains("secret"), "{dump}");
    assert_eq!(toml(&dump).load().unwrap().settings, loaded.settings);
}

#[test]
fn commands_may_have_defaults_and_flags_of_their_own() {
    let folder = |loader: Loader| {
        let loader = loader.default_value("storage.data_dir", "/home/data", "streamhouse dev");
        loader.load().unwrap().settings.storage.data_dir
    };
    assert_eq!(folder(Loader::new(Profile::Dev)), Path::new("/home/data"));
    assert_eq!(
        folder(toml("[storage]\ndata_dir = '/file'")),
        Path::new("/file")
    );
    let flagged = toml("[storage]\ndata_dir = '/file'").flag("storage.data_dir", "/flag", "--data");
    assert_eq!(folder(flagged), Path::new("/flag"));
    let wrong = Loader::new(Profile::Dev).flag(
        "listener.listeners",
        "PLAINTEXT://localhost:70000",
        "--port",
    );
    assert!(problems(wrong)[0].contains("(from --port) is not allowed"));
}

#[test]
fn secrets_are_not_explained() {
    let loaded = properties("ssl.key.password=hush").load().unwrap();
    let explanation = loaded.provenance.explain("ssl.key.password").unwrap();
    assert_eq!(explanation.given[0].value, "[hidden]");
}

#[test]
fn a_value_of_the_wrong_kind_names_the_bounds() {
    let found = problems(toml(
        "[listener]\nmax_connections = -1\n[wal]\ngroup_bytes = 'much'",
    ));
    assert_eq!(
        found,
        [
            "listener.max_connections: \"-1\" (from streamhouse.toml:2) is not allowed: use a whole \
             number (1 to 2147483647)",
            "wal.group_bytes: \"much\" (from streamhouse.toml:4) is not allowed: use a size such as \
             64MiB (KiB, MiB, GiB, TiB) or a number of bytes (64KiB to 64MiB)",
        ]
    );
}

#[test]
fn explanations_name_the_winner_last() {
    let loaded = properties("num.partitions=3")
        .set("num.partitions=4")
        .load()
        .unwrap();
    let by_key = loaded.provenance.explain("num.partitions").unwrap();
    assert_eq!(
        by_key,
        loaded.provenance.explain("broker.num_partitions").unwrap()
    );
    let values: Vec<_> = by_key
        .given
        .iter()
        .map(|given| given.value.as_str())
        .collect();
    assert_eq!(values, ["3", "4"]);
    assert_eq!(by_key.kafka_keys, ["num.partitions"]);
    assert!(loaded.provenance.explain("log.retention.ms").is_some());
    assert!(loaded.provenance.explain("no.such.key").is_none());
}

#[test]
fn a_native_setting_in_a_stronger_source_beats_the_kafka_key() {
    let loaded = properties("broker.id=3")
        .set("broker.node_id=4")
        .load()
        .unwrap();
    assert_eq!(loaded.settings.broker.node_id, 4);
    let names: Vec<_> = keys_of_setting("broker.node_id")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["node.id", "broker.id"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let unnamed = folder.path().join("settings.yaml");
    let huge = folder.path().join("huge.properties");
    std::fs::write(
        &huge,
        vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1],
    )
    .unwrap();
    let found = problems(
        Loader::new(Profile::Serve)
            .file(&missing)
            .file(&unnamed)
            .file(&huge),
    );
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].contains("missing.toml") && found[0].contains("cannot be opened"),
        "{found:?}"
    );
    assert!(found[1].contains(".properties"), "{found:?}");
    assert!(found[2].contains("larger than 1 MiB"), "{found:?}");
    let good = folder.path().join("good.toml");
    std::fs::write(&good, "[broker]\nnode_id = 9\n").unwrap();
    assert_eq!(
        Loader::new(Profile::Serve)
            .file(&good)
            .load()
            .unwrap()
            .settings
            .broker
            .node_id,
        9
    );
}

#[test]
fn a_secret_setting_is_used_and_never_shown() {
    let url = "postgres://streamhouse:hush@db.example/streamhouse";
    let loaded = toml(&format!("[metadata]\nurl = '{url}'\nschema = 'mine'"))
        .set("metadata.url=postgres://streamhouse:hush2@db.example/streamhouse")
        .load()
        .unwrap();
    let revealed = loaded.settings.metadata.url.reveal();
    assert_eq!(revealed, Some(url.replace("hush", "hush2").as_str()));
    let dump = loaded.dump_toml();
    assert!(
        dump.contains("# url is set and not shown # from --set"),
        "{dump}"
    );
    let explained = loaded.provenance.explain("metadata.url").unwrap();
    assert_eq!(explained.given.len(), 2);
    let shown = format!(
        "{dump} {explained:?} {:?} {:?}",
        loaded.settings,
        loaded.settings.get("metadata.url")
    );
    assert!(!shown.contains("hush"), "{shown}");
    let dumped = toml(&dump).load().unwrap().settings;
    assert_eq!(dumped.metadata.schema, "mine");
    assert_eq!(dumped.metadata.url.reveal(), None);
    let pasted = problems(toml("[metadata]\nurl = '[hidden]'"));
    assert!(pasted[0].contains("write the secret itself"), "{pasted:?}");
}
