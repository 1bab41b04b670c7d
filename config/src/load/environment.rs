//! Environment variables: `KAFKA_*` by the rules of Apache Kafka's image, `STREAMHOUSE_SECTION__FIELD` by ours.
//!
//! Kafka's rules (`KafkaDockerWrapper`, checked against it): after the prefix, letters become small, `___` is `-`, `__`
//! is `_`, `_` is `.`; a few variables of the start scripts are no keys; the line `key=value` is then read as a line of
//! a properties file. `listeners` follows from `KAFKA_ADVERTISED_LISTENERS` when it is not given, and `CLUSTER_ID`
//! is the id of the cluster.

use super::source::{Gathered, Layer, Note, NoteLevel, Origin, Problem};
use super::{properties, suggest};
use crate::settings::Settings;

/// Variables of Kafka's start scripts that are no keys.
const NOT_KEYS: [&str; 11] = [
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
];

/// Variables of ours that are no settings: they say where settings are, or belong to tests.
const OURS: [&str; 3] = [
    "STREAMHOUSE_CONFIG",
    "STREAMHOUSE_BLESS",
    "STREAMHOUSE_TEST_SCALE",
];

/// Reads all variables; their order does not matter.
pub(crate) fn gather(
    variables: impl IntoIterator<Item = (String, String)>,
    gathered: &mut Gathered,
) {
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort();
    for (name, value) in &variables {
        if let Some(rest) = name.strip_prefix("KAFKA_") {
            if !NOT_KEYS.contains(&name.as_str()) {
                kafka_variable(name, rest, value, gathered);
            }
        } else if let Some(rest) = name.strip_prefix("STREAMHOUSE_") {
            if !OURS.contains(&name.as_str()) {
                our_variable(name, rest, value, gathered);
            }
        } else if name == "CLUSTER_ID" {
            let origin = Origin::new(Layer::KafkaEnvironment, place(name));
            gathered.native("broker.cluster_id", value, origin);
        }
    }
    derive_listeners(&variables, gathered);
}

fn place(name: &str) -> String {
    format!("environment variable {name}")
}

fn kafka_key_of(rest: &str) -> String {
    rest.to_lowercase()
        .replace('_', ".")
        .replace("...", "-")
        .replace("..", "_")
}

fn kafka_variable(name: &str, rest: &str, value: &str, gathered: &mut Gathered) {
    let line = format!("{}={value}", kafka_key_of(rest));
    match properties::parse(&line) {
        Ok(properties) => {
            for property in properties {
                let origin = Origin::new(Layer::KafkaEnvironment, place(name));
                gathered.kafka(&property.key, &property.value, origin);
            }
        }
        Err(error) => gathered.problem(Problem::of_source(name, &error.to_string())),
    }
}

fn our_variable(name: &str, rest: &str, value: &str, gathered: &mut Gathered) {
    let Some((section, field)) = rest.split_once("__") else {
        gathered.warning(format!(
            "environment variable {name} is ignored: settings are written STREAMHOUSE_SECTION__FIELD, with two \
             underscores"
        ));
        return;
    };
    let path = format!("{}.{}", section.to_lowercase(), field.to_lowercase());
    if Settings::has(&path) {
        gathered.native(&path, value, Origin::new(Layer::Environment, place(name)));
    } else {
        let suggestion = suggest::setting(&path);
        let text = format!("there is no setting {path:?}{suggestion}");
        gathered.problem(Problem::of_source(name, &text));
    }
}

fn derive_listeners(variables: &[(String, String)], gathered: &mut Gathered) {
    let value = |name: &str| {
        let found = variables.iter().find(|(variable, _)| variable == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    let Some(advertised) = value("KAFKA_ADVERTISED_LISTENERS") else {
        return;
    };
    if value("KAFKA_LISTENERS").is_some() {
        return;
    }
    let mut parts = advertised.split("://");
    let mut listeners = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        listeners.push_str("://");
        match part.split_once(':') {
            Some((_, rest)) => listeners.push_str(&format!("0.0.0.0:{rest}")),
            None => listeners.push_str(part),
        }
    }
    let origin = Origin::new(Layer::KafkaEnvironment, place("KAFKA_ADVERTISED_LISTENERS"));
    gathered.kafka("listeners", &listeners, origin);
    gathered.notes.push(Note {
        level: NoteLevel::Note,
        text: format!(
            "listeners is {listeners}, derived from KAFKA_ADVERTISED_LISTENERS as in Kafka's image; set \
             KAFKA_LISTENERS to bind elsewhere"
        ),
    });
}

#[cfg(test)]
mod tests;
