//! What `docker/compose.yaml` says: the part of the Compose language that the file uses, with variables put in. A key that
//! is not known here is refused, because a test that skips it would not start what the file says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// Keys of a service that only an engine can heed: how it is built, confined and logged.
const FOR_THE_ENGINE: &[&str] = &[
    "build",
    "cap_drop",
    "deploy",
    "logging",
    "pull_policy",
    "read_only",
    "restart",
    "security_opt",
    "tmpfs",
    "ulimits",
];

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compose {
    /// The name of the project.
    #[serde(rename = "name")]
    _name: String,
    /// What runs, by name.
    pub(crate) services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Value>,
    volumes: BTreeMap<String, Value>,
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// The image, with its tag.
    pub(crate) image: String,
    /// Replaces the image's, if there is one.
    #[serde(default)]
    pub(crate) entrypoint: Vec<String>,
    /// The arguments.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// The variables.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Whom it waits for.
    #[serde(default)]
    pub(crate) depends_on: BTreeMap<String, Dependency>,
    /// How an engine finds out whether it works.
    pub(crate) healthcheck: Option<HealthCheck>,
    /// `HOST:PORT:CONTAINER_PORT`.
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    /// The networks that it is a member of.
    #[serde(default)]
    pub(crate) networks: BTreeSet<String>,
    /// `VOLUME:PATH`.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    /// How long it may take to stop.
    pub(crate) stop_grace_period: Option<String>,
}

/// Whom a service waits for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dependency {
    /// Until when.
    pub(crate) condition: String,
}

/// How an engine finds out whether a service works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// `CMD` and a command.
    pub(crate) test: Vec<String>,
    #[serde(rename = "interval")]
    _interval: String,
    #[serde(rename = "timeout")]
    _timeout: String,
    #[serde(rename = "retries")]
    _retries: u32,
    #[serde(rename = "start_period")]
    _start_period: String,
}

impl Compose {
    /// Reads the file. Every variable that it asks for has the value that `variable` gives, or else its default.
    pub(crate) fn of_this_checkout(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = std::fs::read_to_string(folder().join("compose.yaml")).unwrap();
        Self::read(&text, &variable)
    }

    fn read(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Self {
        let mut value: Value = serde_saphyr::from_str(text).unwrap();
        // What begins with `x-` is there to be referred to, and is where it was referred to now.
        let file = value.as_object_mut().unwrap();
        file.retain(|key, _| !key.starts_with("x-"));
        put_in(&mut value, variable);
        let services = value["services"].as_object_mut().unwrap();
        for service in services.values_mut() {
            let service = service.as_object_mut().unwrap();
            service.retain(|key, _| !FOR_THE_ENGINE.contains(&key.as_str()));
        }
        let file: Self = serde_json::from_value(value).unwrap();
        file.check();
        file
    }

    /// What Compose refuses.
    fn check(&self) {
        for (name, service) in &self.services {
            for network in &service.networks {
                let is_known = self.networks.contains_key(network);
                assert!(is_known, "{name}: there is no network {network}");
            }
            for mount in &service.volumes {
                let (volume, _) = mount.split_once(':').unwrap();
                let is_known = self.volumes.contains_key(volume);
                assert!(is_known, "{name}: there is no volume {volume}");
            }
            for (other, dependency) in &service.depends_on {
                let other_service = &self.services[other];
                match dependency.condition.as_str() {
                    "service_healthy" => assert!(
                        other_service.healthcheck.is_some(),
                        "{name} waits for the health of {other}, which has no health check"
                    ),
                    "service_completed_successfully" => {}
                    condition => panic!("{name}: {condition} is not known here"),
                }
            }
        }
    }

    /// A service that must be there.
    pub(crate) fn service(&self, name: &str) -> &Service {
        self.services
            .get(name)
            .unwrap_or_else(|| panic!("there is no service {name}"))
    }

    /// The brokers, in order.
    pub(crate) fn brokers(&self) -> Vec<String> {
        let names = self.services.keys();
        names
            .filter(|name| name.starts_with("broker-"))
            .cloned()
            .collect()
    }

    /// Whether a network leads nowhere else.
    pub(crate) fn is_internal(&self, network: &str) -> bool {
        self.networks[network]["internal"] == Value::Bool(true)
    }

    /// Whether one service can reach another one.
    pub(crate) fn reaches(&self, from: &str, to: &str) -> bool {
        match (self.services.get(from), self.services.get(to)) {
            (Some(from), Some(to)) => !from.networks.is_disjoint(&to.networks),
            (_, None) | (None, _) => false,
        }
    }
}

impl Service {
    /// A variable that must be there.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.environment
            .get(name)
            .unwrap_or_else(|| panic!("{} lacks the variable {name}", self.image))
    }

    /// The ports of the host and those of the service behind them.
    pub(crate) fn published(&self) -> impl Iterator<Item = (u16, u16)> {
        self.ports.iter().map(|text| {
            let mut parts = text.rsplit(':').map(|port| port.parse().ok());
            let inside = parts.next().flatten();
            let outside = parts.next().flatten();
            outside
                .zip(inside)
                .unwrap_or_else(|| panic!("{text} is not read here"))
        })
    }
}

/// The folder that the file is in.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

fn put_in(value: &mut Value, variable: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => *text = interpolated(text, variable),
        Value::Array(values) => values.iter_mut().for_each(|value| put_in(value, variable)),
        Value::Object(values) => values
            .values_mut()
            .for_each(|value| put_in(value, variable)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `${NAME:-default}` is the variable or the default, `$$` is a dollar sign.
fn interpolated(text: &str, variable: &impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('$');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            whole.push('$');
            whole.push_str(parts.next().unwrap_or_default());
            continue;
        }
        let (asked, rest) = part
            .strip_prefix('{')
            .and_then(|part| part.split_once('}'))
            .unwrap_or_else(|| panic!("${part} is not read here: write ${{NAME:-default}}"));
        let (name, default) = asked
            .split_once(":-")
            .unwrap_or_else(|| panic!("{asked} has no default: the file must start as it is"));
        whole.push_str(&variable(name).unwrap_or_else(|| default.to_owned()));
        whole.push_str(rest);
    }
    whole
}

#[test]
fn variables_are_put_in_as_compose_does() {
    let variable = |name: &str| (name == "SET").then(|| "told".to_owned());
    let put_in = |text| interpolated(text, &variable);
    assert_eq!(put_in("a ${SET:-default} b"), "a told b");
    assert_eq!(put_in("${UNSET:-default}${SET:-}"), "defaulttold");
    assert_eq!(
        put_in("[ \"$$status\" = 200 ] $$"),
        "[ \"$status\" = 200 ] $"
    );
}
