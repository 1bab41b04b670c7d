//! "Did you mean": the known name that looks most like an unknown one.

use crate::kafka::broker_keys;
use crate::settings::Settings;

/// How alike two names must be, from 0 (nothing) to 1 (equal).
const ALIKE: f64 = 0.75;

/// The most similar of `known`, if any is similar enough.
pub(crate) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?` or nothing.
fn clause(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// A clause that suggests a setting of ours.
pub(crate) fn setting(path: &str) -> String {
    let paths: Vec<String> = Settings::fields().iter().map(crate::Field::path).collect();
    clause(closest(path, paths.iter().map(String::as_str)))
}

/// A clause that suggests a Kafka key.
pub(crate) fn kafka_key(name: &str) -> String {
    clause(closest(name, broker_keys().iter().map(|key| key.name)))
}

/// A clause that suggests either.
pub(crate) fn any(name: &str) -> String {
    let paths: Vec<String> = Settings::fields().iter().map(crate::Field::path).collect();
    let keys = broker_keys().iter().map(|key| key.name);
    clause(closest(name, paths.iter().map(String::as_str).chain(keys)))
}
