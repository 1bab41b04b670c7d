//! `streamhouse.toml`: one table per section, Kafka keys in quotes under `[kafka]`. An unknown name is an error,
//! because nobody else's files are read this way.

use toml::de::{DeTable, DeValue};

use super::source::{Gathered, Layer, Origin, Problem};
use super::suggest;
use crate::kafka::broker_key;
use crate::settings::Settings;

/// The version of the file that this release reads.
const VERSION: &str = "1";

/// Where in which file.
struct Place<'a> {
    name: &'a str,
    text: &'a str,
    layer: Layer,
}

impl Place<'_> {
    fn at(&self, position: usize) -> String {
        let before = self.text.as_bytes().get(..position).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", self.name)
    }

    fn origin(&self, position: usize) -> Origin {
        Origin::new(self.layer, self.at(position))
    }
}

/// Reads a file called `name`.
pub(crate) fn gather(name: &str, text: &str, layer: Layer, gathered: &mut Gathered) {
    let place = Place { name, text, layer };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error
                .span()
                .map_or_else(|| name.to_owned(), |span| place.at(span.start));
            let reason = format!("it is not TOML: {}", error.message().replace('\n', "; "));
            gathered.problem(Problem::of_source(&at, &reason));
            return;
        }
    };
    for (key, value) in document.get_ref() {
        let (section, position) = (key.get_ref().as_ref(), key.span().start);
        match value.get_ref() {
            DeValue::Table(table) if section == "kafka" => {
                kafka_section(table, &place, gathered);
            }
            DeValue::Table(table) if Settings::sections().iter().any(|s| s.name == section) => {
                our_section(section, table, &place, gathered);
            }
            other if section == "version" => {
                if scalar(other).as_deref() != Some(VERSION) {
                    let text = format!("this release reads version {VERSION} of the file only");
                    gathered.problem(Problem::new("version", at(&place, position, &text)));
                }
            }
            DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let text = format!(
                    "there is no section of this name{}",
                    closest_section(section)
                );
                gathered.problem(Problem::new(section, at(&place, position, &text)));
            }
        }
    }
}

fn at(place: &Place<'_>, position: usize, text: &str) -> String {
    format!("{text} (in {})", place.at(position))
}

fn closest_section(name: &str) -> String {
    let sections = Settings::sections();
    let known = sections.iter().map(|section| section.name).chain(["kafka"]);
    match suggest::closest(name, known) {
        Some(section) => format!("; did you mean [{section}]?"),
        None => "; a Kafka key belongs into [kafka], in quotes".to_owned(),
    }
}

fn our_section(section: &str, table: &DeTable<'_>, place: &Place<'_>, gathered: &mut Gathered) {
    for (key, value) in table {
        let (path, position) = (format!("{section}.{}", key.get_ref()), key.span().start);
        if !Settings::has(&path) {
            let text = format!(
                "there is no setting of this name{}",
                suggest::setting(&path)
            );
            gathered.problem(Problem::new(&path, at(place, position, &text)));
        } else if let Some(value) = scalar(value.get_ref()) {
            gathered.native(&path, &value, place.origin(position));
        } else {
            let text = "a text, a number, true, false or a list of these is needed";
            gathered.problem(Problem::new(&path, at(place, position, text)));
        }
    }
}

fn kafka_section(table: &DeTable<'_>, place: &Place<'_>, gathered: &mut Gathered) {
    for (key, value) in table {
        let (name, position) = (key.get_ref().as_ref(), key.span().start);
        if let Some(value) = scalar(value.get_ref()).filter(|_| broker_key(name).is_some()) {
            gathered.kafka(name, &value, place.origin(position));
            continue;
        }
        let text = if matches!(value.get_ref(), DeValue::Table(_)) {
            "write Kafka keys in quotes, as in \"log.retention.ms\" = 1000".to_owned()
        } else if broker_key(name).is_none() {
            format!(
                "Kafka has no broker key of this name{}",
                suggest::kafka_key(name)
            )
        } else {
            "a text, a number, true, false or a list of these is needed".to_owned()
        };
        gathered.problem(Problem::new(name, at(place, position, &text)));
    }
}

/// A value as text; a list becomes parts with commas between.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(parts) => {
            let parts: Option<Vec<String>> =
                parts.iter().map(|part| scalar(part.get_ref())).collect();
            parts.map(|parts| parts.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
