//! What people write to set a broker up: `streamhouse.toml`, `server.properties`, variables and `--set`.
//!
//! Every problem names its key or its source and says something. What is accepted is shown by `config dump`, and that text
//! gives the same settings again.

use streamhouse_config::kafka::broker_keys;
use streamhouse_config::{Loader, Problems, Profile, Settings, Syntax, reference_toml};

use crate::target::{Memory, Target, Verdict};

const MEMORY: Memory = Memory {
    per_byte: 4096,
    free: 4 << 20,
};

pub(super) const TOML: Target = Target {
    name: "settings_toml",
    reads: "streamhouse.toml",
    executions: 20_000,
    length_max: 8 << 10,
    memory: MEMORY,
    words: WORDS,
    seeds: toml_seeds,
    repair: None,
    check: |input| {
        check(input, |loader, text| {
            loader.text("fuzz.toml", Syntax::Toml, text)
        })
    },
};

pub(super) const PROPERTIES: Target = Target {
    name: "settings_properties",
    reads: "server.properties",
    executions: 4_000,
    length_max: 8 << 10,
    memory: MEMORY,
    words: WORDS,
    seeds: properties_seeds,
    repair: None,
    check: |input| {
        check(input, |loader, text| {
            loader.text("fuzz.properties", Syntax::Properties, text)
        })
    },
};

pub(super) const OVERRIDES: Target = Target {
    name: "settings_overrides",
    reads: "environment variables and --set",
    executions: 8_000,
    length_max: 2 << 10,
    memory: MEMORY,
    words: WORDS,
    seeds: overrides_seeds,
    repair: None,
    check: |input| check(input, overrides),
};

const WORDS: &[&str] = &[
    "=",
    "\n",
    "\\",
    "\"",
    "'",
    "[",
    "]",
    "[kafka]\n",
    "#",
    "true",
    "false",
    "null",
    "-1",
    "0",
    "1e400",
    "NaN",
    "18446744073709551616",
    "9223372036854775807",
    "64MiB",
    "1TiB",
    "999999999999TiB",
    "250ms",
    "7d",
    "99999999999d",
    "1h",
    "  ",
    "\t",
    "\u{feff}",
    "é",
    "\\u0041",
    "${x}",
    "localhost:9092",
    "PLAINTEXT://:0",
    "[::1]:9092",
    "PLAINTEXT://[::]:9092",
    "listeners",
    "advertised.listeners",
    "log.retention.hours",
    "log.retention.ms",
    "num.partitions",
    "broker.id",
    "node.id",
    "listener.",
    "[wal]\n",
    "[broker]\n",
    "[topic]\n",
    "version = 1\n",
    "version = 2\n",
    ",",
    ":",
    "://",
];

/// The reference with every default written out, section by section and as a whole.
fn toml_seeds() -> Vec<Vec<u8>> {
    let reference = reference_toml();
    let is_setting = |line: &str| {
        let key = line
            .strip_prefix('#')
            .and_then(|line| line.split_once(" = "));
        key.is_some_and(|(key, value)| {
            key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && value != "\"\""
        })
    };
    let mut sections: Vec<String> = Vec::new();
    let mut head = String::from("version = 1\n");
    for line in reference.lines() {
        if line.starts_with('[') {
            sections.push(std::mem::take(&mut head));
            head = format!("version = 1\n{line}\n");
        } else if is_setting(line) {
            head.push_str(&line[1..]);
            head.push('\n');
        }
    }
    sections.push(head);
    let kafka = "version = 1\n[kafka]\n\"log.retention.hours\" = \"5\"\n\"ssl.keystore.location\" = \"x\"\n";
    sections.push(kafka.to_owned());
    let sound = |text: &String| {
        Loader::new(Profile::Serve)
            .text("seed", Syntax::Toml, text)
            .load()
            .is_ok()
    };
    sections
        .into_iter()
        .filter(sound)
        .map(String::into_bytes)
        .collect()
}

fn properties_seeds() -> Vec<Vec<u8>> {
    let image = "# the file of an image\nprocess.roles=broker,controller\nnode.id = 3\n\
         listeners=PLAINTEXT://:9092\nadvertised.listeners=PLAINTEXT://localhost:9092\n\
         num.partitions:7\nlog.retention.hours 5\nlog.dirs=/tmp/a,\\\n  /tmp/b\nauto.create.topics.enable=false\n";
    let others = [
        "",
        "log.retention.ms=-1\n",
        "compression.type=zstd\nmessage.max.bytes=2000000\n",
    ];
    let mut seeds: Vec<Vec<u8>> = others.map(|text| text.as_bytes().to_vec()).to_vec();
    seeds.push(image.as_bytes().to_vec());
    let sound = |seed: &Vec<u8>| {
        let text = String::from_utf8_lossy(seed);
        Loader::new(Profile::Serve)
            .text("seed", Syntax::Properties, &text)
            .load()
            .is_ok()
    };
    seeds.retain(sound);
    seeds
}

fn overrides_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "KAFKA_NODE_ID=3\nKAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092\n",
        "STREAMHOUSE_BROKER__NUM_PARTITIONS=4\n",
        "broker.num_partitions=3\nlog.retention.ms=1000\n",
        "KAFKA_LOG_RETENTION_HOURS=5\nbroker.rack=a\nCLUSTER_ID=abc\n",
    ];
    let sound = |seed: &&str| overrides(Loader::new(Profile::Serve), seed).load().is_ok();
    let sound = lines.iter().filter(|seed| sound(seed));
    sound.map(|text| text.as_bytes().to_vec()).collect()
}

/// A line is a variable, or else an assignment of the command line.
fn overrides(loader: Loader, text: &str) -> Loader {
    let is_variable = |line: &&str| {
        ["KAFKA_", "STREAMHOUSE_", "CLUSTER_ID"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
    };
    let variables = text
        .lines()
        .filter(is_variable)
        .filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loader = loader.environment(variables);
    let assignments = text
        .lines()
        .filter(|line| !is_variable(line) && !line.is_empty());
    assignments.fold(loader, Loader::set)
}

fn check(input: &[u8], give: impl Fn(Loader, &str) -> Loader) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else {
        return Verdict::Refused;
    };
    match give(Loader::new(Profile::Serve), text).load() {
        Err(Problems(problems)) => {
            assert!(!problems.is_empty(), "a refusal says why");
            for problem in problems {
                let told = problem.to_string();
                let (place, reason) = told.split_once(": ").unwrap_or_default();
                assert!(
                    !reason.trim().is_empty(),
                    "{place:?}: {told:?} says nothing"
                );
            }
            Verdict::Refused
        }
        Ok(loaded) => {
            let dump = loaded.dump_toml();
            let again = Loader::new(Profile::Serve)
                .text("dump.toml", Syntax::Toml, &dump)
                .load();
            match again {
                Ok(again) => {
                    assert_eq!(again.settings, loaded.settings, "{dump}");
                    assert_eq!(values(&again.settings), values(&loaded.settings));
                }
                Err(problems) => panic!("what is shown cannot be loaded: {problems}"),
            }
            Verdict::Accepted
        }
    }
}

/// All values as they are shown; those of Kafka's keys too, as far as they are not settings.
fn values(settings: &Settings) -> Vec<Option<String>> {
    let own = Settings::fields()
        .into_iter()
        .map(|field| settings.get(&field.path()));
    let kafka = broker_keys().iter().map(|key| settings.get(key.name));
    own.chain(kafka).collect()
}
